"""Files: each format has a module that reads and writes it; what the formats share is in `stored` and `safely`.

The rest of the library calls `files`, which chooses the format. A reader of a format takes a path, the key of an array
or None, and the key to prefer, and returns one `Stored` array, which is not yet checked for finite numbers. It raises
`BadInput` for what it refuses; `files` turns any other error of a parser into a `BadInput`. A writer takes a path that
`files.check_output` has passed.
"""

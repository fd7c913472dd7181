"""One file a format: how each is read and written; what they share is in `formats`, the doors are in `files`.

A reader takes a path, the key of an array or None, and the key to prefer, and returns one `Stored` array: not yet
checked for finite numbers. What it refuses is a `BadInput`; whatever else a parser raises, `files` turns into one. A
writer takes a path that `files.check_output` has passed.
"""

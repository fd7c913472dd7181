"""The command line: each command has a file; all share ``options``, and print with ``console``."""

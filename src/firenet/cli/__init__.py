"""The command line: one command a file; ``options`` are shared, and ``console`` is what all print with."""

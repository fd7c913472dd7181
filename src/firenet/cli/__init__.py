"""The command line: one command a file, the options that they share in ``options``, and what they print in ``console``."""

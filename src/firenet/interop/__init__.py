"""Bridges to other libraries: their operators as ours, and ours as theirs. One file for each library."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

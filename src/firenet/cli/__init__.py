"""The command line; one command a file."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

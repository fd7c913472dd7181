"""The network of the theorem: built from a plan, as an explicit list of layers, and in exact arithmetic."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

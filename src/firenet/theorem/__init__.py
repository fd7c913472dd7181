"""The network of the theorem, built from a plan."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""The network of the theorem as an explicit object: its list of layers, exact arithmetic, approximate matrices."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""Linear operators with an adjoint and a bound of their norm."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

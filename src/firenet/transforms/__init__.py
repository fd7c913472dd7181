"""Sparsifying transforms: wavelets, undecimated wavelets, the gradient, unions of them."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

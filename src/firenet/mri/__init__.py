"""Magnetic resonance imaging: from the arrays of a scanner to images with certificates."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

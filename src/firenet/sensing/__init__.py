"""Measurement operators, and the masks that say which samples are taken."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""Finds how many digits of a minimiser are determined by data that are known to so many bits, with proof."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

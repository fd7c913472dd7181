"""Finds how many digits of a minimiser are determined by data that are known to a given accuracy, with proof."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""Computes what is known before any data: constants of a matrix, and the accuracy, depth and stability that follow."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""Verified numbers: objective and lower bound in exact arithmetic, for the problem as it is stored."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

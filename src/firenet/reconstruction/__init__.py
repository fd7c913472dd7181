"""Reconstruction from any measurements: defaults, one call, a setting chosen from the data, certificates."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

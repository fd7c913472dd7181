"""Single-pixel cameras: from the readings of a detector behind Walsh-Hadamard patterns to measurements."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

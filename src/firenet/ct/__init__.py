"""Computed tomography: from the counts of a detector to sinograms, their axis, and filtered back-projections."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""The primal-dual iteration: the schedules of its steps, its loops, and its result."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""The primal-dual iteration: schedules of its steps, its loops, what it returns."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

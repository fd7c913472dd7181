"""What can be proved about the network before any data, from constants of the measurement matrix."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

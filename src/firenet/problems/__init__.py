"""The optimisation problems whose solutions a FIRENET computes: objective, dual, duality gap."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

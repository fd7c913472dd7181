"""Reconstructions by name, from files and from other libraries, as models of an audit."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

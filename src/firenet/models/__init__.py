"""Models of an audit: reconstructions by name, from files and from other libraries."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

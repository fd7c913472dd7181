"""The models that ``firenet audit`` tests: reconstruction methods by name, from files and from other libraries."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

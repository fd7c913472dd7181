"""Networks of fixed steps for other runtimes."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

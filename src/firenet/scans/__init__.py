"""Files of scanners and cameras, of any kind, to images with certificates and their record."""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

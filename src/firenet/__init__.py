"""Neural networks for inverse problems whose weights are computed, not trained.

Nothing is imported before it is used: ``import firenet`` is quick, and so is ``firenet --help``.
"""

from firenet.optional import lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

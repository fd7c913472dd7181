"""Neural networks for inverse problems whose weights are computed, not trained."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "operators": ("Composition", "LinearOperator", "Matrix", "NormBound", "VerticalStack"),
    "sensing": ("MultiCoilFourier", "SubsampledFourier", "SubsampledWalsh"),
    "transforms": ("TightFrame", "WalshHadamard", "Wavelet"),
    "levels": ("SparsityLevels",),
    "problems": ("SquareRootLasso",),
    "restarts": ("FixedSteps", "PaperSchedule"),
    "guarantee": ("Guarantee",),
    "network": ("Firenet", "Solution", "Status"),
    "sampling": ("Mask", "lines", "local_coherences", "multilevel"),
    "errors": ("BadInput", "MissingExtra"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'firenet' has no attribute {name!r}")
    return getattr(import_module(f"firenet.{_MODULE[name]}"), name)

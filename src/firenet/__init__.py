"""Neural networks for inverse problems whose weights are computed, not trained.

Nothing is imported before it is used: ``import firenet`` is quick, and so is ``firenet --help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firenet.analysis import AnalysisProblem
    from firenet.certificate import Certificate, certify
    from firenet.check import AdjointCheck, check_adjoint
    from firenet.errors import BadInput, DoubtfulInput, MissingExtra, NumericalError
    from firenet.export import export_onnx
    from firenet.frames import Gradient, UndecimatedWavelet, Union
    from firenet.guarantee import Guarantee
    from firenet.levels import SparsityLevels
    from firenet.models import Model, load_model
    from firenet.network import Firenet, Solution, Status
    from firenet.operators import Adjoint, Composition, LinearOperator, Matrix, NormBound, VerticalStack
    from firenet.problems import Ball, Norm, SparseProblem, Squared
    from firenet.real import RealPacked
    from firenet.recon import certify_image, psnr, reconstruct
    from firenet.report import write_report
    from firenet.restarts import AdaptiveRestarts, FixedSteps, FrozenSteps, PaperSchedule, RadialSearch
    from firenet.reweighting import Round, reweighted
    from firenet.sampling import Mask, lines, local_coherences, multilevel, variable_density
    from firenet.selection import Sweep, choose_lam
    from firenet.sensing import MultiCoilFourier, SubsampledFourier, SubsampledWalsh
    from firenet.stabilised import Stabilised
    from firenet.transforms import AnalysisOperator, TightFrame, WalshHadamard, Wavelet

__version__ = "0.1.0"

_HOME = {
    "analysis": ("AnalysisProblem",),
    "certificate": (
        "Certificate",
        "certify",
    ),
    "check": ("AdjointCheck", "check_adjoint"),
    "errors": (
        "BadInput",
        "DoubtfulInput",
        "MissingExtra",
        "NumericalError",
    ),
    "export": ("export_onnx",),
    "frames": ("Gradient", "UndecimatedWavelet", "Union"),
    "guarantee": ("Guarantee",),
    "levels": ("SparsityLevels",),
    "models": ("Model", "load_model"),
    "network": (
        "Firenet",
        "Solution",
        "Status",
    ),
    "operators": (
        "Adjoint",
        "Composition",
        "LinearOperator",
        "Matrix",
        "NormBound",
        "VerticalStack",
    ),
    "problems": ("Ball", "Norm", "SparseProblem", "Squared"),
    "real": ("RealPacked",),
    "recon": (
        "certify_image",
        "psnr",
        "reconstruct",
    ),
    "report": ("write_report",),
    "restarts": (
        "AdaptiveRestarts",
        "FixedSteps",
        "FrozenSteps",
        "PaperSchedule",
        "RadialSearch",
    ),
    "reweighting": (
        "Round",
        "reweighted",
    ),
    "sampling": (
        "Mask",
        "lines",
        "local_coherences",
        "multilevel",
        "variable_density",
    ),
    "selection": (
        "Sweep",
        "choose_lam",
    ),
    "sensing": (
        "MultiCoilFourier",
        "SubsampledFourier",
        "SubsampledWalsh",
    ),
    "stabilised": ("Stabilised",),
    "transforms": (
        "AnalysisOperator",
        "TightFrame",
        "WalshHadamard",
        "Wavelet",
    ),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AdaptiveRestarts",
    "Adjoint",
    "AdjointCheck",
    "AnalysisOperator",
    "AnalysisProblem",
    "BadInput",
    "Ball",
    "Certificate",
    "Composition",
    "DoubtfulInput",
    "Firenet",
    "FixedSteps",
    "FrozenSteps",
    "Gradient",
    "Guarantee",
    "LinearOperator",
    "Mask",
    "Matrix",
    "MissingExtra",
    "Model",
    "MultiCoilFourier",
    "Norm",
    "NormBound",
    "NumericalError",
    "PaperSchedule",
    "RadialSearch",
    "RealPacked",
    "Round",
    "Solution",
    "SparseProblem",
    "SparsityLevels",
    "Squared",
    "Stabilised",
    "Status",
    "SubsampledFourier",
    "SubsampledWalsh",
    "Sweep",
    "TightFrame",
    "UndecimatedWavelet",
    "Union",
    "VerticalStack",
    "WalshHadamard",
    "Wavelet",
    "__version__",
    "certify",
    "certify_image",
    "check_adjoint",
    "choose_lam",
    "export_onnx",
    "lines",
    "load_model",
    "local_coherences",
    "multilevel",
    "psnr",
    "reconstruct",
    "reweighted",
    "variable_density",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'firenet' has no attribute {name!r}")
    return getattr(import_module(f"firenet.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The arguments of a network that describe its problem: operators, form, fidelity, weights, and their checks."""

from __future__ import annotations

from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.operators.check import trusted
from firenet.operators.linear import LinearOperator
from firenet.problems.fidelity import Ball, Fidelity, Norm, Squared
from firenet.sparsity import SparsityLevels
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions

Form = Literal["synthesis", "analysis"]


def check_operators(sensing: LinearOperator, sparsify: AnalysisOperator | None) -> None:
    """Raises BadInput for other objects than operators, and for a user-defined operator with a wrong adjoint."""
    if not isinstance(sensing, LinearOperator):
        do = "Wrap an array of numbers: firenet.Matrix(array)"
        raise BadInput("sensing: an operator, a LinearOperator", type(sensing).__name__, do)
    trusted(sensing)
    if sparsify is not None:
        if not isinstance(sparsify, AnalysisOperator):
            do = "For example firenet.Wavelet((256, 256), 'db4')"
            raise BadInput("sparsify: an operator, an AnalysisOperator", type(sparsify).__name__, do)
        trusted(sparsify)


def chosen_form(form: Form | None, sparsify: AnalysisOperator | None) -> Form:
    """Returns the form, by default the one that suits the analysis operator."""
    if form not in ("synthesis", "analysis", None) or (form == "analysis" and sparsify is None):
        needed = "form: synthesis, or analysis with a transform"
        raise BadInput(needed, f"{form!r} with sparsify={sparsify}", "Leave form out")
    form = form if form is not None else "analysis" if isinstance(sparsify, Convolutions) else "synthesis"
    if form == "synthesis" and sparsify is not None and not sparsify.is_tight:
        do = "Pass form='analysis', which takes every transform"
        raise BadInput("A tight frame, W*W = I, for the synthesis form", type(sparsify).__name__, do)
    return form


def chosen_fidelity(fidelity: Literal["norm", "squared"] | Fidelity, noise: float | None) -> Fidelity:
    """Returns the fidelity, the ball if a noise level is given."""
    named: dict[str, Fidelity] = {"norm": Norm(), "squared": Squared()}
    chosen = fidelity if isinstance(fidelity, Fidelity) else named.get(fidelity)
    if chosen is None or (noise is not None and not isinstance(chosen, Norm)):
        needed = "fidelity: norm, squared or a Fidelity, and noise only beside norm"
        raise BadInput(needed, f"{fidelity!r} with noise={noise}", "For (P1) give noise, for (P2) fidelity")
    try:
        return chosen if noise is None else Ball(float(noise))
    except (TypeError, ValueError):
        do = "The 2-norm of the noise over all samples, in the unit of y"
        raise BadInput("A number for noise", repr(noise), do) from None


def chosen_weights(
    weights: Tensor | ArrayLike | SparsityLevels | None, sparsify: AnalysisOperator | None, form: Form
) -> Tensor | None:
    """Returns the weights as a tensor, in the analysis form by default those of the noise in each band."""
    if isinstance(weights, nn.Parameter):
        do = "Pass a tensor made of it (w * 1.0 or softplus(w)) at each step; gradients reach the parameter"
        raise BadInput("weights: a tensor", "a Parameter, which would be frozen in a buffer", do)
    if isinstance(weights, SparsityLevels):
        if sparsify is None:
            do = "Pass one weight per coefficient as a tensor"
            raise BadInput("sparsify: a transform, for weights from SparsityLevels", "sparsify=None", do)
        return torch.from_numpy(weights.spread(weights.weights(), sparsify.levels().numpy()))
    if weights is None and form == "analysis" and isinstance(sparsify, Convolutions):
        sizes = sparsify.band_noise()
        return sizes / sizes.square().mean().sqrt() if len(sizes) > 1 else None
    return None if weights is None else tensor_of(weights, "weights")

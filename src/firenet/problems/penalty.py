"""The weighted l1 norm: its regularisation parameter lambda, its weights, its proximal map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import broadcasts_to, readable
from firenet.operators.linear import LinearOperator


def check_lam(lam: float) -> None:
    """Raises BadInput if a regularisation parameter is not positive and finite."""
    if not (math.isfinite(lam) and lam > 0):
        raise BadInput("A regularisation parameter lam, positive and finite", f"{lam}", "1e-3 is usual for images")


def default_lam(operator: LinearOperator, coefficients: int) -> float:
    """Returns the default :math:`\\lambda=1.45\\,g/\\sqrt n` for n coefficients of a tight frame with weights of mean
    square 1, where g is the :attr:`LinearOperator.gain`; half of that if AA* is not known to be the identity.

    For (P3) with AA* = I, so that g = 1, and W*W = I, the residual can only be nonzero for
    :math:`\\lambda\\ge n^{-1/2}`, since the dual point q then has
    :math:`1=\\|q\\|=\\|A^*q\\|=\\|W^*p\\|\\le\\|p\\|\\le\\lambda\\|w\\|=\\lambda\\sqrt n`. For a smaller lambda the
    solution fits all noise. The factor 1.45 is from experience with redundant frames, the half from raw scans, whose
    coil maps are never exact.
    """
    factor = 1.45 if operator.is_coisometry else 0.725
    return factor * (operator.gain or 1.0) / math.sqrt(max(coefficients, 1))


def check_weights(w: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raises BadInput if weights are not positive and finite or do not broadcast to the coefficients; numbers
    that cannot be read (:func:`.readable`) are not checked."""
    if w is None:
        return
    if not w.is_floating_point() or (readable(w) and (not torch.isfinite(w).all() or (w <= 0).any())):
        bad = w[~(torch.isfinite(w) & (w > 0))] if w.is_floating_point() else w[:0]
        got = f"{w.dtype}" if not w.is_floating_point() else f"{bad.numel()} others, e.g. {bad.flatten()[0].item():g}"
        do = "For a coefficient without penalty use a small positive weight, e.g. 1e-3, which the dual point needs"
        raise BadInput("Real, finite and positive weights", got, do)
    if not broadcasts_to(w.shape, shape):
        needed = f"Weights that broadcast to the coefficients' shape {shape}"
        raise BadInput(needed, f"shape {tuple(w.shape)}", "Make the weights for this transform")


def soft_threshold(v: Tensor, threshold: Tensor) -> Tensor:
    """Computes :math:`\\max(0,1-t/|v|)\\,v`, with derivative 0 (not NaN) where the result is 0."""
    if not v.is_complex():
        return v - torch.clamp(v, -threshold, threshold)
    # u = v / t, so that |u|^2 neither over- nor underflows for data of any scale. max(|u|^2, 1) instead of |u|^2 gives
    # an exact zero below the threshold and a finite derivative at 0.
    inverse = threshold.clamp(min=torch.finfo(threshold.dtype).tiny).reciprocal()
    re, im = (torch.view_as_real(v.resolve_conj()) * inverse[..., None]).unbind(-1)
    return v * (1 - (re * re).addcmul(im, im).clamp(min=1).rsqrt())

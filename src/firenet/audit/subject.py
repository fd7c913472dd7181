"""Tries a model before it is audited, and keeps it from affecting the process."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.ascent import Ascent
from firenet.audit.model import Model
from firenet.audit.records import Settings
from firenet.errors import BadInput, FirenetError, plain
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

DRAWS = 4  # the number of images whose mean is attacked, if a model is not deterministic
TRIES = 20  # the number of calls before the audit
NO_MEMORY = "It needs more memory than there is"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model under audit, after trial calls that showed what kind of function it is.

    Attributes:
        reconstruct: R, with checks of what it returns.
        attacked: The function that is attacked: R, or the mean of several calls.
        raw: R as the model built it.
        ascent: The ascent of attacks: ``spsa`` if R has no usable gradient.
        about: Whether R is deterministic and has a gradient, and its time for an image.
    """

    reconstruct: Callable[[Tensor], Tensor]
    attacked: Callable[[Tensor], Tensor]
    raw: Callable[[Tensor], Tensor]
    ascent: Ascent
    about: Mapping[str, Any]

    @property
    def doubt(self) -> str:
        """The reason why a search of the model proves little; empty if there is none."""
        if self.about["deterministic"]:
            return ""
        return f"its answers to the same data differ by {self.about['spread']:.1e} in {TRIES} calls"


def built(model: Model, sensing: LinearOperator) -> Callable[[Tensor], Tensor]:
    """Returns R of a model, built with a copy of the operator: a model that alters it does not affect others."""
    try:
        own = copy.deepcopy(sensing)
    except Exception:  # a user's operator that cannot be copied
        own = sensing
    with left_alone():
        return model.build(own)


def tried(model: Model, sensing: LinearOperator, y: Tensor, settings: Settings) -> Subject:
    """Builds a model and tries it: does it return an image, always the same one, and has it a gradient?

    The model is called ten times on y and ten times on y with noise of the reference budget. A second copy is called on
    both in the other order. This shows whether the image depends on chance or on earlier calls.

    Raises:
        BadInput: If the model does not return a finite image of the right shape.
    """
    shape = tuple(sensing.in_shape)
    raw = built(model, sensing)
    reconstruct = guarded(raw, shape)
    e = sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(settings.seed)))
    e = e.to(y.device)
    size = torch.linalg.vector_norm(e).item()
    shift = settings.reference * torch.linalg.vector_norm(y).item()
    other = y + e * (shift / size if size else 0.0)
    first, seconds = _first(reconstruct, y, shape)
    if not torch.isfinite(real_view(first)).all():
        raise BadInput("A finite reconstruction", "NaN or infinity", "Try it on measurements that it was made for")
    with torch.no_grad():
        second = reconstruct(other)
        differences = [_apart(reconstruct(y), first) for _ in range(TRIES // 2 - 1)]
        differences += [_apart(reconstruct(other), second) for _ in range(TRIES // 2 - 1)]
        fresh = guarded(built(model, sensing), shape)
        differences += [_apart(fresh(other), second), _apart(fresh(y), first)]
    norm, worst = torch.linalg.vector_norm(first).item(), max(differences)
    # Differences of up to a hundredth of the perturbation change an amplification by up to 0.01.
    deterministic = worst <= 0.01 * shift
    state = _gradient(reconstruct, y)
    about: dict[str, Any] = {"deterministic": deterministic, "spread": worst / norm if norm else worst}
    about |= {"gradient": state == "", "gradient problem": state, "seconds an image": seconds}
    attacked = reconstruct if deterministic else mean(reconstruct)
    return Subject(reconstruct, attacked, raw, "spsa" if state else settings.ascent, about)


def _apart(a: Tensor, b: Tensor) -> float:
    """Returns the norm of the difference. If the same entries of both are not finite, these entries are left out."""
    if torch.equal(torch.isfinite(real_view(a)), torch.isfinite(real_view(b))):
        a, b = (torch.nan_to_num(real_view(t), 0.0, 0.0, 0.0) for t in (a, b))
    distance = torch.linalg.vector_norm(real_view(a - b)).item()
    return distance if distance == distance else float("inf")


@contextmanager
def left_alone() -> Iterator[None]:
    """Restores the default dtype and the gradient mode, which a model may change for the whole process."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Restores the global random generators of torch, NumPy and Python at the end."""
    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def guarded(reconstruct: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Returns R with checks: it raises :class:`BadInput` unless R returns an image of this shape."""

    def run(y: Tensor) -> Tensor:
        with left_alone():
            image: Any = reconstruct(y.clone())  # a copy, since R may alter its input
        if not isinstance(image, Tensor):
            raise BadInput("A tensor", type(image).__name__, "Return the image as a torch.Tensor")
        if tuple(image.shape) != shape:
            do = "Return one image without batch and channel axes"
            raise BadInput(f"An image of shape {shape}", f"{tuple(image.shape)}", do)
        if not (image.is_floating_point() or image.is_complex()):
            raise BadInput("An image of floating point or complex numbers", f"{image.dtype}", "Convert it")
        # A copy: a model that always returns the same buffer would seem to be perfectly stable.
        return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image.clone()

    return run


def _first(reconstruct: Callable[[Tensor], Tensor], y: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """Returns the first image of a model and its time; if the model raises an error, explains what it must take."""
    start = time.perf_counter()
    try:
        with torch.no_grad():
            return reconstruct(y), time.perf_counter() - start
    except (FirenetError, MemoryError):
        raise
    except Exception as error:
        said = reason(error)
        if said.startswith(NO_MEMORY):
            raise
        needed = f"A function of measurements of shape {tuple(y.shape)} and dtype {str(y.dtype).removeprefix('torch.')}"
        do = "If it takes an image, begin with one: lambda y: net(sensing.adjoint(y).abs()[None, None])[0, 0]"
        got = f"on these measurements {said}"
        raise BadInput(f"{needed} that returns an image of shape {shape}", got, do) from error


def mean(reconstruct: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Returns a function whose image is the mean of a few calls of a reconstruction that is not deterministic."""
    return lambda y: torch.stack([reconstruct(y) for _ in range(DRAWS)]).mean(0)


def _gradient(reconstruct: Callable[[Tensor], Tensor], y: Tensor) -> str:
    """Returns what is wrong with a model's gradient, as far as one call shows it; an empty text if nothing is."""
    try:
        with torch.enable_grad():
            at = y.detach().clone().requires_grad_()
            image = reconstruct(at)
            if not image.requires_grad:
                return "it has no gradient"
            (slope,) = torch.autograd.grad(image.abs().square().sum(), at, allow_unused=True)
    except Exception as error:
        return f"its gradient cannot be computed ({type(error).__name__})"
    if slope is None:
        return "it has no gradient"
    if not torch.isfinite(real_view(slope)).all():
        return "its gradient is not finite"
    return "" if slope.abs().max() > 0 else "its gradient vanishes"


def reason(error: BaseException) -> str:
    """Returns in one line why a part failed."""
    if isinstance(error, FirenetError):
        return plain(error)
    said = plain(" ".join(str(error).split()))[:300]
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return f"{NO_MEMORY}: {said}"
    return f"{type(error).__name__}: {said}"

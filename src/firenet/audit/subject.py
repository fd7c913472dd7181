"""A model at the door of an audit: built, tried twenty times, and kept from doing harm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.ascent import Ascent
from firenet.audit.model import Model
from firenet.audit.parts import clean
from firenet.audit.records import Settings
from firenet.errors import BadInput, FirenetError
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

DRAWS = 4  # answers whose mean is attacked, of a model that answers differently every time
TRIES = 20  # calls at the door
NO_MEMORY = "It needs more memory than there is"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that has shown that it works: R, guarded, and what is known about it."""

    reconstruct: Callable[[Tensor], Tensor]
    attacked: Callable[[Tensor], Tensor]
    raw: Callable[[Tensor], Tensor]
    ascent: Ascent
    about: Mapping[str, Any]

    @property
    def doubt(self) -> str:
        """Why nothing that is not found can be believed."""
        if self.about["deterministic"]:
            return ""
        return f"its answers to the same data differ by {self.about['spread']:.1e} in {TRIES} calls"


def built(model: Model, sensing: LinearOperator) -> Callable[[Tensor], Tensor]:
    """R of a model, made for a copy of the operator: a factory that alters it alters nobody else's."""
    try:
        own = copy.deepcopy(sensing)
    except Exception:  # an operator of somebody else that cannot be copied
        own = sensing
    with left_alone():
        return model.build(own)


def tried(model: Model, sensing: LinearOperator, y: Tensor, settings: Settings) -> Subject:
    """Builds a model and calls it: does it return an image, always the same one, and has it a gradient?

    It is called ten times on y and ten times on y with noise of the reference budget, by turns, and once more on a
    second copy in the other order: what depends on chance, or on what was asked before, shows.

    Raises:
        BadInput: Where it returns no finite image of the right shape.
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
        do = "Try it on measurements that it was made for"
        raise BadInput("A finite reconstruction", "NaN or infinity", do)
    with torch.no_grad():
        second = reconstruct(other)
        differences = [_apart(reconstruct(y), first) for _ in range(TRIES // 2 - 1)]
        differences += [_apart(reconstruct(other), second) for _ in range(TRIES // 2 - 1)]
        fresh = guarded(built(model, sensing), shape)
        differences += [_apart(fresh(other), second), _apart(fresh(y), first)]
    norm = torch.linalg.vector_norm(first).item()
    worst = max(differences)
    # Differences up to a hundredth of the perturbation change an amplification by a hundredth.
    deterministic = worst <= 0.01 * shift
    state = _gradient(reconstruct, y)
    about = {
        "deterministic": deterministic,
        "spread": worst / norm if norm else worst,
        "gradient": state == "",
        "gradient problem": state,
        "seconds an image": seconds,
    }
    attacked = reconstruct if deterministic else mean(reconstruct)
    return Subject(reconstruct, attacked, raw, "spsa" if state else settings.ascent, about)


def _apart(a: Tensor, b: Tensor) -> float:
    """The norm of the difference; NaN where both have one is none."""
    if torch.equal(torch.isfinite(real_view(a)), torch.isfinite(real_view(b))):
        a, b = (torch.nan_to_num(real_view(t), 0.0, 0.0, 0.0) for t in (a, b))
    distance = torch.linalg.vector_norm(real_view(a - b)).item()
    return distance if distance == distance else float("inf")


@contextmanager
def left_alone() -> Iterator[None]:
    """Puts back what a model may change for the whole process: default dtype, gradient mode, random generators."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Puts the global random generators of torch, NumPy and Python back at the end, whoever drew from them or seeded
    them in between."""
    import random

    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def guarded(reconstruct: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """R, refused where what it returns is no image of this shape."""

    def run(y: Tensor) -> Tensor:
        with left_alone():
            image: Any = reconstruct(y.clone())  # what it does to its input stays with it
        if not isinstance(image, Tensor):
            raise BadInput("A tensor", type(image).__name__, "Return the image as a torch.Tensor")
        if tuple(image.shape) != shape:
            do = "Return one image without batch and channel axes"
            raise BadInput(f"An image of shape {shape}", f"{tuple(image.shape)}", do)
        if not (image.is_floating_point() or image.is_complex()):
            raise BadInput("An image of floating point or complex numbers", f"{image.dtype}", "Convert it")
        # A copy: who writes into one buffer again and again would seem to be perfectly stable.
        return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image.clone()

    return run


def _first(reconstruct: Callable[[Tensor], Tensor], y: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """The first image of a model, and its seconds: who takes images and not measurements raises what it likes here."""
    import time

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
        dtype = str(y.dtype).removeprefix("torch.")
        raise BadInput(
            f"A function of measurements of shape {tuple(y.shape)} and dtype {dtype} that returns an image of shape "
            f"{shape}",
            f"on these measurements {said}",
            "If it takes an image, begin with one: lambda y: net(sensing.adjoint(y).abs()[None, None])[0, 0]",
        ) from error


def mean(reconstruct: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Who answers differently every time is attacked through the mean of a few answers."""
    return lambda y: torch.stack([reconstruct(y) for _ in range(DRAWS)]).mean(0)


def _gradient(reconstruct: Callable[[Tensor], Tensor], y: Tensor) -> str:
    """What is wrong with a model's gradient, as far as one call shows it; empty where nothing is."""
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
    """Why a part failed, in one line."""
    if isinstance(error, FirenetError):
        return clean(str(error))
    said = clean(" ".join(str(error).split()))[:300]
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return f"{NO_MEMORY}: {said}"
    return f"{type(error).__name__}: {said}"

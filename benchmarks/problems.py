"""The problems of the benchmark, and their minimisers.

All methods of one problem look for the same image: the minimiser of the square-root LASSO

    min_x  lam ||W x||_1 + ||A x - y||_2,          W the Haar transform, orthonormal, to full depth where sides allow.

If its residual r = ||A x* - y|| is positive, x* also minimises lam r ||W x||_1 + 1/2 ||A x - y||^2, which is what
the peers solve; and in any case it minimises ||W x||_1 subject to ||A x - y|| <= r.

Lambda decides whether r is positive. Below a critical value, about 1.3 over the side of the image, the unsquared norm
is an exact penalty: the minimiser fits the data (and the noise) exactly, r = 0, and no LASSO has it. So lambda is
1.4 / side without noise (r is 0.4 % of ||y||) and 1.6 / side with 2 % noise (r is 2 % of ||y||, the noise's own size),
1.8 / side for Walsh (1 %). The
problems called exact have lambda = 2.5e-4 and r = 0 and are posed to the peers in the constrained form.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pywt
import torch
from torch import Tensor

import firenet
from firenet.mri.coils import estimate_maps
from firenet.mri.kspace import to_corner
from firenet.scans.demo import load_slice

HERE = Path(__file__).parent
RATE = 0.2
NOISE_SEED = 1


class Skip(Exception):
    """Why something is left out: a word for the report, never an error."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One reconstruction.

    Attributes:
        name: Also the name of the file of results.
        mask: Boolean, zero frequency in the corner.
        y: Measurements, complex128 (Walsh: float64), zero off the mask.
        truth: The image, None for a raw scan.
        maps: Coil maps, or None.
        lam: Of the square-root LASSO.
        levels: Depth of the Haar transform; None is full depth.
        exact: The minimiser fits the data: peers get the constrained form.
        only: Methods to measure, None for all.
        accuracies: Relative distances to the minimiser that are timed.
        recipe: Seeds and sources, for the record.
    """

    name: str
    mask: Tensor
    y: Tensor
    lam: float
    truth: Tensor | None = None
    maps: Tensor | None = None
    levels: int | None = None
    exact: bool = False
    only: tuple[str, ...] | None = None
    accuracies: tuple[float, ...] = (1e-1, 1e-2, 1e-3)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.mask.shape)

    @property
    def real(self) -> bool:
        """Whether everything is real, as in Walsh sensing."""
        return not self.y.is_complex()

    @property
    def y_single(self) -> Tensor:
        """The measurements in the precision in which all iterative methods compute."""
        return self.y.to(torch.float32 if self.real else torch.complex64)

    def sensing(self, dtype: torch.dtype = torch.complex64) -> firenet.LinearOperator:
        """A; ``dtype`` is that of the coil maps."""
        if self.real:
            return firenet.SubsampledWalsh(self.mask)
        if self.maps is None:
            return firenet.SubsampledFourier(self.mask)
        return firenet.MultiCoilFourier(self.mask, self.maps.to(dtype))

    def wavelet(self) -> firenet.Wavelet:
        return firenet.Wavelet(self.shape, "haar", self.levels)

    def network(self, schedule: Any, *, double: bool = False, iterate: Any = "average") -> firenet.Firenet:
        sensing = self.sensing(torch.complex128 if double else torch.complex64)
        return firenet.Firenet(sensing, self.wavelet(), lam=self.lam, schedule=schedule, iterate=iterate)


@dataclass(frozen=True, eq=False)
class Minimiser:
    """The minimiser from a long float64 run.

    Attributes:
        image: complex128 or float64.
        residual: r.
        gap: The relative duality gap it comes with.
        layers: How many it took.
    """

    image: np.ndarray
    residual: float
    gap: float
    layers: int

    def distance(self, image: np.ndarray) -> float:
        """Relative distance in the Euclidean norm; infinite for what is not finite."""
        error = np.linalg.norm(image.astype(self.image.dtype) - self.image) / np.linalg.norm(self.image)
        return float(error) if math.isfinite(error) else math.inf


def minimiser(problem: Problem, progress: Callable[[int, int], None] | None = None) -> Minimiser:
    """The problem's minimiser, kept in ``cache/`` once found."""
    path = HERE / "cache" / f"{problem.name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            if float(kept["lam"]) == problem.lam and np.array_equal(kept["y"], problem.y.numpy()):
                return Minimiser(kept["image"], float(kept["residual"]), float(kept["gap"]), int(kept["layers"]))
    loose = min(problem.accuracies) >= 1e-2
    layers = 3000 if loose else 12000
    # One pair of steps that suits the size of x and of the dual; its last iterate converges linearly.
    fixed = firenet.solver.FixedSteps(layers // 3, 0.1 / problem.lam if problem.exact else None)
    tries: list[tuple[Any, str]] = [(fixed, "last")]
    adaptive = getattr(firenet, "AdaptiveRestarts", None)
    if adaptive is not None:
        tries.insert(0, (adaptive(tolerance=1e-6 if loose else 1e-10, max_layers=layers), "best"))
    solutions = []
    for schedule, iterate in tries:
        network = problem.network(schedule, double=True, iterate=iterate)
        solutions.append(network.solve(problem.y, progress=progress))
        if float(solutions[-1].relative_gap) < (1e-5 if loose else 1e-8):
            break
    solution = min(solutions, key=lambda s: float(s.relative_gap))
    residual = float(torch.linalg.vector_norm(problem.sensing(torch.complex128)(solution.image) - problem.y))
    found = Minimiser(solution.image.numpy(), residual, float(solution.relative_gap), int(solution.layers))
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(
        temporary,
        image=found.image,
        residual=residual,
        gap=found.gap,
        layers=found.layers,
        lam=problem.lam,
        y=problem.y.numpy(),
    )
    temporary.replace(path)
    return found


def _photograph(name: str) -> Tensor:
    """A 512 x 512 photograph that comes with PyWavelets, in [0, 1]."""
    with np.load(Path(pywt.__file__).parent / "data" / f"{name}.npz", allow_pickle=False) as file:
        return torch.from_numpy(file["data"].astype(np.float64) / 255)


def photograph(side: int) -> Tensor:
    """``camera`` at 512 and below by 2 x 2 means; above, a mosaic of four photographs, mirrored for 2048."""
    if side <= 512:
        image = _photograph("camera")
        while image.shape[0] > side:
            image = image.reshape(image.shape[0] // 2, 2, -1, 2).mean(dim=(1, 3))
        return image
    camera, ascent, aero = (_photograph(name) for name in ("camera", "ascent", "aero"))
    image = torch.cat([torch.cat([camera, ascent], 1), torch.cat([aero, camera.flip(1)], 1)], 0)
    while image.shape[0] < side:
        image = torch.cat([image, image.flip(0)], 0)
        image = torch.cat([image, image.flip(1)], 1)
    return image


def _simulated(name: str, image: Tensor, c: float, *, noise: float = 0.0, walsh: bool = False, **rest: Any) -> Problem:
    """Retrospective measurements of an image; lambda is c over the side."""
    image = image.to(torch.float64)
    mask = firenet.sensing.multilevel(image.shape, RATE, transform="walsh" if walsh else "fourier", seed=0)
    sensing = firenet.SubsampledWalsh(mask.samples) if walsh else firenet.SubsampledFourier(mask.samples)
    y = sensing(image if walsh else image.to(torch.complex128))
    if noise:
        generator = torch.Generator().manual_seed(NOISE_SEED)
        error = torch.randn(y.shape, dtype=y.dtype, generator=generator) * mask.samples
        y = y + error * (noise * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(error))
    recipe = {"mask": dict(mask.recipe), "noise": noise, "noise_seed": NOISE_SEED if noise else None}
    return Problem(name, mask.samples, y, c / image.shape[0], image, recipe=recipe, **rest)


def _brain(name: str) -> Problem:
    """A raw 8-coil brain scan. The outer lines are cut off so that the sides divide by 16 and Haar is orthonormal."""
    path = Path(os.environ.get("FIRENET_DATA", HERE / "data")) / "brain_8ch_poisson.npz"
    if not path.exists():
        raise Skip(f"{path.name} is not there; set FIRENET_DATA to its folder")
    with np.load(path, allow_pickle=False) as file:
        centred = torch.from_numpy(file["kspace"]).to(torch.complex128)
    rows, columns = (n // 16 * 16 for n in centred.shape[1:])
    top, left = (centred.shape[1] - rows) // 2, (centred.shape[2] - columns) // 2
    y = to_corner(centred[:, top : top + rows, left : left + columns], 2)
    mask = (y != 0).any(dim=0)
    maps = estimate_maps(y.to(torch.complex64), mask).maps
    recipe = {"source": path.name, "cropped_to": [rows, columns], "maps": "ESPIRiT"}
    return Problem(name, mask, y, 5e-3, maps=maps, levels=4, recipe=recipe)


ADAPTIVE, FISTA = "adaptive", "SigPy FISTA"
_SCALING: dict[str, Any] = {"only": (ADAPTIVE, FISTA), "accuracies": (1e-2,)}

PROBLEMS: dict[str, Callable[[str], Problem]] = {
    "fourier-32": lambda name: _simulated(name, photograph(32), 1.4),
    "walsh-64": lambda name: _simulated(name, photograph(64), 1.8, walsh=True),
    "walsh-256": lambda name: _simulated(name, photograph(256), 1.8, walsh=True),
    "mri-256-noise": lambda name: _simulated(name, load_slice(), 1.6, noise=0.02),
    "brain-8-coils": _brain,
}
for _n in (64, 256, 512, 1024):
    PROBLEMS |= {
        f"exact-{_n}": lambda name, n=_n: _simulated(name, photograph(n), 2.5e-4 * n, exact=True),
        f"exact-{_n}-noise": lambda name, n=_n: _simulated(name, photograph(n), 2.5e-4 * n, noise=0.02, exact=True),
        f"fourier-{_n}": lambda name, n=_n: _simulated(name, photograph(n), 1.4),
        f"fourier-{_n}-noise": lambda name, n=_n: _simulated(name, photograph(n), 1.6, noise=0.02),
    }
for _n in (64, 128, 256, 512, 1024, 2048):
    PROBLEMS[f"scaling-{_n}"] = lambda name, n=_n: _simulated(name, photograph(n), 1.4, **_SCALING)

# Small ones for a first look; the benchmark proper leaves them out.
QUICK = ("fourier-32", "fourier-64", "fourier-64-noise", "exact-64", "exact-64-noise", "walsh-64", "scaling-64")
FULL = tuple(name for name in PROBLEMS if name in ("fourier-32", "scaling-64") or name not in QUICK)

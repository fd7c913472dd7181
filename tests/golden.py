"""Compares the numbers of two checkouts: moving code must not change what it computes.

``python tests/golden.py OLD NEW`` runs the same small problems in both, each in a process of its own, and compares
image, objective, lower bound, gap, layers and status: double precision to 1e-12 relative, single to 1e-5 (an image
relative to its largest number, the gap to the objective). It prints a line a case; exit code 1: one differs.

Both checkouts get the same data, drawn by NumPy. Names may move between them: `named` finds where they are defined.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Results = dict[str, NDArray[Any]]
TOLERANCES = {"double": 1e-12, "single": 1e-5}
PARTS = ("image", "objective", "lower_bound", "gap", "layers", "status")
# What has another name in a later checkout.
RENAMED = {"reconstruct_kspace": "reconstruct"}  # now: before


@functools.cache
def named(name: str) -> Any:
    """Returns a class or function of firenet, from the top level or from the file that defines it.

    >>> named("Gradient").__name__
    'Gradient'
    """
    firenet = importlib.import_module("firenet")
    root = Path(str(firenet.__file__)).parent
    for wanted in (name, RENAMED.get(name, name)):
        found = getattr(firenet, wanted, None)
        if found is not None and not isinstance(found, ModuleType):
            return found
        defines = re.compile(rf"^(?:(?:class|def) {wanted}\b|{wanted}\s*[:=])", re.MULTILINE)
        # Only the file that defines it is imported: others may need packages that are not there.
        for path in sorted(root.rglob("*.py")):
            if defines.search(path.read_text(encoding="utf-8")):
                parts = path.relative_to(root.parent).with_suffix("").parts
                return getattr(importlib.import_module(".".join(parts).removesuffix(".__init__")), wanted)
    raise LookupError(f"no definition of {name} in {root}")


def part(thing: Any, name: str) -> Any:
    """Returns an attribute under its old name or its new one."""
    return getattr(thing, name) if hasattr(thing, name) else getattr(thing, RENAMED.get(name, name))


# --- data ------------------------------------------------------------------------------------------------------------


def draw(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> Tensor:
    """Draws normal numbers; complex ones have variance 1 in each part."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return torch.from_numpy(x + 1j * rng.normal(size=shape) if dtype.is_complex else x).to(dtype)


def picture(n: int = 32, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Makes a picture of two discs and a block, with a slow phase if it is complex."""
    v, u = np.mgrid[:n, :n] / n - 0.5
    x = 1.0 * (u**2 + v**2 < 0.16) + 0.5 * ((u - 0.1) ** 2 + v**2 < 0.02) - 0.4 * ((abs(u + 0.15) < 0.06) & (v > 0))
    return torch.from_numpy(x * np.exp(0.8j * (u + v)) if dtype.is_complex else x).to(dtype)


def mask(n: int = 32, share: float = 0.35, seed: int = 1) -> Tensor:
    """Draws a mask, zero frequency in the corner, whose lowest 8 x 8 frequencies are all measured."""
    k = np.abs(np.fft.fftfreq(n, 1 / n))
    low = (k < 4.5)[:, None] & (k < 4.5)
    return torch.from_numpy(low | (np.random.default_rng(seed).random((n, n)) < share))


def coil_maps(coils: int = 4, n: int = 32, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Makes smooth maps around the picture, with phases of their own; their squares sum to one."""
    v, u = np.mgrid[:n, :n] / n - 0.5
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = [np.exp(-2 * ((u - 0.5 * np.cos(a)) ** 2 + (v - 0.5 * np.sin(a)) ** 2) + 1j * (a + u)) for a in angles]
    return torch.from_numpy(np.stack(maps) / np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))).to(dtype)


def noisy(operator: Any, x: Tensor, size: float = 0.02, seed: int = 2) -> Tensor:
    """Measures the picture with noise."""
    y = operator(x)
    return operator.restrict(y + size * draw(*y.shape, dtype=y.dtype, seed=seed))


# --- cases -----------------------------------------------------------------------------------------------------------


class Setup:
    """Makes the operators and data of one dtype, when they are asked for."""

    def __init__(self, dtype: torch.dtype = torch.complex128) -> None:
        self.dtype = dtype

    def fourier(self) -> tuple[Any, Tensor]:
        A = named("SubsampledFourier")(mask())
        return A, noisy(A, picture(dtype=self.dtype))

    def coils(self) -> tuple[Any, Tensor]:
        A = named("MultiCoilFourier")(mask(share=0.2), coil_maps(dtype=self.dtype))
        return A, noisy(A, picture(dtype=self.dtype))

    def walsh(self) -> tuple[Any, Tensor]:
        A = named("SubsampledWalsh")(mask(share=0.4))
        return A, noisy(A, picture(dtype=self.dtype))

    def matrix(self) -> tuple[Any, Tensor]:
        A = named("Matrix")(draw(30, 60, dtype=self.dtype, seed=3))
        x = torch.zeros(60, dtype=self.dtype)
        x[::11] = draw(6, dtype=self.dtype, seed=4)
        return A, noisy(A, x)


DOUBLE, SINGLE = Setup(), Setup(torch.complex64)
REAL, REAL_SINGLE = Setup(torch.float64), Setup(torch.float32)


def adaptive(tolerance: float = 1e-4, layers: int = 600) -> Any:
    return named("AdaptiveRestarts")(tolerance, layers)


def wavelet() -> Any:
    return named("Wavelet")((32, 32), "db2", 3)


def undecimated(name: str = "sym4", levels: int = 2) -> Any:
    return named("UndecimatedWavelet")((32, 32), name, levels)


def gradient(boundary: str = "periodic") -> Any:
    return named("Gradient")((32, 32), boundary)


def union(*more: Any) -> Any:
    return named("Union")([undecimated("haar", 1), undecimated(), *more])


def solve(data: tuple[Any, Tensor], frame: Any = None, *, start: dict[str, Any] | None = None, **options: Any) -> Any:
    """Solves with the adaptive schedule, if no other is given."""
    A, y = data
    return named("Firenet")(A, frame, **{"schedule": adaptive(), **options}).solve(y, **(start or {}))


def levels(frame: Any) -> Any:
    """Makes sparsity levels of a transform: a quarter of each."""
    sizes = np.bincount(frame.levels().flatten().numpy())
    return named("SparsityLevels")(tuple(sizes), tuple(np.maximum(1, sizes // 4)))


def batch(data: tuple[Any, Tensor]) -> tuple[Any, Tensor]:
    """Makes three measurements of one, of different size and noise."""
    A, y = data
    return A, torch.stack([y, 0.1 * y.flip(-1), A.restrict(y + 0.1 * draw(*y.shape, dtype=y.dtype, seed=5))])


def fixed(name: str, *numbers: Any) -> Any:
    """Makes a schedule by its name, from numbers in the order of its fields."""
    return named(name)(*numbers)


def frozen(data: tuple[Any, Tensor], frame: Any) -> Any:
    """Returns the steps that a search finds, as a fixed schedule."""
    return part(solve(data, frame).schedule, "frozen")()


def warm(data: tuple[Any, Tensor], frame: Any) -> Any:
    """Goes on from the image and the dual point of a short run."""
    first = solve(data, frame, schedule=adaptive(1e-2, 60))
    return solve(data, frame, start={"x0": first.image, "dual0": (first.dual, first.dual_sparse)})


def certified(data: tuple[Any, Tensor], frame: Any, **options: Any) -> Any:
    """Certifies an image that is not optimal."""
    A, y = data
    net = named("Firenet")(A, frame, **options)
    return named("certify_image")(A.adjoint(y), net, y, budget=200)


def images(data: tuple[Any, Tensor], frame: Any, schedule: Any, **options: Any) -> Results:
    """Runs the plain network, with its gradient by the measurements."""
    A, y = data
    y = y.clone().requires_grad_()
    image = named("Firenet")(A, frame, schedule=schedule, **options)(y)
    image.abs().square().sum().backward()
    assert y.grad is not None
    return {"image": as_numbers(image), "gradient": as_numbers(y.grad)}


def packed(data: tuple[Any, Tensor], frame: Any, fourier: str) -> Results:
    """Runs a frozen network in real numbers, as it is exported."""
    A, y = data
    net = named("Firenet")(A, frame, schedule=frozen(data, frame))
    real = named("RealPacked")(net, fourier=fourier, dtype=torch.float64)
    pairs = torch.view_as_real(y) if y.is_complex() else y
    return {"image": as_numbers(real(pairs[None]))}


def in_rounds(data: tuple[Any, Tensor], frame: Any) -> Results:
    """Solves three times, with weights from the image before."""
    A, y = data
    found = named("reweighted")(named("Firenet")(A, frame, schedule=adaptive(1e-3)), y, 2)
    return {f"{key} {k}": value for k, one in enumerate(found) for key, value in numbers(one.solution).items()}


def scan_data(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Makes centred k-space of several coils, as a file has it, with its mask and maps."""
    m, maps = mask(share=0.2), coil_maps(dtype=dtype)
    y = noisy(named("MultiCoilFourier")(m, maps), picture(dtype=dtype))
    return torch.fft.fftshift(y, dim=(-2, -1)), torch.fft.fftshift(m), maps


def scan(dtype: torch.dtype, **options: Any) -> Any:
    """Reconstructs such a scan."""
    return named("reconstruct_kspace")(*scan_data(dtype), **options)


def cases() -> dict[str, Callable[[], Any]]:
    """Returns what is solved, by name: single or double precision, form, fidelity, sensing, transform, what else."""
    ball: dict[str, Any] = {"noise": 0.8}
    squared: dict[str, Any] = {"fidelity": "squared", "lam": 0.05}
    spread = 0.5 + draw(32, 32, dtype=torch.float64, seed=7).abs()
    return {
        "double: synthesis P3 fourier wavelet": lambda: solve(DOUBLE.fourier(), wavelet()),
        "single: synthesis P3 fourier wavelet": lambda: solve(SINGLE.fourier(), wavelet(), schedule=adaptive(1e-3)),
        "double: synthesis P2 fourier wavelet": lambda: solve(DOUBLE.fourier(), wavelet(), **squared),
        "double: synthesis P1 fourier wavelet": lambda: solve(DOUBLE.fourier(), wavelet(), **ball),
        "double: synthesis P3 fourier undecimated": lambda: solve(DOUBLE.fourier(), undecimated(), form="synthesis"),
        "double: analysis P3 fourier wavelet": lambda: solve(DOUBLE.fourier(), wavelet(), form="analysis"),
        "double: analysis P3 fourier undecimated": lambda: solve(DOUBLE.fourier(), undecimated()),
        "single: analysis P3 fourier undecimated": lambda: solve(
            SINGLE.fourier(), undecimated(), schedule=adaptive(1e-3)
        ),
        "double: analysis P2 fourier undecimated": lambda: solve(DOUBLE.fourier(), undecimated(), **squared),
        "double: analysis P1 fourier undecimated": lambda: solve(DOUBLE.fourier(), undecimated(), **ball),
        "double: analysis P3 fourier gradient": lambda: solve(DOUBLE.fourier(), gradient()),
        "double: analysis P3 fourier neumann": lambda: solve(DOUBLE.fourier(), gradient("neumann")),
        "double: analysis P3 fourier union": lambda: solve(DOUBLE.fourier(), union()),
        "double: analysis P3 fourier union with gradient": lambda: solve(DOUBLE.fourier(), union(gradient())),
        "double: analysis P3 coils gradient": lambda: solve(DOUBLE.coils(), gradient()),
        "double: analysis P1 coils undecimated": lambda: solve(DOUBLE.coils(), undecimated(), noise=1.6),
        "single: analysis P3 coils union": lambda: solve(SINGLE.coils(), union(), schedule=adaptive(1e-3)),
        "double: synthesis P3 coils wavelet": lambda: solve(DOUBLE.coils(), wavelet()),
        "double: synthesis P3 walsh wavelet": lambda: solve(REAL.walsh(), wavelet()),
        "single: analysis P3 walsh undecimated": lambda: solve(
            REAL_SINGLE.walsh(), undecimated(), schedule=adaptive(1e-3)
        ),
        "double: synthesis P3 matrix": lambda: solve(REAL.matrix(), lam=0.1),
        "double: synthesis P1 complex matrix": lambda: solve(DOUBLE.matrix(), noise=0.2),
        "single: synthesis P2 matrix": lambda: solve(REAL_SINGLE.matrix(), schedule=adaptive(1e-3), **squared),
        "double: radial search": lambda: solve(REAL.matrix(), lam=0.1, schedule=fixed("RadialSearch", 1e-4, 2000)),
        "double: radial search, analysis, free exponent": lambda: solve(
            DOUBLE.fourier(), undecimated(), schedule=fixed("RadialSearch", 1e-3, 400, None)
        ),
        "double: paper's schedule": lambda: solve(
            DOUBLE.fourier(), wavelet(), schedule=fixed("PaperSchedule", 8, 12), start={"tolerance": 1e-3}
        ),
        "double: fixed steps, best": lambda: solve(
            DOUBLE.coils(), wavelet(), schedule=fixed("FixedSteps", 80), iterate="best"
        ),
        "double: frozen steps, analysis": lambda: solve(
            DOUBLE.fourier(), undecimated(), schedule=frozen(DOUBLE.fourier(), undecimated())
        ),
        "double: adaptive, 50 layers": lambda: solve(DOUBLE.coils(), union(), schedule=adaptive(1e-9, 50)),
        "double: batch, synthesis": lambda: solve(batch(DOUBLE.fourier()), wavelet()),
        "double: batch, analysis": lambda: solve(batch(DOUBLE.coils()), undecimated(), schedule=adaptive(1e-3)),
        "double: batch, paper's schedule": lambda: solve(
            batch(REAL.walsh()), wavelet(), schedule=fixed("PaperSchedule", 5, 10), iterate="last"
        ),
        "double: weights, synthesis": lambda: solve(DOUBLE.fourier(), wavelet(), weights=spread),
        "double: weights, analysis": lambda: solve(DOUBLE.fourier(), undecimated(), weights=levels(undecimated())),
        "double: warm start, synthesis": lambda: warm(DOUBLE.fourier(), wavelet()),
        "double: warm start, analysis": lambda: warm(DOUBLE.fourier(), undecimated()),
        "double: rounds of reweighting": lambda: in_rounds(DOUBLE.coils(), undecimated()),
        "double: certificate, synthesis": lambda: certified(DOUBLE.fourier(), wavelet()),
        "double: certificate, analysis P1": lambda: certified(DOUBLE.coils(), undecimated(), noise=1.6),
        "double: unrolled with gradient": lambda: images(DOUBLE.fourier(), wavelet(), fixed("FixedSteps", 20)),
        "double: searched with gradient": lambda: images(REAL.walsh(), wavelet(), adaptive(1e-3)),
        "double: real numbers, fft": lambda: packed(DOUBLE.coils(), wavelet(), "fft"),
        "double: real numbers, walsh": lambda: packed(REAL.walsh(), wavelet(), "matrix"),
        "double: reconstruct": lambda: scan(torch.complex128),
        "single: reconstruct": lambda: scan(torch.complex64),
        "single: reconstruct, total variation": lambda: scan(torch.complex64, sparsify="tv", reweight=0),
    }


# --- results ---------------------------------------------------------------------------------------------------------


def as_numbers(value: Any) -> NDArray[Any]:
    return value.detach().resolve_conj().numpy() if isinstance(value, Tensor) else np.asarray(value)


def numbers(solution: Any) -> Results:
    """Returns what is compared of a solution or certificate, as arrays."""
    found = {name: part(solution, name) for name in PARTS if hasattr(solution, name) or name in RENAMED}
    if "status" in found:
        every = found["status"] if isinstance(found["status"], tuple) else (found["status"],)
        found["status"] = [status.name for status in every]
    return {name: as_numbers(value) for name, value in found.items()}


def run(out: Path, only: str) -> None:
    """Runs the cases of the checkout on the path and writes their results; an error is a result too."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: Results = {}
    for name, case in cases().items():
        if only not in name:
            continue
        try:
            result = case()
            results = result if isinstance(result, dict) else numbers(result)
        except Exception:  # whatever it is, the other cases go on
            results = {"error": np.asarray(traceback.format_exc(limit=-2))}
        found |= {f"{name}|{key}": value for key, value in results.items()}
    np.savez(out, **found)  # pyright: ignore[reportArgumentType]  (its stubs take no dict of arrays)


def results_of(checkout: Path, out: Path, only: str) -> dict[str, Results]:
    """Runs the cases in a process that sees this checkout, and returns the results by case."""
    source = checkout.resolve() / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    code = "import firenet; print(firenet.__file__)"
    seen = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if not Path(seen.stdout.strip()).is_relative_to(source):
        raise SystemExit(f"not a checkout of firenet: {checkout} (found {seen.stdout.strip()})")
    command = [sys.executable, str(Path(__file__).resolve()), "--run", str(out), "--only", only]
    subprocess.run(command, env=environment, check=True)
    by_case: dict[str, Results] = {}
    with np.load(out) as stored:
        for name in stored.files:
            case, _, key = name.partition("|")
            by_case.setdefault(case, {})[key] = stored[name]
    return by_case


def distance(key: str, a: Results, b: Results) -> float:
    """Returns how far the new number is from the old one, relative to its size; infinite where that makes no sense."""
    if key not in a or key not in b or a[key].shape != b[key].shape or a[key].dtype.kind != b[key].dtype.kind:
        return np.inf
    old, new = a[key], b[key]
    if old.dtype.kind not in "fc":
        return 0.0 if np.array_equal(old, new) else np.inf
    if old.dtype != new.dtype:
        return np.inf
    if np.array_equal(old, new, equal_nan=True):
        return 0.0
    if key.startswith("gap"):  # a small difference of large numbers
        size = np.abs(a[key.replace("gap", "objective", 1)])
    else:
        # Of a number its own size; of an image the largest entry.
        size = np.abs(old) if key.startswith(("objective", "lower_bound")) else np.abs(old).max()
    with np.errstate(all="ignore"):
        worst = float(np.max(np.abs(new - old) / np.maximum(size, np.finfo(old.dtype).tiny)))
    return worst if worst == worst else np.inf


def compare(old: dict[str, Results], new: dict[str, Results]) -> Iterator[tuple[str, float, str]]:
    """Yields for each case its name, the largest difference, and in words what differs most (empty: nothing)."""
    for case in old | new:
        a, b = old.get(case, {}), new.get(case, {})
        errors = [f"{which}: {r['error'].item()}" for which, r in (("old", a), ("new", b)) if "error" in r]
        if errors:
            yield case, np.inf, "\n".join(errors)
            continue
        key, worst = max(((key, distance(key, a, b)) for key in a | b), key=lambda pair: pair[1])
        words = f"{key}: {a.get(key)} -> {b.get(key)}" if worst == np.inf else key
        yield case, worst, words if worst else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="OLD NEW", help="two checkouts of the repository")
    parser.add_argument("--only", default="", help="run only the cases whose names contain this")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run, options.only)
        return 0
    if len(options.checkouts) != 2:
        parser.error("name two checkouts: OLD NEW")
    with tempfile.TemporaryDirectory() as folder:
        old, new = (
            results_of(checkout, Path(folder) / f"{k}.npz", options.only)
            for k, checkout in enumerate(options.checkouts)
        )
    worst, differ = dict.fromkeys(TOLERANCES, 0.0), 0
    for case, difference, words in compare(old, new):
        precision = case.partition(":")[0]
        fine = difference <= TOLERANCES[precision]
        differ += not fine
        worst[precision] = max(worst[precision], difference)
        print(f"{'same' if fine else 'DIFFERS':8}{difference:9.1e}  {case}{'' if fine else '   ' + words}")
    for precision, difference in worst.items():
        print(f"{precision}: worst difference {difference:.1e}, allowed {TOLERANCES[precision]:.0e}")
    print(f"{len(old | new)} cases, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())

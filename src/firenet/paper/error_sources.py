"""How much of an error comes from inexact input, which limits what can be computed: error budgets of three problems.

The problems are one of the hard family, whose data are known to a finite precision; a Gaussian matrix with noise; and
an image from a quarter of its Fourier samples. On the first the whole error is inexact input, which no better network
and no more data of the same precision remove. On the others inexact input contributes practically nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.barriers.instances import Instance, Problem, root
from firenet.budget import Budget, dense_budget, image_budget, unavoidable
from firenet.guarantees.confusion import confuse
from firenet.images import load_slice
from firenet.io.safely import replacing
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.reconstruction.defaults import default_network
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import multilevel
from firenet.solver.schedules import FixedSteps
from firenet.sparsity import SparsityLevels

DIGITS, BITS = 4, 30
LAYERS = 100


def hard_family() -> Budget:
    """Returns the budget of an exact solver on data known within 2**-30, which hide which column is the larger one."""
    problem, bump = Problem("P3", DIGITS), Fraction(1, 2 ** (BITS + 1))
    given, true = problem.strong(1, bump), problem.strong(0, bump)
    A, y = _matrix(given), [Fraction(1), *[Fraction(0)] * problem.tail]
    solved, truth = (_floats(i.minimisers().vertex(j)) for i, j in ((given, 1), (true, 0)))
    return dense_budget(A, y, problem.parameter, truth, solved, bits=BITS, true=(_matrix(true), y))


def _matrix(instance: Instance) -> NDArray[Any]:
    problem = instance.problem
    A = np.full(problem.shape, Fraction(0), dtype=object)
    A[0, : problem.columns] = instance.row
    for i in range(problem.tail):
        A[1 + i, problem.columns + i] = root(instance.tail_squared, 80)[0]
    return A


def _floats(values: Sequence[Fraction]) -> list[float]:
    return [float(v) for v in values]


def gaussian(seed: int = 0) -> Budget:
    """Returns the budget of a FIRENET on noisy measurements of a sparse signal, for data known within 2**-45."""
    random = np.random.default_rng(seed)
    A, x = random.standard_normal((20, 40)) / 20**0.5, np.zeros(40)
    x[[4, 17, 31]] = (1, -1, 2)
    e = random.standard_normal(20)
    e *= 0.2 / np.linalg.norm(e)
    y, lam = A @ x + e, 0.3
    z = Firenet(Matrix(A), lam=lam, schedule=FixedSteps(LAYERS)).solve(torch.from_numpy(y)).coefficients.numpy()
    pair = confuse(Matrix(A), SparsityLevels((40,), (3,)), noise=0.2, bound=2.0, seed=seed)
    known = unavoidable(pair.distance, pair.noise)
    return dense_budget(A, y, lam, x, z, bits=45, information=known)


def image(seed: int = 0) -> Budget:
    """Returns the budget of a FIRENET on a quarter of the Fourier samples of a brain slice, with noise of 1 %."""
    truth = load_slice()[::4, ::4].to(torch.complex128)
    sensing = SubsampledFourier(multilevel(tuple(truth.shape), 0.25).samples)
    clean = sensing(truth)
    random = np.random.default_rng(seed)
    noise = torch.from_numpy(random.standard_normal(clean.shape) + 1j * random.standard_normal(clean.shape))
    noise = sensing.restrict(noise)
    y = clean + noise * (0.01 * torch.linalg.vector_norm(clean) / torch.linalg.vector_norm(noise))
    net = default_network(sensing)
    z = net.following(FixedSteps(LAYERS)).solve(y).image
    return image_budget(net, y, truth, z)


def budgets() -> Iterator[tuple[str, Budget]]:
    """Yields the three problems and their budgets."""
    yield f"hard family, K = {DIGITS}, data within 2^-{BITS}, exact solver", hard_family()
    yield f"Gaussian 20 x 40, noise 0.2, FIRENET of {LAYERS} layers", gaussian()
    yield f"64 x 64 brain, 25 % of k-space, FIRENET of {LAYERS} layers", image()


def draw(found: Sequence[tuple[str, Budget]], path: Path) -> None:
    """Draws the parts as shares of the error.

    Args:
        found: The results of :func:`budgets`.
        path: The PNG file, which is written whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = {"computation": "#1a4e8a", "inexact input": "#b71c1c", "model": "#7a7a7a", "information": "#e0a100"}
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, parts) in zip(figure.subplots(len(found), 1, sharex=True), found, strict=True):
        listed = [*parts.parts, *([parts.information] if parts.information else [])]
        shares = [(p.lower if p.name == "information" else p.upper) / parts.error for p in listed]
        axes.barh([p.name for p in listed], shares, color=[colours[p.name] for p in listed])
        for k, (part, share) in enumerate(zip(listed, shares, strict=True)):
            text = part.kind if part.kind == "in model" else f"{share:.2g}"
            text += " (for the worst signal of the class)" if part.name == "information" else ""
            axes.text(min(share, 1.02) + 0.01, k, text, va="center", fontsize=8)
        axes.set_xlim(0, 1.6)
        axes.invert_yaxis()
        axes.set_title(f"{name}: error {parts.error:.3g}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].set_xlabel(
        "share of the error: upper bounds or measured; information: lower bound of the worst error"
    )
    with replacing(path) as (temporary,):
        figure.savefig(temporary, format="png", dpi=110)

"""Table 1 of Colbrook, Antun, Hansen (PNAS 2022): networks and the barrier of K digits, as published and corrected.

The problem is (P3) with :math:`\\lambda=1` for a matrix whose first two columns compete,

.. math:: A=C\\begin{pmatrix}a_1&a_2&0\\\\0&0&\\|a\\|_2I_{20}\\end{pmatrix},\\qquad y=Ce_1,\\qquad
    a_j=\\tfrac{\\sqrt2}310^K,

with C the orthonormal cosine transform. In the true matrix :math:`2^{-n-1}` is added to :math:`a_1`, in the matrix that
the networks get it is added to :math:`a_2`. The two matrices are less than :math:`2^{-n}` apart, and their
minimisers :math:`e_j/a_j` are almost :math:`3\\cdot10^{-K}` apart.

The published script has two errors; docs/barriers.md shows the arithmetic. The theorem is not affected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.nets.lista import train_lista

Array = NDArray[np.float64]
DIGITS, ACCURACIES = (1, 3, 6), (10, 20, 30)
COMPETING, TAIL, SPARSITY = 2, 20, 5
INNER, OUTER, DELTA = 50, 30, 1e-6


@dataclass(frozen=True)
class Instance:
    """The problem of one row of the table.

    Attributes:
        digits: The number K of digits.
        n: The accuracy :math:`2^{-n}`.
        matrix: The matrix that the networks get, with :math:`2^{-n-1}` added to :math:`a_2`.
        y: The measurement.
        seen: The minimiser for that matrix.
        truth: The minimiser for the true matrix, with :math:`2^{-n-1}` added to :math:`a_1`.
        scale: The number on the diagonal of the lower block: the norm :math:`\\|a\\|_2` of the row above it.
    """

    digits: int
    n: int
    matrix: Array
    y: Array
    seen: Array
    truth: Array
    scale: float


def cosine(m: int) -> Array:
    """Returns the orthonormal discrete cosine transform of type II."""
    k, j = np.arange(m)[:, None], np.arange(m)[None, :]
    C = np.sqrt(2 / m) * np.cos(np.pi * (2 * j + 1) * k / (2 * m))
    C[0] /= np.sqrt(2)
    return C


def instance(digits: int, n: int) -> Instance:
    """Returns the problem of the table's row for K = ``digits`` and the accuracy 2**-n."""
    base, bump = math.sqrt(2) / 3 * 10**digits, 2.0 ** (-n - 1)
    m, size = TAIL + 1, TAIL + COMPETING
    C = cosine(m)
    row = np.full(COMPETING, base)
    row[1] += bump
    scale = float(np.linalg.norm(row))
    A = np.zeros((m, size))
    A[0, :COMPETING] = row
    A[1:, COMPETING:] = scale * np.eye(TAIL)
    seen, truth = np.zeros(size), np.zeros(size)
    seen[1] = truth[0] = 1 / (base + bump)
    return Instance(digits, n, C @ A, C[:, 0].copy(), seen, truth, scale)


def restarted(A: Array, y: Array, tau: float, sigma: float, norm: float) -> Array:
    """Runs the iteration of the published code.

    It has 30 restarts, each from the average of 50 iterations, with the dual reset each time.
    """
    lam, psi, eps = 1.0, np.zeros(A.shape[1]), float(np.linalg.norm(y))
    for _ in range(OUTER):
        eps = math.exp(-1) * (DELTA + eps)
        beta = eps / (2 * norm)
        a = 1 / (INNER * beta)
        x, q, total = a * psi, np.zeros_like(y), np.zeros_like(psi)
        for _ in range(INNER):
            step = x - tau * (A.T @ q)
            new = np.sign(step) * np.maximum(np.abs(step) - tau * lam, 0)
            u = q + sigma * (A @ (2 * new - x)) - sigma * a * y
            q = min(1.0, 1 / (float(np.linalg.norm(u)) + 1e-43)) * u
            total, x = total + new, new
        psi = total / INNER / a
    return psi


def _distance(row: Instance, step: Callable[[float], float], target: Array) -> float:
    """Returns the distance of FIRENET's output to a vector, for both step sizes as a function of the norm L of A."""
    L = float(np.linalg.norm(row.matrix, 2))
    return float(np.linalg.norm(restarted(row.matrix, row.y, step(L), step(L), L) - target))


def published(row: Instance) -> float:
    """Returns FIRENET's entry in the row as the published script computes it: BOTH ERRORS INCLUDED, for comparison.

    First, the script reuses j, the index of the bump, to count its rows, so that row j (0, 1, 2 for K = 1, 3, 6)
    measures the distance to a vector with its entry at j - 2, which for the first two counts from the end. Second, its
    step sizes are :math:`\\sqrt{1/L}-10^{-4}` for the norm L of the matrix, whereas :math:`\\tau\\sigma L^2<1` needs
    less than 1/L.
    """
    misplaced = np.zeros_like(row.truth)
    misplaced[DIGITS.index(row.digits) - 2] = row.truth[0]
    return _distance(row, lambda L: math.sqrt(1 / L) - 1e-4, misplaced)


def corrected(row: Instance) -> float:
    """Returns the distance of the published script's output to the true minimiser."""
    return _distance(row, lambda L: math.sqrt(1 / L) - 1e-4, row.truth)


def admissible(row: Instance) -> float:
    """Returns the distance of FIRENET's output to the true minimiser, with step sizes for which convergence is
    proven, 0.999 / L for the norm L of the matrix."""
    return _distance(row, lambda L: 0.999 / L, row.truth)


def exact(row: Instance) -> float:
    """Returns the distance between the true minimiser and the minimiser for the matrix that the networks get."""
    return float(np.linalg.norm(row.seen - row.truth))


def training_pairs(row: Instance, number: int, seed: int = 5) -> tuple[Array, Array]:
    """Returns measurements and their exact minimisers, which have the entry of ``row.seen`` for column 2, and five
    normally distributed entries for random columns of the lower block.

    They are minimisers because :math:`q=-C(\\lambda/a_2,\\lambda\\,\\mathrm{sign}/\\|a\\|)` is a dual point of the same
    value; its norm is less than 1, so that the data are fitted exactly.
    """
    random = np.random.default_rng(seed)
    x = np.tile(row.seen, (number, 1))
    for pair in x:
        where = COMPETING + random.choice(TAIL, SPARSITY, replace=False)
        pair[where] = random.standard_normal(SPARSITY) / row.scale
    return x @ row.matrix.T, x


def lista(
    row: Instance,
    *,
    quick: bool = False,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Trains LISTA of ten layers and returns the distance of its output to the true minimiser.

    It is trained for 4000 epochs on 8000 pairs (measurement, minimiser) for the matrix that the networks get (quick: 60
    epochs, 500 pairs).

    Args:
        row: The problem.
        quick: Whether the training is short, for a first impression.
        folder: The folder of checkpoints.
        progress: Called with the number of epochs done and the number of all epochs.
    """
    number, epochs, batch = (600, 60, 100) if quick else (8100, 4000, 1000)
    y, x = training_pairs(row, number)
    name = f"lista-{row.digits}-{row.n}{'-quick' if quick else ''}.checkpoint"
    net = train_lista(
        torch.from_numpy(row.matrix),
        torch.from_numpy(y),
        torch.from_numpy(x),
        rate=2e-4 * 10 ** (-row.digits / 3),
        epochs=epochs,
        batch=batch,
        checkpoint=None if folder is None else folder / name,
        progress=progress,
    )
    return float(np.linalg.norm(net(torch.from_numpy(row.y)).numpy() - row.truth))


COLUMNS: dict[str, Callable[[Instance], float]] = {
    "FIRENET, published": published,
    "FIRENET, index corrected": corrected,
    "FIRENET, admissible steps": admissible,
    "exact minimiser": exact,
}


def make(
    *,
    train: bool = True,
    quick: bool = False,
    folder: Path | None = None,
    progress: Callable[[str], Callable[[int, int], None] | None] | None = None,
) -> list[dict[str, float | int | None]]:
    """Computes the rows: K, n, the distance of each network's output to the true minimiser, and 10**-K.

    Args:
        train: Whether LISTA is trained; if not, its column is None.
        quick: As in :func:`lista`.
        folder: The folder of checkpoints; a second call resumes where the first was stopped.
        progress: A function from the name of a row to the ``progress`` of :func:`lista`.
    """
    rows: list[dict[str, float | int | None]] = []
    for digits in DIGITS:
        for n in ACCURACIES:
            row = instance(digits, n)
            told = progress(f"K = {digits}, n = {n}") if progress else None
            trained = lista(row, quick=quick, folder=folder, progress=told) if train else None
            values = {name: column(row) for name, column in COLUMNS.items()}
            rows.append({"K": digits, "n": n, "LISTA": trained, **values, "10**-K": 10.0**-digits})
    return rows

"""Trained networks to compare with.

LISTA, the learned iterative shrinkage of Gregor and LeCun (2010), as the paper's Table 1 has it: ten layers

.. math:: x^{k+1}=S_{\\theta_k}\\big(x^k+W_k^T(y-Ax^k/c)\\big),\\qquad c=10\\|A\\|,

with the matrices :math:`W_k` and the thresholds :math:`\\theta_k\\ge0` trained.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from firenet.errors import BadInput

LAYERS = 10


class Lista(nn.Module):
    """The network for a real matrix; batches of measurements (..., m) to (..., N), float64.

    Args:
        matrix: A, shape (m, N).
        generator: Draws the first :math:`W_k\\sim\\mathcal N(0,0.05^2)/c` and :math:`\\theta_k\\sim U(0,10^{-7})`.
        layers: How many.
    """

    def __init__(self, matrix: Tensor, generator: torch.Generator, layers: int = LAYERS) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.double())
        self.scale = 10 * torch.linalg.matrix_norm(matrix.double(), 2).item()
        first = 0.05 * torch.randn(layers, *matrix.shape, generator=generator, dtype=torch.float64) / self.scale
        self.mixing = nn.Parameter(first)
        self.thresholds = nn.Parameter(1e-7 * torch.rand(layers, generator=generator, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        """Measurements to coefficients."""
        matrix = self.get_buffer("matrix").mT / self.scale
        x = y.new_zeros(*y.shape[:-1], matrix.shape[0])
        for mixing, threshold in zip(self.mixing, self.thresholds, strict=True):
            x = x + (y - x @ matrix) @ mixing
            x = x.sign() * (x.abs() - threshold.clamp(min=0)).clamp(min=0)
        return x


def train_lista(
    matrix: Tensor,
    y: Tensor,
    x: Tensor,
    *,
    rate: float,
    epochs: int = 4000,
    batch: int = 1000,
    validation: int = 100,
    seed: int = 5,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Lista:
    """Trains by Adam on the mean squared error and returns the state that was best on the validation set.

    The same arguments give the same network, also where it was stopped and goes on from a checkpoint, on one machine
    with one number of threads.

    Args:
        matrix: A.
        y: Measurements, shape (number, m).
        x: Their minimisers, shape (number, N); the last ``validation`` pairs are not trained on.
        rate: Learning rate.
        epochs: Passes over the data.
        batch: Pairs a step.
        validation: How many pairs choose the state.
        seed: Of the first weights and of the order.
        checkpoint: A file (.npz) to go on from and to write every hundred epochs.
        progress: Called with epochs done and in all.

    Raises:
        BadInput: For a checkpoint of another training.
    """
    generator = torch.Generator().manual_seed(seed)
    train, held = (y[:-validation], x[:-validation]), (y[-validation:], x[-validation:])
    net = Lista(matrix, generator)
    # as published: drawn again until the start is better than nothing
    for _ in range(1000):
        with torch.no_grad():
            start = torch.linalg.vector_norm(net(held[0]) - held[1]) / torch.linalg.vector_norm(held[1])
        if start <= 1 - 1e-5:
            break
        net = Lista(matrix, generator)
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    settings = repr((seed, epochs, batch, validation, rate)).encode()
    parts = [settings, *(a.double().contiguous().numpy().tobytes() for a in (matrix, y, x))]
    identity = np.frombuffer(hashlib.sha256(b"".join(parts)).digest(), dtype=np.uint8)
    best, best_error, done = [p.detach().clone() for p in net.parameters()], float("inf"), 0
    if checkpoint is not None and checkpoint.exists():
        best, best_error, done = _load(checkpoint, identity, net, adam)
    for epoch in range(done, epochs):
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for chosen in order.split(batch):
            adam.zero_grad(set_to_none=True)
            loss = (net(train[0][chosen]) - train[1][chosen]).square().mean()
            loss.backward()
            adam.step()
        with torch.no_grad():
            error = (net(held[0]) - held[1]).square().mean().item()
        if error < best_error:
            best, best_error = [p.detach().clone() for p in net.parameters()], error
        if checkpoint is not None and ((epoch + 1) % 100 == 0 or epoch + 1 == epochs):
            _save(checkpoint, identity, net, adam, best, best_error, epoch + 1)
        if progress is not None:
            progress(epoch + 1, epochs)
    with torch.no_grad():
        for p, kept in zip(net.parameters(), best, strict=True):
            p.copy_(kept)
    return net.requires_grad_(False)


def _save(
    path: Path, identity: np.ndarray, net: Lista, adam: torch.optim.Adam, best: list[Tensor], error: float, done: int
) -> None:
    arrays = {"identity": identity, "error": np.array(error), "done": np.array(done)}
    for i, (p, kept) in enumerate(zip(net.parameters(), best, strict=True)):
        state = adam.state[p]
        arrays |= {f"p{i}": p.detach().numpy(), f"best{i}": kept.numpy(), f"step{i}": state["step"].numpy()}
        arrays |= {f"m{i}": state["exp_avg"].numpy(), f"v{i}": state["exp_avg_sq"].numpy()}
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)


def _load(path: Path, identity: np.ndarray, net: Lista, adam: torch.optim.Adam) -> tuple[list[Tensor], float, int]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        same = np.array_equal(arrays["identity"], identity)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput("A checkpoint of this training", f"{path}: {error}", "Remove the file") from None
    if not same:
        raise BadInput("A checkpoint of this training", f"{path}, made with other settings", "Remove the file")
    best = []
    for i, p in enumerate(net.parameters()):
        with torch.no_grad():
            p.copy_(torch.from_numpy(arrays[f"p{i}"]))
        adam.state[p] = {
            "step": torch.from_numpy(arrays[f"step{i}"]),
            "exp_avg": torch.from_numpy(arrays[f"m{i}"]),
            "exp_avg_sq": torch.from_numpy(arrays[f"v{i}"]),
        }
        best.append(torch.from_numpy(arrays[f"best{i}"]))
    return best, arrays["error"].item(), int(arrays["done"])

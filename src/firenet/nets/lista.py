"""LISTA, the learned iterative shrinkage of Gregor and LeCun (2010), in the form of the paper's Table 1.

It has the layers (ten of them by default)

.. math:: x^{k+1}=S_{\\theta_k}\\big(x^k+W_k^T(y-Ax^k/c)\\big),\\qquad c=10\\|A\\|,

with the matrices :math:`W_k` and the thresholds :math:`\\theta_k\\ge0` trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.nets import checkpoints
from firenet.numerics import check_seed
from firenet.operators.linear import LinearOperator
from firenet.transforms.wavelet import Wavelet

LAYERS = 10
_KIND = "lista-checkpoint"


class Lista(nn.Module):
    """LISTA for a real matrix: maps measurements (..., m) to coefficients (..., N), in float64.

    Args:
        matrix: A, shape (m, N).
        generator: Draws the first :math:`W_k\\sim\\mathcal N(0,0.05^2)/c` and :math:`\\theta_k\\sim U(0,10^{-7})`,
            where :math:`c=10\\|A\\|`.
        layers: The number of layers.
    """

    def __init__(self, matrix: Tensor, generator: torch.Generator, layers: int = LAYERS) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.double())
        self.scale = 10 * torch.linalg.matrix_norm(matrix.double(), 2).item()
        first = 0.05 * torch.randn(layers, *matrix.shape, generator=generator, dtype=torch.float64) / self.scale
        self.mixing = nn.Parameter(first)
        self.thresholds = nn.Parameter(1e-7 * torch.rand(layers, generator=generator, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        """Maps measurements to coefficients."""
        matrix = self.get_buffer("matrix").mT / self.scale
        x = y.new_zeros(*y.shape[:-1], matrix.shape[0])
        for mixing, threshold in zip(self.mixing, self.thresholds, strict=True):
            x = x + (y - x @ matrix) @ mixing
            x = x.sign() * (x.abs() - threshold.clamp(min=0)).clamp(min=0)
        return x


class ListaImage(nn.Module):
    """LISTA for images: :class:`Lista`, followed by :math:`W^*`.

    Its real matrix is :math:`AW^*` with the real and the imaginary part of each measured sample as two rows.
    """

    def __init__(self, sensing: LinearOperator, layers: int = 5, wavelet: str = "haar", seed: int = 0) -> None:
        super().__init__()
        self.sensing = sensing
        self.frame = Wavelet(sensing.in_shape, wavelet)
        self._compact = sensing.compact()
        size = math.prod(sensing.in_shape)
        eye = torch.eye(size, dtype=torch.float64).view(size, *sensing.in_shape)
        columns = self._real(sensing(self.frame.adjoint(eye).to(torch.complex128)))
        self.network = Lista(columns.mT.contiguous(), torch.Generator().manual_seed(seed), layers)

    def _real(self, y: Tensor) -> Tensor:
        return torch.view_as_real(self._compact.pack_measured(y)).flatten(1)

    def forward(self, y: Tensor) -> Tensor:
        """Maps measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        samples = self._real(y.reshape(-1, *self.sensing.out_shape)).to(self.network.mixing.dtype)
        image = self.frame.adjoint(self.network(samples).view(-1, *self.sensing.in_shape))
        return image.reshape(*batch, *self.sensing.in_shape)


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
    """Trains LISTA by Adam on the mean squared error and returns its best state on the validation set.

    The same arguments give the same network on one machine with one number of threads, even if training was stopped
    and resumed from a checkpoint.

    Args:
        matrix: The matrix A.
        y: Measurements, shape (number, m).
        x: The coefficients to learn for them, such as the minimisers of a problem, shape (number, N); the last
            ``validation`` pairs are not trained on.
        rate: The learning rate.
        epochs: The number of passes over the data.
        batch: The number of pairs in one step.
        validation: The number of pairs on which the best state is chosen.
        seed: Seeds the initial weights and the order of the pairs.
        checkpoint: A file to resume from if it exists, and to write every hundred epochs.
        progress: Called with the number of epochs done and the number of all epochs.

    Raises:
        BadInput: If no pair is left for training or for validation, a batch is empty, or the checkpoint is damaged or
            belongs to another training.
    """
    if not 1 <= validation < len(y) or len(x) != len(y) or batch < 1:
        needed = "Pairs for training and for validation, in batches of at least 1"
        got = f"{len(y)} measurements, {len(x)} coefficients, validation={validation}, batch={batch}"
        raise BadInput(needed, got, "Choose validation from 1 to the number of pairs less 1")
    # The order of an epoch is seeded by seed * 1000003 + epoch, which must fit into 64 bits.
    generator = torch.Generator().manual_seed(check_seed(seed, 2**32))
    train, held = (y[:-validation], x[:-validation]), (y[-validation:], x[-validation:])
    net = Lista(matrix, generator)
    # As in the published code: the initial weights are redrawn until their error is less than that of zero.
    for _ in range(1000):
        with torch.no_grad():
            start = torch.linalg.vector_norm(net(held[0]) - held[1]) / torch.linalg.vector_norm(held[1])
        if start <= 1 - 1e-5:
            break
        net = Lista(matrix, generator)
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    settings = repr((seed, epochs, batch, validation, rate)).encode()
    parts = [settings, *(a.double().contiguous().numpy().tobytes() for a in (matrix, y, x))]
    identity = hashlib.sha256(b"".join(parts)).hexdigest()
    now = {name: p.detach() for name, p in net.named_parameters()}  # shares the memory of the parameters
    best = {name: p.clone() for name, p in now.items()} | {"error": torch.tensor(math.inf, dtype=torch.float64)}
    learned, done = {f"net.{n}": t for n, t in now.items()} | {f"best.{n}": t for n, t in best.items()}, 0
    if checkpoint is not None and checkpoint.exists():
        done = checkpoints.read(checkpoint, _KIND, identity, learned, adam, epochs, -(-len(train[0]) // batch))
    for epoch in range(done, epochs):
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for chosen in order.split(batch):
            adam.zero_grad(set_to_none=True)
            loss = (net(train[0][chosen]) - train[1][chosen]).square().mean()
            loss.backward()
            adam.step()
        with torch.no_grad():
            error = (net(held[0]) - held[1]).square().mean()
        if error < best["error"]:
            for name, t in {**now, "error": error}.items():
                best[name].copy_(t)
        if checkpoint is not None and ((epoch + 1) % 100 == 0 or epoch + 1 == epochs):
            checkpoints.write(checkpoint, _KIND, identity, learned, adam, epoch + 1)
        if progress is not None:
            progress(epoch + 1, epochs)
    for name, p in now.items():
        p.copy_(best[name])
    return net.requires_grad_(False)

"""Trained networks to compare with: U-Net, AUTOMAP-like, LISTA. Images and steps they are trained on: ``training``.

LISTA is the learned iterative shrinkage of Gregor and LeCun (2010), as the paper's Table 1 has it, of ten layers

.. math:: x^{k+1}=S_{\\theta_k}\\big(x^k+W_k^T(y-Ax^k/c)\\big),\\qquad c=10\\|A\\|,

with the matrices :math:`W_k` and the thresholds :math:`\\theta_k\\ge0` trained.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from firenet import sealed
from firenet.errors import BadInput
from firenet.numerics import check_seed
from firenet.operators import LinearOperator
from firenet.sensing import SubsampledFourier
from firenet.transforms import Wavelet

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


class UNet(nn.Module):
    """A U-Net behind the adjoint: :math:`y\\mapsto\\mathrm{Re}A^*y+U(\\mathrm{Re}A^*y,\\mathrm{Im}A^*y)`.

    Three-by-three convolutions, batch normalisation and ReLU twice a scale, maximum pooling, transposed convolutions
    (Ronneberger, Fischer, Brox 2015), residual as FBPConvNet (Jin et al. 2017). The images it makes are real.

    Args:
        sensing: A, with images of two axes; sides that 2**depth does not divide are padded with zeros inside.
        width: Features at the finest scale, doubled at each coarser one.
        depth: How often it is pooled.
        seed: Of the first weights.
    """

    def __init__(self, sensing: LinearOperator, width: int = 16, depth: int = 3, seed: int = 0) -> None:
        super().__init__()
        if len(sensing.in_shape) != 2 or width < 1 or depth < 1:
            got = f"{sensing.in_shape}, width {width}, depth {depth}"
            raise BadInput("Images of two axes, a width and a depth of one or more", got, "Take one slice")
        self.sensing = sensing
        self.depth = depth
        widths = [width * 2**k for k in range(depth + 1)]
        steps = [*pairwise(widths)][::-1]
        with _seeded(seed):
            self.down = nn.ModuleList(_block(a, b) for a, b in zip([2, *widths[:-1]], widths, strict=True))
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps)
            self.join = nn.ModuleList(_block(2 * a, a) for a, _ in steps)
            self.last = nn.Conv2d(width, 1, 1)

    def measuring(self, sensing: LinearOperator) -> UNet:
        """The same weights, shared, behind another adjoint: convolutions fit every image."""
        other = copy.copy(self)
        other._modules = {**self._modules, "sensing": sensing}
        return other

    def forward(self, y: Tensor) -> Tensor:
        """Measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
        first = torch.view_as_real(self.sensing.adjoint(y)).to(self.last.weight.dtype)
        batch, (rows, columns) = first.shape[:-3], self.sensing.in_shape
        x = first.reshape(-1, rows, columns, 2).movedim(-1, 1)
        unit = 2**self.depth
        x = nn.functional.pad(x, (0, -columns % unit, 0, -rows % unit))
        residual, skipped = x[:, :1], []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else nn.functional.max_pool2d(x, 2))
            skipped.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(skipped[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], dim=1))
        return (residual + self.last(x))[:, 0, :rows, :columns].reshape(*batch, rows, columns)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Modules draw their first weights from the global generator: seeded inside, put back behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        convolution = nn.Conv2d(width, outside, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


class Automap(nn.Module):
    """Two dense layers and three convolutions, after AUTOMAP (Zhu et al., Nature 2018): it learns the transform too.

    Real and imaginary parts of the samples; dense, tanh, twice; convolution 5 x 5, ReLU, twice; convolution 7 x 7.

    Args:
        sensing: A, of which only which samples there are is used; images of two axes.
        hidden: Width of the first dense layer.
        features: Of the convolutions.
        seed: Of the first weights.
    """

    def __init__(self, sensing: LinearOperator, hidden: int = 1024, features: int = 16, seed: int = 0) -> None:
        super().__init__()
        if len(sensing.in_shape) != 2:
            raise BadInput("Images of two axes", f"{sensing.in_shape}", "Take one slice")
        self.sensing = sensing
        self._compact = sensing.compact()
        rows, columns = sensing.in_shape
        with _seeded(seed):
            self.first = nn.Linear(2 * math.prod(self._compact.out_shape), hidden)
            self.second = nn.Linear(hidden, rows * columns)
            self.image = nn.Sequential(
                nn.Conv2d(1, features, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(features, features, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(features, 1, 7, padding=3),
            )

    def forward(self, y: Tensor) -> Tensor:
        """Measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        samples = self._compact.pack_measured(y.reshape(-1, *self.sensing.out_shape))
        x = torch.view_as_real(samples).flatten(1).to(self.first.weight.dtype)
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        x = self.image(x.view(-1, 1, *self.sensing.in_shape))
        return x.reshape(*batch, *self.sensing.in_shape)


class Cascade(nn.Module):
    """D5-C5 (Schlemper et al. 2017): five times five convolutions, residual, and hard data consistency behind each.

    Args:
        sensing: Fourier sensing of one channel, zero frequency in the corner.
        weights: Fifty arrays, weight and bias by turns.
    """

    def __init__(self, sensing: SubsampledFourier, weights: Sequence[Tensor]) -> None:
        super().__init__()
        if len(weights) != 50 or len(sensing.in_shape) != 2 or sensing.centred:
            got = f"{len(weights)} arrays, images of {sensing.in_shape}"
            raise BadInput("Fifty arrays, and images of two axes with zero frequency in the corner", got, "Check them")
        self.sensing = sensing
        self.weights = nn.ParameterList(nn.Parameter(w.float(), requires_grad=False) for w in weights)

    def forward(self, y: Tensor) -> Tensor:
        """Measurements (..., \\*out_shape) to complex images (..., \\*in_shape)."""
        measured = self.sensing.restrict(y)
        x = torch.fft.ifft2(measured, norm="ortho")
        for cascade in range(5):
            pairs = torch.view_as_real(x).movedim(-1, -3)
            features = pairs.reshape(-1, *pairs.shape[-3:])
            for layer in range(5):
                weight, bias = self.weights[10 * cascade + 2 * layer : 10 * cascade + 2 * layer + 2]
                features = nn.functional.conv2d(features, weight, bias, padding=1)
                features = features.relu() if layer < 4 else features
            pairs = pairs + features.view(pairs.shape)
            k = torch.fft.fft2(torch.view_as_complex(pairs.movedim(-3, -1).contiguous()), norm="ortho")
            x = torch.fft.ifft2(torch.where(self.sensing.mask, measured, k), norm="ortho")
        return x


class ListaImage(nn.Module):
    """LISTA for images: :class:`Lista` for the matrix of :math:`AW^*` in real numbers, and :math:`W^*` behind it."""

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
        """Measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
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
        checkpoint: A file to go on from and to write every hundred epochs.
        progress: Called with epochs done and in all.

    Raises:
        BadInput: For a checkpoint of another training.
    """
    # The order of an epoch is seeded by seed * 1000003 + epoch, and seeds take 64 bits.
    generator = torch.Generator().manual_seed(check_seed(seed, 2**32))
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
    identity = hashlib.sha256(b"".join(parts)).hexdigest()
    best, best_error, done = [p.detach().clone() for p in net.parameters()], float("inf"), 0
    if checkpoint is not None and checkpoint.exists():
        best, best_error, done = _load(checkpoint, identity, net, adam, epochs, -(-len(train[0]) // batch))
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


_KIND = "lista-checkpoint"


def _save(
    path: Path, identity: str, net: Lista, adam: torch.optim.Adam, best: list[Tensor], error: float, done: int
) -> None:
    arrays = {}
    for i, (p, kept) in enumerate(zip(net.parameters(), best, strict=True)):
        state = adam.state[p]
        arrays |= {f"p{i}": p.detach().numpy(), f"best{i}": kept.numpy(), f"step{i}": state["step"].numpy()}
        arrays |= {f"m{i}": state["exp_avg"].numpy(), f"v{i}": state["exp_avg_sq"].numpy()}
    sealed.write(path, _KIND, identity, arrays, {"error": error, "done": done})


def _load(
    path: Path, identity: str, net: Lista, adam: torch.optim.Adam, epochs: int, steps: int
) -> tuple[list[Tensor], float, int]:
    """Reads a checkpoint: the best weights, their error, and the epochs that are done, of so many steps each."""
    arrays, about = sealed.read(path, _KIND, identity)
    error, done, best = about.get("error"), about.get("done", 0), []
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    parameters = dict(enumerate(net.parameters()))
    sound = isinstance(error, float) and isinstance(done, int) and 0 < done <= epochs
    for i, p in parameters.items():
        own = [tensors.get(f"{name}{i}") for name in ("p", "best", "m", "v")]
        sound = sound and all(t is not None and (t.shape, t.dtype) == (p.shape, p.dtype) for t in own)
        # The optimiser has counted its steps by itself.
        sound = sound and f"step{i}" in tensors and bool((tensors[f"step{i}"] == done * steps).all())
    if not sound:
        raise BadInput("A checkpoint that agrees with itself", f"{path}, {done} epochs", "Remove the file")
    assert isinstance(error, float)
    assert isinstance(done, int)
    for i, p in parameters.items():
        with torch.no_grad():
            p.copy_(tensors[f"p{i}"])
        adam.state[p] = {"step": tensors[f"step{i}"], "exp_avg": tensors[f"m{i}"], "exp_avg_sq": tensors[f"v{i}"]}
        best.append(tensors[f"best{i}"])
    return best, error, done

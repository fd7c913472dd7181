"""The search for a large difference that a measurement hardly sees; what it finds is checked elsewhere.

The differences x - x' of two vectors with at most :math:`s_k` non-zeros of modulus at most :math:`b_k` in level k are
the vectors d with :math:`n_k+p_k\\le2s_k` in each level: :math:`n_k` entries are not zero, :math:`p_k` of them have a
modulus above :math:`b_k`, and none has one above :math:`2b_k`. So an entry takes one of the :math:`2s_k` places of its
level, and two if its modulus is above :math:`b_k`, since it then needs both vectors. The nearest such d to a vector z
is known: an entry of z keeps at most :math:`b_k` of its modulus for each place that it gets, and the places go where
they reduce the distance most.

The search is a projected gradient ascent of :math:`h\\|d\\|^2-\\|Ad\\|^2/\\|A\\|^2` with momentum, where the growth h
is adjusted until :math:`\\|Ad\\|` is the allowed one: every d that it meets, scaled down to
:math:`\\|Ad\\|\\le2\\epsilon`, is a candidate, and the longest is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix

Progress = Callable[[int, int], None]
_MOMENTUM, _GAIN, _FLOOR, _WARM = 0.9, 0.1, 1e-6, 20
_SMALL = 512  # columns of a matrix whose restrictions get a singular value decomposition


@dataclass(frozen=True, eq=False)
class Differences:
    """The set of the differences of two members of a class.

    Attributes:
        level: The level of each coefficient, flat.
        sparsities: The largest number of non-zeros in each level.
        bounds: The largest modulus in each level.
    """

    level: Tensor
    sparsities: Sequence[int]
    bounds: Sequence[float]

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the nearest differences to vectors, shape (batch, N), and the places of each entry: 0, 1 or 2."""
        out, places = torch.zeros_like(z), torch.zeros(z.shape, dtype=torch.int8)
        for at, s, b in zip(self._places, self.sparsities, self.bounds, strict=True):
            part, n = z[:, at], len(at)
            moduli = part.abs()
            once, twice = (moduli - b).clamp(min=0), (moduli - 2 * b).clamp(min=0)
            gains = torch.cat([moduli.square() - once.square(), once.square() - twice.square()], dim=1)
            taken = torch.zeros(gains.shape, dtype=torch.int8)
            taken.scatter_(1, gains.topk(min(2 * s, 2 * n), dim=1, sorted=False).indices, 1)
            used = taken[:, :n] + taken[:, n:]
            used = torch.where(moduli > 0, used, 0).to(torch.int8)
            scale = torch.minimum(moduli, b * used.to(moduli.dtype)) / moduli.clamp(min=1e-300)
            out[:, at], places[:, at] = part * scale, used
        return out, places

    @cached_property
    def _places(self) -> list[Tensor]:
        return [(self.level == k).nonzero().squeeze(1) for k in range(len(self.bounds))]

    def room(self) -> Tensor:
        """Returns twice the bound of each coefficient."""
        return 2 * torch.tensor(self.bounds, dtype=torch.float64)[self.level]


@dataclass(frozen=True, eq=False)
class Around(Differences):
    """The set of the d for which x + d is in a class, and so is x + td for t in [0, 1].

    It consists of the d with at most :math:`s_k-n_k` non-zeros in level k outside of the :math:`n_k` non-zeros of x,
    and :math:`|x+d|\\le b_k`.

    Attributes:
        centre: x, a member of the class, flat.
    """

    centre: Tensor

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.zeros_like(z)
        for at, s, b in zip(self._places, self.sparsities, self.bounds, strict=True):
            x = self.centre[at]
            moved = x + z[:, at]
            moduli = moved.abs()
            clipped = moved * (b / moduli.clamp(min=b))
            used = x != 0
            gains = torch.where(used, -1.0, moduli.square() - (moduli - b).clamp(min=0).square())
            kept = torch.zeros(gains.shape, dtype=torch.bool)
            free = s - int(used.sum())
            kept.scatter_(1, gains.topk(min(free, len(at)), dim=1, sorted=False).indices, True)
            out[:, at] = torch.where(used | kept, clipped - x, torch.zeros_like(clipped))
        return out, torch.ones(z.shape, dtype=torch.int8)


@dataclass(frozen=True, eq=False)
class PairSearch:
    """The search for a large difference of coefficients whose measurements by an operator are small.

    Attributes:
        operator: A, from coefficients to measurements.
        differences: The set of the differences.
        real: Whether the coefficients are real.
    """

    operator: LinearOperator
    differences: Differences
    real: bool

    def longest(
        self, most: float, *, seed: int, starts: int, iterations: int, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the longest difference d that was found with :math:`\\|Ad\\|\\le` ``most`` up to rounding, and the
        places of its entries.

        If :math:`\\|Ad\\|` is above a tiny ``most`` for all that were found, d is the one with the smallest
        :math:`\\|Ad\\|/\\|d\\|`, scaled down to ``most``.
        """
        z = self._starts(seed, starts)
        room, square = self.differences.room(), self.operator.norm_bound.value**2
        z, places = self.differences.nearest(z * room)
        last, r_last = z, self._measured(z)
        h = torch.full((len(z), 1), 0.05, dtype=torch.float64)
        best = _Best(z, places)
        for k in range(iterations):
            r = self._measured(z)
            q = _lengths(r) / most
            best.offer(z, places, q)
            # A change of h takes some steps to be felt: small ones keep the length of Ad from oscillating.
            h = (h * q.clamp(0.3, 3.0) ** -_GAIN).clamp(_FLOOR, 1.0)
            ahead = _MOMENTUM if k > _WARM else 0.0
            w, r_w = z + ahead * (z - last), r + ahead * (r - r_last)
            last, r_last = z, r
            z, places = self.differences.nearest((1 + h) * w - self._back(r_w) / square)
            if progress is not None:
                progress(k + 1, iterations)
        if isinstance(self.operator, Matrix) and z.shape[1] <= _SMALL and not isinstance(self.differences, Around):
            self._on_supports(best, most)
        return best.d, best.places

    def on_kernel(self, d: Tensor, iterations: int = 300) -> Tensor | None:
        """Returns the projection of d onto the kernel of A restricted to the support of d, by conjugate gradients; None
        if little of d is left."""
        support = (d != 0).to(torch.float64)

        def normal(v: Tensor) -> Tensor:
            return self._back(self._measured((v * support)[None]))[0] * support

        u, r = torch.zeros_like(d), normal(d)
        p, energy = r, r.abs().square().sum()
        first = energy
        for _ in range(iterations):
            if not energy > 1e-30 * first:
                break
            q = normal(p)
            step = energy / (p.conj() * q).real.sum()
            u, r = u + step * p, r - step * q
            old, energy = energy, r.abs().square().sum()
            p = r + energy / old * p
        left = d - u
        return left if torch.linalg.vector_norm(left) > 0.1 * torch.linalg.vector_norm(d) else None

    def _on_supports(self, best: _Best, most: float) -> None:
        """Offers the singular vectors of the matrix restricted to each support that was found, which are the best there
        are where the bound of the moduli does not bind."""
        a = self._matrix()
        for row in best.rows:
            at = row.nonzero().squeeze(1)
            if not len(at):
                continue
            part = a[:, at]
            part = torch.cat([part.real, part.imag]) if part.is_complex() and self.real else part
            vectors = torch.linalg.svd(part, full_matrices=True).Vh.conj()
            vectors = vectors[-min(len(vectors), 8) :]
            found = torch.zeros(len(vectors), a.shape[1], dtype=row.dtype)
            found[:, at] = vectors.to(row.dtype)
            moduli = found.abs().clamp(min=1e-300)
            # Entries may reach twice the bound where the level has places for it, else the bound.
            for share in (1.0, 0.5):
                z = found * (share * self.differences.room() / moduli).amin(dim=1, keepdim=True)
                near, places = self.differences.nearest(z)
                best.offer(near, places, _lengths(self._measured(near)) / most)

    def _matrix(self) -> Tensor:
        assert isinstance(self.operator, Matrix)
        a = self.operator.matrix.detach()
        return a.to(torch.complex128 if a.is_complex() else torch.float64)

    def _starts(self, seed: int, starts: int) -> Tensor:
        """Returns random vectors; for a small matrix also the projections of the unit vectors onto its kernel, since a
        sparse vector of the kernel is correlated with those of its support."""
        n = math.prod(self.operator.in_shape)
        random = np.random.default_rng(seed)
        z = torch.from_numpy(random.standard_normal((starts, n)))
        if not self.real:
            z = torch.complex(z, torch.from_numpy(random.standard_normal((starts, n))))
        if isinstance(self.operator, Matrix) and n <= _SMALL:
            a = self._matrix()
            a = torch.cat([a.real, a.imag]) if a.is_complex() and self.real else a
            _, sizes, rows = torch.linalg.svd(a, full_matrices=True)
            kernel = rows[int((sizes > 0.3 * sizes[0]).sum()) :]
            for directions in (kernel, rows[int((sizes > 1e-10 * sizes[0]).sum()) :]):
                units = directions.mH @ directions
                units = units / units.abs().amax(dim=1, keepdim=True).clamp(min=1e-300)
                z = torch.cat([z, units.to(z.dtype)])
        return z

    def _measured(self, z: Tensor) -> Tensor:
        x = z.reshape(-1, *self.operator.in_shape)
        kind = self.operator.state_dtype(x.dtype)
        return self.operator(x.to(torch.promote_types(x.dtype, kind)))

    def _back(self, r: Tensor) -> Tensor:
        x = self.operator.adjoint(r).flatten(1)
        return x.real if self.real and x.is_complex() else x


class _Best:
    """The longest difference so far, and the last vectors that were the longest of their start."""

    def __init__(self, z: Tensor, places: Tensor) -> None:
        self.length, self.d, self.places = 0.0, z[0], places[0]
        self.lengths, self.rows = torch.zeros(len(z), dtype=torch.float64), z.clone()

    def offer(self, z: Tensor, places: Tensor, q: Tensor) -> None:
        """Takes each vector with its :math:`\\|Ad\\|` over the allowed one."""
        scale = 1 / q.clamp(min=1.0)
        lengths = (scale * _lengths(z)).squeeze(1)
        if len(lengths) == len(self.lengths):
            better = lengths > self.lengths
            self.lengths = torch.where(better, lengths, self.lengths)
            self.rows = torch.where(better[:, None], z, self.rows)
        k = int(lengths.argmax())
        if lengths[k] > self.length:
            self.length, self.d, self.places = lengths[k].item(), scale[k] * z[k], places[k].clone()


def _lengths(z: Tensor) -> Tensor:
    return torch.linalg.vector_norm(z.flatten(1), dim=1, keepdim=True)

"""What no method can tell apart: two signals of a class whose measurements differ by no more than the noise.

Let x and x' have at most :math:`s_k` non-zeros of modulus at most :math:`b_k` in level k, and let
:math:`\\|A(x-x')\\|_2\\le2\\epsilon`. The data halfway between Ax and Ax' are within :math:`\\epsilon` of both, so
whatever is computed from them has an error of at least :math:`\\frac12\\|x-x'\\|_2` for one of the two. That holds for
every method, trained or not. :func:`confuse` looks for such a pair and checks it in integers: class, distance and
measurements (:mod:`firenet.guarantees.pair_checker`). A pair further apart may exist; no number here says that there is
none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.guarantees import pair_checker
from firenet.guarantees.checker import sha256
from firenet.guarantees.concrete import ConcreteMatrix
from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.guarantees.pair_checker import above, under
from firenet.guarantees.pair_search import Around, Differences, PairSearch
from firenet.guarantees.planning import Plan, plan
from firenet.guarantees.violation import exact_kernel
from firenet.numerics import check_seed
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.sparsity import SparsityLevels
from firenet.transforms.filters import filter_bank
from firenet.transforms.wavelet import Wavelet
from firenet.versions import versions

Progress = Callable[[int, int], None]
_BITS = 50  # of the largest entry: entries stay exact in double precision
_MARGIN = 1 - 2.0**-40  # for the rounding of the search
_MOST_EXACT = 40  # columns
_TINY = 2.0**-40  # relative to the bound and the norm of A: what is asked for where the noise is zero


@dataclass(frozen=True, eq=False)
class Confusion:
    """Two signals of a class that a measurement cannot tell apart within the noise, checked in integers.

    Attributes:
        sensing: The measurement operator.
        sparsify: The wavelet transform whose coefficients are sparse; None for sparse signals themselves.
        levels: Sizes and sparsities of the levels.
        bounds: The largest modulus of a coefficient in each level.
        asked: The noise that was asked for, a bound of its 2-norm in the unit of the data.
        noise: The noise for which the pair is a proof: the one that was asked for, or the least one for this pair if
            that is larger.
        first: The coefficients of x, exact.
        second: The coefficients of x', exact.
        distance: A lower bound of the distance of the two images, :math:`\\|W^*(x-x')\\|_2`.
        misfit: An upper bound of :math:`\\|A(x-x')\\|_2`.
        seed: The seed of the search.
    """

    sensing: LinearOperator
    sparsify: Wavelet | None
    levels: SparsityLevels
    bounds: tuple[float, ...]
    asked: float
    noise: float
    first: Tensor
    second: Tensor
    distance: float
    misfit: float
    seed: int

    @property
    def lower_bound(self) -> float:
        """Half the distance: a lower bound of the largest error of every method, at noise :attr:`noise`."""
        return self.distance / 2

    @property
    def reached(self) -> bool:
        """Whether the pair is a proof for the noise that was asked for."""
        return self.noise <= self.asked

    @property
    def images(self) -> tuple[Tensor, Tensor]:
        """The two images, in double precision."""
        x, other = self.first, self.second
        return (x, other) if self.sparsify is None else (self.sparsify.adjoint(x), self.sparsify.adjoint(other))

    @property
    def signal(self) -> float:
        """The largest 2-norm of a signal of the class, :math:`(\\sum_ks_kb_k^2)^{1/2}`."""
        return math.sqrt(math.fsum(s * b * b for s, b in zip(self.levels.sparsities, self.bounds, strict=True)))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """All that the statement rests on, as texts."""
        sparse = "the signals themselves" if self.sparsify is None else f"{self.sparsify.wavelet} coefficients"
        counts, bounds = (", ".join(f"{v:.4g}" for v in values) for values in (self.levels.sparsities, self.bounds))
        return (
            f"the class: {sparse} with at most {counts} non-zeros in the levels, of modulus at most {bounds}; a method "
            "that may assume more than that is not bound by the pair",
            f"the noise may be every vector of 2-norm up to {self.noise:.6g}",
            "the operator is the exact transform with the stored mask, maps and filter taps",
        )

    @property
    def noise_text(self) -> str:
        """The noise as text: exact if four digits are enough for that, else rounded up."""
        short = f"{self.noise:.4g}"
        return short if float(short) == self.noise else above(self.noise)

    @property
    def summary(self) -> str:
        """The statement in one sentence."""
        norm = max(torch.linalg.vector_norm(x).item() for x in (self.first, self.second))
        return (
            f"No method can tell these two images apart from measurements with noise of 2-norm {self.noise_text}: "
            f"every method errs by at least {under(self.lower_bound)} on one of them (|x| = {norm:.4g})."
        )

    def record(self) -> dict[str, Any]:
        """Returns the numbers as plain data for JSON."""
        norms = [torch.linalg.vector_norm(x).item() for x in (self.first, self.second)]
        return {
            "operator": type(self.sensing).__name__,
            "wavelet": None if self.sparsify is None else self.sparsify.wavelet,
            "levels": {"sizes": list(self.levels.sizes), "sparsities": list(self.levels.sparsities)},
            "bounds": list(self.bounds),
            "noise": {"asked": self.asked, "proved_for": self.noise, "reached": self.reached},
            "norms": norms,
            "distance": self.distance,
            "misfit": self.misfit,
            "lower_bound": self.lower_bound,
            "seed": self.seed,
            "assumptions": list(self.assumptions),
            "versions": versions(),
        }

    def upper_bound(self, rho: float, gamma: float, accuracy: float = 0.01) -> Plan:
        """Returns the plan of the theorem's network for the class and the noise: its ``bound`` is an upper bound of the
        network's error if the operator has the null space property with these constants, which is assumed.

        A bound below :attr:`lower_bound` proves that the operator does not have it.

        Args:
            rho: :math:`\\rho` of the property.
            gamma: :math:`\\gamma` of it.
            accuracy: The part of the error that the depth of the network may leave, relative to :attr:`signal`.
        """
        guarantee = Guarantee(self.sensing, Constants(self.levels, rho, gamma), self.sparsify)
        size = self.signal
        return plan(guarantee, accuracy=accuracy * size, noise=self.noise, sparsity_defect=0.0, signal=size)

    def certificate(self) -> dict[str, Any]:
        """Returns the certificate, which :mod:`firenet.guarantees.pair_checker` accepts."""
        problem = _Problem(self.sensing, self.sparsify, self.levels, self.bounds)
        return problem.certificate(self.first, self.second, self.noise, self.distance)

    def to_json(self) -> str:
        """Returns the certificate as text, for a file."""
        return json.dumps(self.certificate(), separators=(",", ":"))


def confuse(
    sensing: LinearOperator,
    levels: SparsityLevels,
    *,
    noise: float,
    bound: float | Iterable[float],
    sparsify: Wavelet | None = None,
    around: Tensor | NDArray[Any] | None = None,
    real: bool = True,
    seed: int = 0,
    starts: int = 2,
    iterations: int = 300,
    progress: Progress | None = None,
) -> Confusion:
    """Looks for two signals of a class that are far apart and whose measurements differ by at most twice the noise.

    Args:
        sensing: A matrix, or samples of the Fourier transform (one channel or coils) or of the Walsh transform.
        levels: The levels of the coefficients; the sparsities are the largest numbers of non-zeros that are allowed.
        noise: A bound :math:`\\epsilon` of the 2-norm of the noise, in the unit of the data.
        bound: The largest modulus of a coefficient, one number or one for each level.
        sparsify: The orthonormal wavelet transform whose coefficients are sparse; None for the signal itself, whose
            levels then lie side by side.
        around: Coefficients of an image. x is made of the largest of them: in each level two thirds of the number that
            the class allows, or all in a level where it allows all. Only x' is then searched for. Needs a noise above
            0. None leaves both free, which gives a larger bound.
        real: Whether the two signals are real. A pair of real signals is a pair of complex ones, too.
        seed: The seed of the random starts.
        starts: The number of random starts.
        iterations: The number of steps from each.
        progress: Called with the number of finished and of all steps.

    Returns:
        The pair with the numbers that were verified. Where no pair was found for this noise, which is usual for noise
        0, :attr:`Confusion.noise` is the larger one for which the pair is a proof.

    Raises:
        BadInput: For another operator or transform, a negative noise, bounds that are not positive, levels of other
            sizes, and a mask that samples everything at noise 0, where there is nothing to confuse.

    >>> found = confuse(Matrix([[1.0, 1.0, 0.0]]), SparsityLevels((3,), (1,)), noise=0.0, bound=1.0)
    >>> found.lower_bound, found.noise
    (1.0, 0.0)
    """
    check_seed(seed)
    if not 0 <= noise < math.inf:
        raise BadInput("A finite noise that is not negative", f"{noise}", "It is a bound of a 2-norm")
    if starts < 1 or iterations < 1:
        raise BadInput("At least one start and one step", f"{starts}, {iterations}", "Leave both out")
    problem = _Problem(sensing, sparsify, levels, _bounds(bound, levels))
    level, bounds = problem.level(), problem.bounds
    differences = Differences(torch.from_numpy(level), levels.sparsities, bounds)
    if around is not None:
        centre = problem.approximated(around, real=real)
        problem = replace(problem, around=centre)
        differences = Around(differences.level, differences.sparsities, bounds, centre)
        if not noise:
            raise BadInput("A noise above 0 for a pair around an image", "0", "Give the noise of the measurements")
    if noise == 0:
        _check_blind(sensing)
    operator = sensing if sparsify is None else sensing @ sparsify.H
    size = operator.norm_bound.value
    if not size > 0:
        raise BadInput("An operator that measures something", "one of norm 0", "It tells no two signals apart")
    search = PairSearch(operator, differences, real)
    most = max(2 * noise, _TINY * max(bounds) * size)
    d, places = search.longest(most, seed=seed, starts=starts, iterations=iterations, progress=progress)
    if noise > 0:
        return _scaled(problem, noise, seed, d, places)
    candidates = [v for v in (_exact(sensing, d, level, bounds), search.on_kernel(d), d) if v is not None]
    found = [_largest(problem, seed, v, places, level) for v in candidates]
    return min(found, key=lambda c: c.noise / c.distance)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Operator and class, and how a certificate has them."""

    sensing: LinearOperator
    sparsify: Wavelet | None
    levels: SparsityLevels
    bounds: tuple[float, ...]
    around: Tensor | None = None

    def approximated(self, coefficients: Tensor | NDArray[Any], *, real: bool) -> Tensor:
        """Returns the largest coefficients, two thirds of those that the class allows in each level, within its bounds.

        Raises:
            BadInput: For coefficients of another shape, or not finite.
        """
        flat = torch.as_tensor(coefficients).flatten()
        flat = flat.real.double() if real and flat.is_complex() else flat + 0.0
        level = self.level()
        if len(flat) != len(level) or not torch.isfinite(flat.abs()).all():
            got = f"{len(flat)}" if len(flat) != len(level) else "NaN or infinity"
            needed = f"{len(level)} finite coefficients of the image to search around"
            raise BadInput(needed, got, "Pass those of one image")
        kept = torch.zeros_like(flat)
        for k, (s, b) in enumerate(zip(self.levels.sparsities, self.bounds, strict=True)):
            at = torch.from_numpy(np.flatnonzero(level == k))
            count = s if s == len(at) else s - s // 3
            at = at[torch.argsort(-flat[at].abs(), stable=True)[:count]]
            kept[at] = flat[at] * (b * _MARGIN / flat[at].abs().clamp(min=b * _MARGIN))
        return _towards_zero(kept, math.frexp(max(self.bounds))[1] + 1 - _BITS)

    def level(self) -> NDArray[np.int64]:
        """Returns the level of each coefficient, flat.

        Raises:
            BadInput: For another operator or transform, and levels of other sizes.
        """
        # A subclass may compute something else, which the checker does not know.
        if type(self.sensing) not in (Matrix, SubsampledFourier, MultiCoilFourier, SubsampledWalsh):
            needed = "A Matrix, SubsampledFourier, MultiCoilFourier or SubsampledWalsh"
            do = "Only what is known exactly can be checked: take Matrix(operator.as_matrix()) of a small one"
            raise BadInput(needed, type(self.sensing).__name__, do)
        sizes, n = self.levels.sizes, math.prod(self.sensing.in_shape)
        if self.sparsify is None:
            if sum(sizes) != n:
                got, do = f"levels of sizes {sizes}, together {sum(sizes)}", "Give the sizes of this operator's levels"
                raise BadInput(f"Levels of the operator's {n} entries", got, do)
            return np.repeat(np.arange(len(sizes)), sizes)
        fits = type(self.sparsify) is Wavelet and self.sparsify.in_shape == self.sensing.in_shape
        if not fits or not self.sparsify.is_orthonormal:
            needed = f"An orthonormal Wavelet of shape {self.sensing.in_shape}"
            got = f"{type(self.sparsify).__name__} of shape {self.sparsify.in_shape}"
            raise BadInput(needed, got, "Use sides that are multiples of 2^depth, or fewer levels")
        return self.levels.index(self.sparsify.levels().numpy()).ravel()

    def certificate(self, first: Tensor, second: Tensor, noise: float, distance: float) -> dict[str, Any]:
        """Returns the certificate of a pair."""
        exponent, parts = _integers([t for x in (first, second) for t in _parts(x)])
        vectors = []
        for real, imaginary in (parts[:2], parts[2:]):
            at = [k for k, v in enumerate(zip(real, imaginary, strict=True)) if any(v)]
            entries = {"real": [real[k] for k in at], "imaginary": [imaginary[k] for k in at]}
            vectors.append({"exponent": exponent, "indices": at} | entries)
        data = {
            "format": pair_checker.FORMAT,
            "version": pair_checker.VERSION,
            "operator": self._operator(),
            "wavelet": None if self.sparsify is None else self._wavelet(self.sparsify),
            "levels": {
                "sizes": list(self.levels.sizes),
                "sparsities": list(self.levels.sparsities),
                "bounds": [str(Fraction(b)) for b in self.bounds],
            },
            "first": vectors[0],
            "second": vectors[1],
            "noise": str(Fraction(noise)),
            "distance": str(Fraction(distance)),
        }
        return data | {"sha256": sha256(data)}

    def _operator(self) -> dict[str, Any]:
        a, empty = self.sensing, {"centred": False, "mask": None, "maps": None, "matrix": None}
        if isinstance(a, Matrix):
            exponent, (real, imaginary) = _integers(_parts(a.matrix))
            m, n = a.matrix.shape
            rows = [[part[k * n : k * n + n] for k in range(m)] for part in (real, imaginary)]
            other = rows[1] if a.matrix.is_complex() else None
            matrix = {"rows": m, "columns": n, "exponent": exponent, "real": rows[0], "imaginary": other}
            return empty | {"kind": "matrix", "shape": [n], "matrix": matrix}
        assert isinstance(a, SubsampledFourier | MultiCoilFourier | SubsampledWalsh)
        bits = "".join("01"[k] for k in a.mask.flatten().int().tolist())
        found = empty | {"kind": "fourier", "shape": list(a.mask.shape), "mask": bits}
        if isinstance(a, SubsampledWalsh):
            return found | {"kind": "walsh"}
        if isinstance(a, MultiCoilFourier):
            exponent, parts = _integers([t for coil in a.maps for t in _parts(coil)])
            found["maps"] = {"exponent": exponent, "real": parts[::2], "imaginary": parts[1::2]}
        return found | {"centred": a.centred}

    @staticmethod
    def _wavelet(wavelet: Wavelet) -> dict[str, Any]:
        if wavelet.wavelet in ("haar", "db1"):
            return {"depth": wavelet.depth, "taps": None}
        exponent, (low, high) = _integers([torch.from_numpy(taps) for taps in filter_bank(wavelet.wavelet)])
        return {"depth": wavelet.depth, "taps": {"exponent": exponent, "low": low, "high": high}}

    def pair(self, d: Tensor, places: Tensor, level: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Returns x and x' with the difference d, rounded towards zero: an entry with two places is shared by both,
        those with one go to x and x' in turn."""
        exponent = math.frexp(max(self.bounds))[1] + 1 - _BITS
        if self.around is not None:
            return self.around, _towards_zero(self.around + d, exponent)
        first, second = torch.zeros_like(d), torch.zeros_like(d)
        for k in range(len(self.bounds)):
            at = torch.from_numpy(np.flatnonzero(level == k))
            both, alone = at[places[at] == 2], at[places[at] == 1]
            alone = alone[torch.argsort(-d[alone].abs(), stable=True)]
            first[both], second[both] = d[both] / 2, -d[both] / 2
            first[alone[::2]], second[alone[1::2]] = d[alone[::2]], -d[alone[1::2]]
        return _towards_zero(first, exponent), _towards_zero(second, exponent)

    def verified(self, d: Tensor, places: Tensor, noise: float, seed: int) -> Confusion | None:
        """Returns the pair with the numbers that the checker finds; None if its two images are the same."""
        first, second = self.pair(d, places, self.level())
        read = pair_checker.Certificate(self.certificate(first, second, noise, 0.0))
        distance, misfit = read.verified()
        if not distance > 0:
            return None
        least = rounded_up(misfit / 2)
        shape = self.sensing.in_shape
        return Confusion(
            self.sensing,
            self.sparsify,
            self.levels,
            self.bounds,
            asked=noise,
            noise=max(noise, least),
            first=first.reshape(shape),
            second=second.reshape(shape),
            distance=-rounded_up(-distance),
            misfit=rounded_up(misfit),
            seed=seed,
        )


def _scaled(problem: _Problem, noise: float, seed: int, d: Tensor, places: Tensor) -> Confusion:
    """Returns the pair of a difference, made shorter until the checker accepts it for this noise."""
    d, found = d * _MARGIN, None
    for _ in range(4):
        found = problem.verified(d, places, noise, seed)
        if found is None or found.reached:
            break
        d = d * (2 * noise / found.misfit * _MARGIN)
    if found is None:
        do = "Raise the noise, or compare it with the norm of the data"
        needed = "A noise that is large enough for two different signals of the class"
        raise BadInput(needed, f"{noise}, for which the pairs found are equal after rounding", do)
    return found


def _largest(problem: _Problem, seed: int, d: Tensor, places: Tensor, level: NDArray[np.int64]) -> Confusion:
    """Returns the pair of a difference that is scaled until an entry reaches its bound, for noise 0.

    A difference of integers is scaled by a number of so few bits that no entry is rounded: it stays in the kernel.
    """
    room = torch.tensor(problem.bounds, dtype=torch.float64)[torch.from_numpy(level)]
    places = torch.where(d != 0, places.clamp(min=1), 0)
    scale = (room * places / d.abs().clamp(min=1e-300))[d != 0].min().item() * _MARGIN
    parts = torch.stack(_parts(d))
    if torch.equal(parts, parts.round()):
        mantissa, exponent = math.frexp(scale if d.is_complex() else scale / _MARGIN)
        bits = _BITS - 2 - int(parts.abs().max()).bit_length()
        count, unit = math.floor(math.ldexp(mantissa, bits)), math.ldexp(1.0, exponent - bits)
        most = (room * places).tolist()
        if any(
            Fraction(count * unit) * abs(int(v)) > Fraction(b) for v, b in zip(parts[0].tolist(), most, strict=True)
        ):
            count -= 1  # the quotient was rounded upwards
        scale = count * unit
    found = problem.verified(d * scale, places, 0.0, seed)
    assert found is not None
    return found


def _exact(sensing: LinearOperator, d: Tensor, level: NDArray[np.int64], bounds: tuple[float, ...]) -> Tensor | None:
    """Returns a vector of the kernel of a matrix on the large entries of d, if there is one that is exact in double
    precision."""
    support = torch.nonzero(d.abs() > 1e-6 * d.abs().max()).flatten().tolist()
    if not isinstance(sensing, Matrix) or len(support) > _MOST_EXACT:
        return None
    found = exact_kernel(ConcreteMatrix.of(sensing.matrix.detach().numpy()), support)
    if found is None or max(abs(v) for k in ("real", "imaginary") for v in found.get(k, [])) >= 2**40:
        return None
    real = torch.tensor(found["real"], dtype=torch.float64)
    imaginary = torch.tensor(found.get("imaginary", [0] * len(real)), dtype=torch.float64)
    if d.is_complex():
        return torch.complex(real, imaginary)
    return real if not imaginary.any() else None


def _parts(x: Tensor) -> list[Tensor]:
    x = x.detach().cpu().flatten()
    return [x.real, x.imag] if x.is_complex() else [x, torch.zeros_like(x)]


def _integers(parts: list[Tensor]) -> tuple[int, list[list[int]]]:
    """Returns numbers in floating point as integers times one power of two, exactly."""
    arrays = [np.frexp(part.double().numpy()) for part in parts]
    whole = [np.ldexp(m, 53).astype(np.int64) for m, _ in arrays]
    # The exponent of the lowest bit that is not zero.
    low = [
        np.log2((v & -v)[v != 0].astype(float)).astype(int) + e[v != 0] for v, (_, e) in zip(whole, arrays, strict=True)
    ]
    exponent = min((int(v.min()) for v in low if v.size), default=53) - 53
    return exponent, [
        [
            a << shift if shift >= 0 else a >> -shift
            for a, shift in zip(v.tolist(), (e - 53 - exponent).tolist(), strict=True)
        ]
        for v, (_, e) in zip(whole, arrays, strict=True)
    ]


def _towards_zero(x: Tensor, exponent: int) -> Tensor:
    scaled = [np.ldexp(np.trunc(np.ldexp(part.numpy(), -exponent)), exponent) for part in _parts(x)]
    real, imaginary = map(torch.from_numpy, scaled)
    return torch.complex(real, imaginary) if x.is_complex() else real


def rounded_up(value: Fraction) -> float:
    """Returns the smallest number in double precision that is not below a rational number."""
    found = float(value)
    return found if Fraction(found) >= value else math.nextafter(found, math.inf)


def _bounds(bound: float | Iterable[float], levels: SparsityLevels) -> tuple[float, ...]:
    given = tuple(map(float, bound)) if isinstance(bound, Iterable) else (float(bound),) * len(levels.sizes)
    if len(given) != len(levels.sizes) or not all(0 < b < math.inf for b in given):
        needed = f"A bound above 0 of the moduli, one number or {len(levels.sizes)} of them"
        raise BadInput(needed, ", ".join(f"{b:g}" for b in given), "Take the largest coefficient of an image")
    return given


def _check_blind(sensing: LinearOperator) -> None:
    """Raises BadInput where nothing can be confused without noise."""
    if isinstance(sensing, SubsampledFourier | SubsampledWalsh | MultiCoilFourier) and sensing.mask.all():
        seen = not isinstance(sensing, MultiCoilFourier) or bool((sensing.maps != 0).any(dim=0).all())
        if seen:
            do = "Give a noise above 0, or another mask"
            raise BadInput("Something to confuse", "a mask that samples everything, and no noise", do)

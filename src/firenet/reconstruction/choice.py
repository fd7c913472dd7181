"""The choice of a setting for each image from its own measurements.

No lambda, transform or strength of reweighting is the best for all images. Without ground truth, measurements decide:
some of them are held out, every candidate reconstructs the image from the others, reweighting included, and the
candidate whose image predicts those held out best is chosen. That prediction error estimates the error of the image;
it includes the noise of the measurements held out, which is the same for all candidates.

The search is short: the default and a smaller lambda; then, with the better lambda, a round of reweighting, a transform
with more bands, total variation, and where that is nearly as good, the default together with total variation; at last a
second round for the best of these, and if it is better, a third. All are drafts without a proof, each started at the
image of the one before.
docs/choice.md has what was measured of this search and of larger ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.network import Firenet
from firenet.numerics import check_seed, norms, tensor_of
from firenet.operators.linear import LinearOperator
from firenet.reconstruction.defaults import default_network, default_schedule
from firenet.reweighting import Round, reweighted
from firenet.solver.schedules import Schedule
from firenet.solver.solution import Progress
from firenet.transforms.spec import describe

# Drafts need only be accurate enough to compare their prediction errors: after 30 layers an image is good to 0.1 dB.
_TOLERANCE, _LAYERS = 3e-2, 30
# The multiple of the default lambda with which data without noise are fitted nearly exactly.
_EXACT = 0.4
# The most rounds of reweighting, and the floor of their weights. Later rounds keep all of the first residual: to keep a
# part of it gains nothing where there is no noise, and loses where there is some.
_ROUNDS, _FLOOR = 3, 0.7
# With fewer measurements held out than this, there are several folds; with fewer than the second number no choice.
_ENOUGH, _TOO_FEW, _FOLDS = 200, 25, 4
# A candidate replaces one that was tried before if the sum of its squared errors is smaller by more than this many
# standard errors of the difference. A share of the error is no measure: where noise dominates it, all are nearly equal.
_CLEARLY = 2.0
# The other lambda, which is chosen before any reweighting, must have an error below this multiple of the default's.
_LAMBDA = 0.99
# A transform with 30 bands in place of 14, better for images with noise and for textures. The default is better for
# others, and takes half the time and memory. Larger images than this number of pixels do not try it.
_MORE, _LARGEST = "undecimated:haar:3+db4:3+sym4:3", 2**19
# A transform is not reweighted if its plain error is above this multiple of the default's. The default together with
# total variation is tried if total variation alone is below the second.
_FAR, _NEAR = 1.08, 1.05


@dataclass(frozen=True)
class Setting:
    """A transform, a lambda and rounds of reweighting with which an image is reconstructed.

    Attributes:
        sparsify: The sparsifying transform, named as in :func:`.transform`.
        share: lambda as a multiple of the default lambda of this transform and operator.
        rounds: The rounds of reweighting.
        floor: As in :func:`.weights_from`.
        keep: The fraction of the first round's residual that later rounds keep.
    """

    sparsify: str
    share: float = 1.0
    rounds: int = 0
    floor: float = _FLOOR
    keep: float = 1.0

    def network(
        self,
        operator: LinearOperator,
        *,
        lam: float | None = None,
        noise: float | None = None,
        schedule: Schedule | None = None,
    ) -> Firenet:
        """Returns the network of the first round.

        Args:
            operator: A, the measurement operator of one image.
            lam: The lambda to take a multiple of; None is the default.
            noise: The noise level, in place of lambda.
            schedule: As in :func:`.default_network`.
        """
        net = default_network(operator, sparsify=self.sparsify, lam=lam, noise=noise, schedule=schedule)
        if noise is not None or self.share == 1:
            return net
        return default_network(operator, sparsify=self.sparsify, lam=self.share * net.lam, schedule=schedule)

    def solve(
        self,
        net: Firenet,
        y: Tensor,
        *,
        x0: Tensor | None = None,
        before: Sequence[Round] = (),
        tolerance: float | None = None,
        prove: bool = True,
        progress: Progress | None = None,
    ) -> list[Round]:
        """Returns the rounds of one image (:func:`.reweighted`).

        Args:
            net: The network of the first round, of :meth:`network`.
            y: Measurements of one image.
            x0: As in :func:`.reweighted`.
            before: As in :func:`.reweighted`.
            tolerance: As in :func:`.reweighted`.
            prove: As in :func:`.reweighted`.
            progress: As in :func:`.reweighted`.
        """
        more: dict[str, Any] = {"x0": x0, "before": before, "tolerance": tolerance, "prove": prove}
        more["progress"] = progress
        return reweighted(net, y, self.rounds, floor=self.floor, keep=self.keep, **more)

    def __str__(self) -> str:
        rounds = {0: "no reweighting", 1: "1 round of reweighting"}
        times = rounds.get(self.rounds, f"{self.rounds} rounds of reweighting")
        return f"{self.sparsify}, {self.share:g} x the default lambda, {times}"


@dataclass(frozen=True)
class Candidate:
    """A setting that was tried.

    Attributes:
        setting: The setting.
        error: The relative l2 error of its image on the measurements held out.
        layers: The layers of its last round, in all folds.
    """

    setting: Setting
    error: float
    layers: int


@dataclass(frozen=True)
class Choice:
    """The choice of a setting for one image.

    Attributes:
        best: The setting that was chosen; where there was nothing to choose, the default without reweighting.
        candidates: All settings that were tried, in their order; the first is the default without reweighting.
        held_out: The number of measurements that were held out.
        seed: The seed of the choice of these measurements.
        reason: Why there was nothing to choose, or None.
        seconds: The time that the choice took.
    """

    best: Setting
    candidates: tuple[Candidate, ...]
    held_out: int
    seed: int
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)

    def record(self) -> dict[str, Any]:
        """Returns the choice for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.reason is not None:
            return f"nothing was chosen ({self.reason}): {self.best}"
        error = next(
            (f", which predicts them to {100 * c.error:.3g} %" for c in self.candidates if c.setting == self.best), ""
        )
        return f"chosen in {self.seconds:.1f} s by {self.held_out} samples held out: {self.best}{error}"


@torch.no_grad()
def choose(
    y: Tensor | ArrayLike,
    operator: LinearOperator,
    *,
    sparsify: str | None = None,
    lam: float | None = None,
    noise: float | None = None,
    reweight: int | None = None,
    fraction: float = 0.08,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Choice:
    """Chooses transform, lambda and rounds of reweighting for one image, by measurements that are held out.

    The measurements to hold out are drawn from :meth:`.LinearOperator.holdout_candidates`. For samples of a Fourier or
    Walsh transform these are the ones outside the fully sampled centre. The chosen setting is the one with the smallest
    error; one that is tried later must have a clearly smaller error than those before.

    Args:
        y: Measurements of one image, shape ``operator.out_shape``.
        operator: A, the measurement operator of one image.
        sparsify: A transform to use, named as in :func:`.transform`; None chooses among some.
        lam: A lambda to use; None chooses among multiples of the default.
        noise: A noise level to fit the data to, in place of lambda: a bound of the noise's 2-norm over all
            measurements.
        reweight: A number of rounds to use; None chooses up to 3.
        fraction: The share of the candidates to hold out.
        seed: The seed of the choice of these measurements.
        progress: Called after each candidate with the number done and the largest number possible.

    Raises:
        BadInput: If the fraction, the measurements or one of the fixed parts cannot be used.
    """
    begin, y = time.perf_counter(), tensor_of(y, "measurements")
    if noise is not None and lam is not None:
        raise BadInput("One of lam and noise", "both", "With a noise level there is no lambda")
    usual = default_network(operator, sparsify=sparsify, lam=lam, noise=noise)
    if not 0 < fraction < 1:
        raise BadInput("A fraction of the measurements to hold out, between 0 and 1", f"{fraction}", "0.08 is usual")
    if y.shape != operator.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {operator.out_shape}", got, "Choose for one image")
    if reweight is not None and reweight < 0:
        raise BadInput("A number of rounds, zero or more", f"{reweight}", "1 or 2 are usual")
    most = _ROUNDS if reweight is None else reweight
    assert usual.sparsify is not None
    first = Setting(describe(usual.sparsify).partition(",")[0] if sparsify is None else sparsify)
    trial = _Trial(y, operator, fraction, check_seed(seed), lam, noise)
    if trial.reason is not None:
        return Choice(replace(first, rounds=reweight or 0), (), trial.held_out, seed, trial.reason)
    free, mixed = lam is None and noise is None, sparsify is None and usual.form == "analysis"
    steps = 1 + free + most + mixed * (3 + min(most, 1) * 3)

    def run(setting: Setting) -> Candidate:
        found = trial.run(setting)
        if progress is not None:
            progress(trial.runs, steps)
        return found

    start = run(first)
    if free:
        other = run(replace(first, share=_EXACT))
        start = other if other.error < _LAMBDA * start.error else start
    plain = start.setting
    if most:
        run(replace(plain, rounds=1))

    def compared(name: str) -> float:
        """Tries a transform, and a round of reweighting unless it is far worse without; returns by how much it is."""
        error = run(replace(plain, sparsify=name)).error / start.error
        if most and error < _FAR:
            run(replace(plain, sparsify=name, rounds=1))
        return error

    if mixed:
        more = more_bands(operator)
        if more is not None:
            compared(more)
        if compared("tv") < _NEAR:
            compared(f"{plain.sparsify}+tv")
    for rounds in range(2, most + 1):
        better = trial.best(start).setting
        if reweight is None and better.rounds < rounds - 1 and rounds > 2:
            break
        run(replace(better, rounds=rounds))
    if progress is not None:
        progress(steps, steps)
    best = trial.best(start, reweight).setting
    return Choice(best, tuple(trial.found), trial.held_out, seed, seconds=time.perf_counter() - begin)


def more_bands(operator: LinearOperator) -> str | None:
    """Returns the transform with the most bands that :func:`choose` tries for an operator, or None."""
    shape = operator.in_shape
    return _MORE if len(shape) == 2 and min(shape) >= 2**3 and math.prod(shape) <= _LARGEST else None


class _Trial:
    """The measurements that are kept and held out, and the settings that were tried on them."""

    def __init__(
        self, y: Tensor, operator: LinearOperator, fraction: float, seed: int, lam: float | None, noise: float | None
    ) -> None:
        self.found: list[Candidate] = []
        self.runs = 0
        self._lam, self._noise = lam, noise
        self._rounds: dict[tuple[str, float], list[list[Round]]] = {}  # by transform and share, for each fold
        self._last: list[list[Round]] = []
        self._squares: dict[Setting, Tensor] = {}  # the squared errors of all measurements held out
        made = operator.restrict(torch.ones_like(y, dtype=y.real.dtype)) != 0
        possible = operator.holdout_candidates()
        # The axes along which measurements are held out together, such as the samples of a readout.
        self._shared = [a for a in range(-possible.ndim, 0) if possible.shape[a] == 1 < y.shape[a]]
        # The random numbers are from NumPy, where they are the same on every processor.
        drawn = np.random.default_rng(seed).random(tuple(possible.shape))
        if self._shared:  # they are few: each fold has the same number
            ranks = drawn[possible.cpu().numpy()].argsort().argsort()
            drawn[possible.cpu().numpy()] = (ranks + 0.5) / len(ranks)
            fraction = math.ceil(fraction * int(possible.sum())) / max(int(possible.sum()), 1)
        chance = torch.from_numpy(drawn).to(possible.device)
        expected = fraction * int(possible.sum())
        folds = min(max(math.ceil(_ENOUGH / max(expected, 1)), 1), _FOLDS, int(1 / fraction))
        parts = [possible & (chance >= k * fraction) & (chance < (k + 1) * fraction) for k in range(folds)]
        together = math.prod(y.shape[a] for a in self._shared)
        self.held_out = together * sum(int(part.sum()) for part in parts)
        self.reason = None
        if self.held_out < _TOO_FEW or any(not (made & ~part).any() or not part.any() for part in parts):
            self.reason = f"only {self.held_out} measurements can be held out"
            return
        self._folds = []
        for part in parts:
            unseen, seen = operator.subset(part), operator.subset(~part)
            share = math.sqrt(int((made & ~part).sum()) / int(made.sum()))
            held = made & part
            held = held.any(dim=self._shared, keepdim=True) if self._shared else held.expand(y.shape)
            target = unseen.restrict(y)
            self._folds.append((seen, seen.restrict(y), unseen, target, held, share))
        self._size = math.sqrt(sum(norms(fold[3], y.ndim).item() ** 2 for fold in self._folds)) or 1.0

    def run(self, setting: Setting) -> Candidate:
        """Tries a setting and those with fewer rounds, those alone that were not tried before; returns its result."""
        key, layers = (setting.sparsify, setting.share), setting.rounds + 1
        done = next((r for r in range(layers, 0, -1) if replace(setting, rounds=r - 1) in self._squares), 0)
        schedule = default_schedule(_TOLERANCE, _LAYERS * layers)
        before = self._rounds.get(key, [[] for _ in self._folds])
        found, count = [], [0] * layers
        squares: list[list[Tensor]] = [[] for _ in range(layers)]
        for k, (seen, known, unseen, target, held, share) in enumerate(self._folds):
            noise = None if self._noise is None else share * self._noise
            net = setting.network(seen, lam=self._lam, noise=noise, schedule=schedule).to(known.device)
            x0 = self._last[k][0].solution.image if self._last else None
            made = setting.solve(net, known, x0=x0, before=before[k], prove=False)
            found.append(made)
            for j in range(done, layers):  # where reweighting ended early, later rounds are the last one
                solution = made[min(j, len(made) - 1)].solution
                off = ((unseen(solution.image) - target).abs().double() / self._size).square()
                off = off.sum(dim=self._shared, keepdim=True) if self._shared else off
                squares[j].append(off[held])
                count[j] += int(solution.layers)
        for j in range(done, layers):
            tried = replace(setting, rounds=j)
            self._squares[tried] = torch.cat(squares[j])
            self.found.append(Candidate(tried, math.sqrt(self._squares[tried].sum().item()), count[j]))
        self._last = self._rounds[key] = found
        self.runs += 1
        return self.found[-1]

    def best(self, start: Candidate, rounds: int | None = None) -> Candidate:
        """Returns the candidate with the smallest error, with this number of rounds if it is given.

        Candidates are compared in their order, beginning with ``start``; a later one must be clearly better.
        """
        best = None
        for one in (start, *self.found):
            if rounds in (None, one.setting.rounds) and (best is None or self._clearly_better(one, best)):
                best = one
        assert best is not None
        return best

    def _clearly_better(self, one: Candidate, other: Candidate) -> bool:
        change = self._squares[one.setting] - self._squares[other.setting]
        # False, too, for NaN after an overflow.
        return change.sum().item() < -_CLEARLY * math.sqrt(len(change)) * change.std().item()


def draw(choice: Choice, path: Path) -> None:
    """Draws the errors of the candidates over the rounds of reweighting, as a PNG picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    paths: dict[tuple[str, float], list[Candidate]] = {}
    for one in choice.candidates:
        paths.setdefault((one.setting.sparsify, one.setting.share), []).append(one)
    for (name, share), some in paths.items():
        label = name if share == 1 else f"{name}, {share:g} x the default lambda"
        axes.plot([c.setting.rounds for c in some], [100 * c.error for c in some], marker="o", ms=4, label=label)
    best = next((c for c in choice.candidates if c.setting == choice.best), None)
    if best is not None:
        axes.plot(best.setting.rounds, 100 * best.error, "o", ms=12, mfc="none", mec="k", label="chosen")
    axes.set_xticks(range(_ROUNDS + 1))
    axes.set_xlabel("rounds of reweighting")
    axes.set_ylabel(f"error on {choice.held_out} samples held out (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with replacing(path) as (temporary,):
        said = {"Description": "firenet: the choice of a setting"}  # a later run replaces only pictures with this text
        figure.savefig(temporary, dpi=100, format="png", metadata=said)

"""The campaign against false certificates: many problems, every claim checked against 80-bit arithmetic and Clarabel.

A claim is false if the stated objective is off by more than its rounding, if a lower bound of the minimum lies above
the objective of any point that fits the data, if "tolerance reached" is said of a point that is further from optimal,
if NaN reads as a small gap, or if an adjoint with a defect above the threshold comes in. Operators are written here
again, as dense matrices in 80-bit arithmetic. Where the platform has no such type, double is taken for it and sums are
exact to some units only: then the allowance says so.

The inequalities of the recovery theorem are tried beside (`soundness_theorem`): there a claim is false if the truth is
above its bound. ``python tests/soundness.py`` prints what was tried, how far bounds are above the truth, and every
false claim.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, MutableMapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import firenet
from firenet import AdaptiveRestarts, BadInput, Firenet, Matrix, NumericalError, Status, certify
from firenet.operators import NormBound
from firenet.verified import verify
from soundness_cases import (
    CL,
    Case,
    L,
    Long,
    fidelities,
    flat,
    fourier,
    gaussian,
    gradient,
    norm,
    random_case,
    undecimated,
)
from soundness_theorem import tried

# --- claims -----------------------------------------------------------------------------------------------------------


def check(case: Case, tolerance: float, tally: Counter[str]) -> list[str]:
    """Solves, certifies, and returns the false claims."""
    false: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        solution = case.net.solve(case.y, x0=case.x0)
    tally[f"{solution.statuses[0].value}"] += 1
    x = flat(solution.coefficients)
    claims = {
        "solve": (x, solution.objective, solution.lower_bound, solution.gap, solution.rounding, solution.relative_gap),
    }
    others = [x, np.zeros_like(x), *case.points]
    z = solution.coefficients * 0 if np.abs(x).max(initial=0) < 1e6 else solution.coefficients
    for name, point in (("certify", solution.coefficients), ("certify another", z)):
        if torch.isfinite(torch.view_as_real(point) if point.is_complex() else point).all():
            try:
                c = certify(case.net.problem, point, case.y, budget=20)
            except NumericalError as error:
                false.append(f"{name}: {error}")
                continue
            claims[name] = (flat(point), c.objective, c.lower_bound, c.gap, c.rounding, c.relative_gap)
    fitting = [p for p in others if np.isfinite(p).all() and case.fits(p)]
    least = min((case.objective(p) + case.allowance(p) for p in fitting), default=L(np.inf))
    for name, (point, *numbers) in claims.items():
        value, lower, gap, rounding, relative = (t.item() for t in numbers)
        exact = case.objective(point) if np.isfinite(point).all() else L(np.nan)
        slack = case.allowance(point) if np.isfinite(exact) else L(0)
        if math.isnan(gap) and not math.isnan(relative):
            false.append(f"{name}: a gap of NaN reads as a relative gap of {relative}")
        if not math.isfinite(value):
            if relative < math.inf:
                false.append(f"{name}: an objective of {value} has a relative gap of {relative}")
            continue
        if not abs(L(value) - exact) <= L(rounding) + slack:
            false.append(f"{name}: objective {value!r}, rounding {rounding:.2g}, true {exact}")
        if lower > 0 and not L(lower) <= least:
            false.append(f"{name}: lower bound {lower!r} above {least}")
        if least < np.inf and case.fits(point) and not exact - least <= L(gap) + L(rounding) + slack:
            false.append(f"{name}: gap {gap!r} + {rounding:.2g}, true at least {exact - least}")
    status = solution.statuses[0]
    if status is Status.TOLERANCE_REACHED:
        exact = case.objective(x)
        unit = max(getattr(case.net.fidelity, "noise", 0.0), 0.0)
        zero = exact <= L(solution.rounding.item())  # the minimum is zero up to that
        if least < np.inf and not (exact <= (1 + L(tolerance)) * least + case.allowance(x) or zero):
            false.append(f"tolerance reached at {exact}, and {least} is possible")
        if isinstance(case.net.fidelity, firenet.problems.Ball):
            u = torch.finfo(case.y.dtype).eps / 2
            data = float(norm(case.y.numpy().astype(CL).ravel()))
            allowed = tolerance * max(unit, u * data) + 300 * u * (data + float(norm(case.A @ x)) + float(norm(x)))
            if not case.residual(x) - unit <= allowed:
                false.append(f"tolerance reached {case.residual(x) - unit} off the data ball")
    if status is Status.NO_IMAGE_FITS and least <= 1e6 * case.objective(x):
        false.append("no image fits, and one of a usual penalty does")
    return false


def verified_claims(case: Case, tally: MutableMapping[str, int]) -> list[str]:
    """Solves, verifies several points, and returns the false claims: what is verified holds without allowance but that
    of the 80 bits in which it is checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        solution = case.net.solve(case.y, x0=case.x0)
    problem, false = case.net.problem, []
    y = case.net.operator.restrict(case.y)
    known = [flat(solution.coefficients), np.zeros(solution.coefficients.numel(), CL), *case.points]
    fitting = [p for p in known if np.isfinite(p).all() and case.fits(p)]
    least = min((case.objective(p) + case.allowance(p) for p in fitting), default=L(np.inf))
    for point in (solution.coefficients, torch.zeros_like(solution.coefficients)):
        if not torch.isfinite(torch.view_as_real(point) if point.is_complex() else point).all():
            continue
        v, x = verify(problem, point, y, solution.dual, solution.dual_sparse), flat(point)
        exact, slack = case.objective(x), case.allowance(x)
        tally[v.arithmetic] = tally.get(v.arithmetic, 0) + 1
        tally["positive lower bounds"] = tally.get("positive lower bounds", 0) + (v.lower_bound > 0)
        if not L(v.least_objective) - slack <= exact <= L(v.objective) + slack:
            false.append(f"objective in [{v.least_objective!r}, {v.objective!r}], true {exact}")
        if not L(v.lower_bound) <= least:
            false.append(f"lower bound {v.lower_bound!r} above {least}")
        if least < np.inf and case.fits(x) and not exact - least <= L(v.gap) + slack:
            false.append(f"gap {v.gap!r}, true at least {exact - least}")
        if isinstance(case.net.fidelity, firenet.problems.Ball):
            over = case.residual(x) - L(case.net.fidelity.noise)
            if not L(v.least_violation) - slack <= max(over, L(0)) <= L(v.violation) + slack:
                false.append(f"violation in [{v.least_violation!r}, {v.violation!r}], true {over}")
    return false


class Foreign(firenet.LinearOperator):
    """Somebody's operator: a matrix, some backward map, some norm."""

    def __init__(self, matrix: NDArray[Any], back: NDArray[Any], bound: float) -> None:
        super().__init__((matrix.shape[1],), (matrix.shape[0],), NormBound(bound, "proven", "so they say"))
        self._matrix, self._back = torch.from_numpy(matrix), torch.from_numpy(back)

    def _forward(self, x: Tensor) -> Tensor:
        return x.to(self._matrix.dtype) @ self._matrix.mT

    def _adjoint(self, y: Tensor) -> Tensor:
        return y.to(self._back.dtype) @ self._back.mT

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self._matrix.dtype


def built(k: int, seed: int, tally: Counter[str]) -> list[str]:
    """A problem built to break something: scales, constants that A hardly sees, extremes, foreign operators."""
    rng = np.random.default_rng([seed, 10**6 + k])
    kind = k % 5
    if kind == 0:  # parts of a sum from 1e-12 to 1e12
        shape, factor = (4, 4), float(10.0 ** rng.uniform(-12, 12))
        frame = firenet.transforms.Union(
            [firenet.Gradient(shape), firenet.UndecimatedWavelet(shape, "haar", 1)], [1.0, factor]
        )
        W = np.concatenate([gradient(shape), L(factor) * np.concatenate(undecimated(shape, "haar", 1))])
        groups = [[i, i + 16] for i in range(16)] + [[i] for i in range(32, 32 + 64)]
        mask = np.ones(shape, bool)
        x = np.full(16, 5.0) + (rng.random(16) < 0.2) * 1e-3
        A = fourier(shape)
        y = (A @ x.astype(CL)).astype(np.complex128).reshape(shape)
        w = np.ones(frame.penalty_shape)
        keys = fidelities(rng, y, 1e-12, 0.01)
        net = Firenet(
            firenet.SubsampledFourier(mask),
            frame,
            weights=torch.from_numpy(w),
            schedule=AdaptiveRestarts(1e-6, 300),
            **keys,
        )
        case = Case("union", net, torch.from_numpy(y), A, W, groups, w.ravel().astype(L), [x.astype(CL)])
        return check(case, 1e-6, tally)
    if kind == 1:  # total variation where |A1| is anything between 0 and 1
        n, single = int(rng.integers(2, 6)), rng.random() < 0.5
        real = np.float32 if single else np.float64
        row = gaussian(rng, (2, n), False)
        row = row - row.mean(axis=1, keepdims=True) * (1 - float(rng.choice([0, 1e-15, 1e-10, 1e-6, 1e-3])))
        row = row.astype(real)
        y = gaussian(rng, (2,), False).astype(real)
        boundary: Any = str(rng.choice(["neumann", "periodic"]))
        net = Firenet(Matrix(row), firenet.Gradient((n,), boundary), lam=0.1, schedule=AdaptiveRestarts(1e-4, 300))
        ones = row.astype(L).sum(axis=1)
        best = (ones @ y.astype(L)) / (ones @ ones) if (ones != 0).any() else L(0)
        points = [np.full(n, best, CL), np.full(n, CL(float(best)))]
        groups = [[i] for i in range(n)]
        case = Case(
            "constants",
            net,
            torch.from_numpy(y),
            row.astype(CL),
            gradient((n,), boundary),
            groups,
            np.ones(n, L),
            points,
        )
        return check(case, 1e-4, tally)
    if kind == 2:  # extremes: underflow, overflow, huge and tiny lambda
        m, n = 5, 9
        scale = float(rng.choice([1e-38, 1e-300, 1e-200, 1e37, 1e150, 1e300, 1e-160]))
        single = scale in (1e-38, 1e37)
        kindof = np.float32 if single else np.float64
        A = gaussian(rng, (m, n), False)
        x = (rng.random(n) < 0.3) * 1.0
        which = int(rng.integers(3))
        with np.errstate(all="ignore"):
            matrix = (A * (scale if which == 0 else 1.0)).astype(kindof)
            y = (A @ x * (scale if which != 2 else 1.0)).astype(kindof)
        lam = 0.1 * (scale if which == 0 else 1.0) if which != 2 else float(rng.choice([5e-324, 1e-300, 1e30]))
        try:
            net = Firenet(Matrix(matrix), lam=lam, schedule=AdaptiveRestarts(1e-3, 100))
            case = Case(
                "extremes", net, torch.from_numpy(y), matrix.astype(CL), None, None, np.ones(n, L), [x.astype(CL)]
            )
            with np.errstate(all="ignore"):
                return check(case, 1e-3, tally)
        except BadInput:
            tally["refused"] += 1
            return []
    # operators from outside, with right and wrong adjoints and norms
    m, n = int(rng.integers(4, 40)), int(rng.integers(4, 60))
    single = rng.random() < 0.3
    kindof = np.float32 if single else np.float64
    M = (gaussian(rng, (m, n), False) / math.sqrt(m)).astype(kindof)
    size = float(np.linalg.norm(M, 2))
    wrong = k % 2 == 0
    back = M.T.copy()
    defect = float(10.0 ** rng.uniform(-4, 0)) if single else float(10.0 ** rng.uniform(-10, 0))
    if wrong:
        how = int(rng.integers(4))
        if how == 0:
            back = back * (1 + defect)
        elif how == 1:
            back = back + (defect * size * gaussian(rng, (n, m), False) / (math.sqrt(m) + math.sqrt(n))).astype(kindof)
        elif how == 2:
            back[:, int(rng.integers(m))] = 0  # a sample that the adjoint forgets
        else:
            back[int(rng.integers(n))] *= 1 + defect
    bound = size * float(rng.choice([1.0001, 1.0001, 3.0, 0.8]))
    x = (rng.random(n) < 0.2) * 1.0
    y = (M @ x + 0.05 * gaussian(rng, (m,), False)).astype(kindof)
    operator = Foreign(M, back.astype(kindof), bound)
    try:
        net = Firenet(operator, lam=0.3, schedule=AdaptiveRestarts(1e-5, 300))
    except BadInput as error:
        tally["refused at the door"] += 1
        return [] if wrong else [f"a right adjoint is refused: {error}"]
    # What the test can see: the defect on pairs with y = Ax. Those that pass are conditional, and must say so.
    true = float(np.linalg.norm(back.astype(np.float64) - M.astype(np.float64).T, 2)) / size
    threshold = 1e-5 if single else 1e-12
    false = [f"a defect of {true:.1e} came in"] if wrong and true > 100 * math.sqrt(m * n) * threshold else []
    case = Case("foreign", net, torch.from_numpy(y), M.astype(CL), None, None, np.ones(n, L), [x.astype(CL)])
    solution = net.solve(case.y)
    if not solution.conditions or "defect" not in solution.conditions[0]:
        false.append("a certificate of a foreign operator that does not say what it rests on")
    return false + (check(case, 1e-5, tally) if not wrong else [])


def clarabel(case: Case) -> Long | None:
    """A point near the minimiser by Clarabel, where it finds one."""
    import cvxpy as cp

    cplx = np.iscomplexobj(case.y.numpy()) or bool(np.abs(np.imag(case.A)).max(initial=0))
    x = cp.Variable(case.A.shape[1], complex=cplx)
    A, y = case.A.astype(np.complex128), case.y.numpy().ravel()
    A, y = (A, y.astype(np.complex128)) if cplx else (np.real(A), y.astype(np.float64))
    c = x if case.W is None else case.W.astype(np.float64) @ x
    w = case.weights.astype(np.float64)
    if case.groups is None:
        penalty = w @ cp.abs(c)
    else:
        penalty = cp.sum([float(v) * cp.norm(c[g], 2) for v, g in zip(w, case.groups, strict=True)])
    fidelity, r = case.net.fidelity, cp.norm(A @ x - y, 2)
    limits: list[Any] = [r <= fidelity.noise * (1 - 1e-7)] if isinstance(fidelity, firenet.problems.Ball) else []
    value = {firenet.problems.Norm: r, firenet.problems.Squared: cp.square(r), firenet.problems.Ball: 0}[type(fidelity)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cp.Problem(cp.Minimize(case.net.lam * penalty + value), limits).solve(solver=cp.CLARABEL)
    except (cp.SolverError, ValueError, ArithmeticError):
        return None
    return None if x.value is None else np.asarray(x.value).astype(CL)


# --- the campaign -----------------------------------------------------------------------------------------------------

# Problems by kind; the names of the theorem's inequalities are those of `soundness_theorem.INEQUALITIES`.
COUNTS = {
    "random": 2000,
    "built": 500,
    "error after every restart": 3000,
    "error from the gap": 2500,
    "verified constants": 500,
    "exact network against the loop": 1200,
    "distance under attack": 100,
    "what no method can tell apart": 100,
    "verified": 100,
}
SOLVER = 5  # to every so manieth random problem Clarabel's point is added


@dataclass
class Result:
    """What some problems gave: how often which status came up, the false claims, and bounds over truths."""

    tally: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)
    looseness: dict[str, list[float]] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        self.tally += other.tally
        self.false += other.false
        for name, values in other.looseness.items():
            self.looseness.setdefault(name, []).extend(values)


def some(kind: str, numbers: list[int], seed: int, solver: int = SOLVER) -> Result:
    """Tries the problems of a kind with these numbers."""
    result = Result()
    if kind == "random":
        for k in numbers:
            case, tolerance = random_case(k, seed)
            if solver and k % solver == 0 and (point := clarabel(case)) is not None:
                case.points.append(point)
                result.tally["with Clarabel's point"] += 1
            result.false += [f"random {k} ({case.name}): {claim}" for claim in check(case, tolerance, result.tally)]
    elif kind == "built":
        for k in numbers:
            result.false += [f"built {k} (kind {k % 5}): {claim}" for claim in built(k, seed, result.tally)]
    elif kind == "verified":
        for k in numbers:
            case, _ = random_case(k, seed)
            result.false += [f"verified {k} ({case.name}): {claim}" for claim in verified_claims(case, result.tally)]
    else:
        for k in numbers:
            pairs = tried(kind, k, seed)
            result.false += [f"{kind} {k}: {pair}" for pair in pairs if pair.violated]
            result.tally[f"bounds compared: {kind}"] += len(pairs)
            result.looseness.setdefault(kind, []).extend(v for p in pairs if (v := p.looseness) == v and v < math.inf)
    return result


def _prepare() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # overflow is what some are about


def campaign(counts: Mapping[str, int], seed: int = 0, jobs: int = 1, show: bool = False) -> Result:
    """Tries so many problems of each kind.

    Args:
        counts: How many problems of which kind.
        seed: Of all of them.
        jobs: The number of processes.
        show: Print progress.
    """
    chunks = [(kind, list(range(first, n, -(-n // 25)))) for kind, n in counts.items() for first in range(-(-n // 25))]
    whole, done, began = Result(), 0, time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        for part in as_completed([pool.submit(some, kind, numbers, seed) for kind, numbers in chunks]):
            result, done = part.result(), done + 1
            whole.add(result)
            if show:
                print(*result.false, sep="\n", end="\n" if result.false else "", file=sys.stderr)
                told = f"{done} of {len(chunks)} parts, {len(whole.false)} false claims"
                print(f"{told}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return whole


def table(looseness: Mapping[str, list[float]]) -> str:
    """The bounds over the truths as lines of Markdown."""
    lines = ["| inequality | bounds compared with the truth | 5 % | median | 95 % |", "|---|---|---|---|---|"]
    for name, values in looseness.items():
        low, middle, high = (f"{v:.3g}" for v in np.percentile(values, [5, 50, 95]))
        lines.append(f"| {name} | {len(values)} | {low} | {middle} | {high} |")
    return "\n".join(lines)


def draw(looseness: Mapping[str, list[float]], path: str) -> None:
    """Draws how the bounds over the truths are distributed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.1 + 0.55 * len(looseness)), layout="constrained")
    axes = figure.add_subplot()
    names = list(looseness)[::-1]
    axes.boxplot([looseness[n] for n in names], orientation="horizontal", whis=(5, 95), showfliers=False)
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.axvline(1, color="#b71c1c", lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("bound over truth (box: quarters, whiskers: 5 % and 95 %); a violation is left of 1")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="This share of the problems of each kind.")
    parser.add_argument("--only", action="append", choices=COUNTS, help="Only problems of this kind.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--plot", help="Draw bounds over truths into this file (.png).")
    given = parser.parse_args()
    counts = {kind: max(1, round(given.share * n)) for kind, n in COUNTS.items() if kind in (given.only or COUNTS)}
    result = campaign(counts, given.seed, given.jobs, show=True)
    for name, count in sorted(result.tally.items()):
        print(f"{count:6d}  {name}")
    if result.looseness:
        print(table(result.looseness))
        if given.plot:
            draw(result.looseness, given.plot)
    tried_ = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    print(f"{sum(counts.values())} problems ({tried_}), seed {given.seed}: {len(result.false)} false claims")
    for claim in result.false:
        print(claim)
    sys.exit(bool(result.false))


if __name__ == "__main__":
    main()

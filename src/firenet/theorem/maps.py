"""The affine maps of the theorem's network, as tables of blocks with rational factors.

A layer is here an affine map with the nonlinear map that follows it, and one iteration of the primal-dual method, which
other parts of the library call a layer, is three of them. Between them the state has the parts ``x``, ``sum`` (of the x
since the restart), ``dual``, ``copy`` (a second copy of the dual point, for its squares) and ``size`` (their sum). With
:math:`\\tau=\\sigma=1/\\|A\\|`, D the diagonal matrix of the weights and c the scale of the restart, the layers are

.. math::
    (x,\\Sigma,q)&\\mapsto\\big(D^{-1}(x-\\tau A^*q),\\ \\Sigma,\\ q-\\sigma Ax-\\tfrac\\sigma cy\\big),
    &&\\text{threshold of the first part,}\\\\
    (z,\\Sigma,v)&\\mapsto\\big(Dz,\\ \\Sigma+Dz,\\ u,\\ u\\big),\\quad u=v+2\\sigma ADz,
    &&\\text{squares of the last part,}\\\\
    (x,\\Sigma,u,t)&\\mapsto\\big(\\textstyle\\sum_it_i,\\ u,\\ x,\\ \\Sigma\\big),&&\\text{gate of the second part.}

**Scaled variables.** The steps of a restart are :math:`(c,1/c)/\\|A\\|`. The network computes with x/c and y/c instead
of x and y, and the steps become :math:`(1,1)/\\|A\\|`: the threshold :math:`\\lambda/\\|A\\|` and the unit ball onto
which the gate projects the dual point are the same in all restarts, and three nonlinear maps suffice. A restart
continues from the average :math:`\\Sigma/p` in the next scale with dual point zero, which is linear and merged into
the next layer.

The tables are read twice: :mod:`firenet.theorem.explicit` makes dense matrices of them, :mod:`firenet.theorem.dyadic`
evaluates them in integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.numerics import doubled
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.problems.fidelity import Norm
from firenet.solver.schedules import FixedSteps, PaperSchedule

Kind = Literal["threshold", "squares", "gate"]
Layout = dict[str, int]

# The largest N + m: the matrix of the second layer is then 2048 x 2048 at most.
LIMIT = 1024


@dataclass(frozen=True)
class Term:
    """A block of an affine map: ``factor`` times a part of the state, to which an operator is applied.

    Attributes:
        source: The part of the state.
        factor: A rational number.
        operator: The identity, A (``forward``), A* (``adjoint``), or the sum of the entries.
        weighted: Whether the part is multiplied by the weights first.
    """

    source: str
    factor: Fraction = Fraction(1)
    operator: Literal["identity", "forward", "adjoint", "sum"] = "identity"
    weighted: bool = False


@dataclass(frozen=True)
class Row:
    """A part of the output of an affine map: a sum of terms, then divided by the weights if ``divided``."""

    terms: tuple[Term, ...]
    divided: bool = False


@dataclass(frozen=True, eq=False)
class BlockMap:
    """A linear map between states, as a table of blocks; layers with the same map share the object.

    Attributes:
        inputs: The parts of its input, in order, with their widths.
        outputs: The parts of its output.
        rows: What each part of the output is.
    """

    inputs: Layout
    outputs: Layout
    rows: dict[str, Row]


@dataclass(frozen=True)
class Layer:
    """A layer: the state is mapped by ``map``, ``skip`` times y is added to the part ``dual``, and a nonlinear map
    follows (none after the last layer)."""

    map: BlockMap
    skip: Fraction
    nonlinearity: Kind | None


@dataclass(frozen=True, eq=False)
class Recipe:
    """The numbers that define the theorem's network.

    Attributes:
        matrix: A, shape (m, N), in double precision; its entries are taken exactly.
        weights: The N positive weights.
        lam: :math:`\\lambda`.
        norm: The bound of :math:`\\|A\\|`.
        scales: The scale :math:`c_k` of each restart.
        inner: The number p of iterations of a restart.
    """

    matrix: Tensor
    weights: tuple[Fraction, ...]
    lam: Fraction
    norm: Fraction
    scales: tuple[Fraction, ...]
    inner: int

    @property
    def step(self) -> Fraction:
        """The steps :math:`\\tau=\\sigma=1/\\|A\\|` of all restarts."""
        return 1 / self.norm

    @property
    def threshold(self) -> Fraction:
        """The threshold :math:`\\tau\\lambda` of all restarts."""
        return self.step * self.lam

    def layers(self) -> Iterator[Layer]:
        """Yields the 3np + 1 layers."""
        m, n = self.matrix.shape
        start: Layout = {"x": n, "sum": n, "dual": m}
        squared: Layout = {"x": n, "sum": n, "dual": m, "copy": m}
        gated: Layout = {"size": 1, "dual": m, "x": n, "sum": n}
        ahead = Row((Term("dual"), Term("x", 2 * self.step, "forward", weighted=True)))
        point = Term("x", weighted=True)
        second = {"x": Row((point,)), "sum": Row((Term("sum"), point)), "dual": ahead, "copy": ahead}
        third = {"size": Row((Term("copy", operator="sum"),)), **{part: Row((Term(part),)) for part in start}}
        squares, gate = BlockMap(start, squared, second), BlockMap(squared, gated, third)
        inside = BlockMap(gated, start, self._first(Term("x"), Term("sum"), Term("dual")))
        skips = [-self.step / scale for scale in self.scales]
        first = BlockMap({"y": m}, start, {"x": Row(()), "sum": Row(()), "dual": Row((Term("y", skips[0]),))})
        yield from _iteration(Layer(first, Fraction(0), "threshold"), squares, gate)
        # The restarts: the first is above, the others continue from the average of the one before.
        begins = [Term("sum", scale / (following * self.inner)) for scale, following in pairwise(self.scales)]
        for k, skip in enumerate(skips):
            if k:
                restart = BlockMap(gated, start, self._first(begins[k - 1], None, None))
                yield from _iteration(Layer(restart, skip, "threshold"), squares, gate)
            for _ in range(self.inner - 1):
                yield from _iteration(Layer(inside, skip, "threshold"), squares, gate)
        average = {"x": Row((Term("sum", self.scales[-1] / self.inner),))}
        yield Layer(BlockMap(gated, {"x": n}, average), Fraction(0), None)

    def _first(self, x: Term, total: Term | None, dual: Term | None) -> dict[str, Row]:
        """Returns the first map of an iteration from a point x, a sum, and a dual point (None: zero)."""
        back = () if dual is None else (Term(dual.source, -self.step, "adjoint"),)
        kept = () if dual is None else (dual,)
        forward = Term(x.source, -self.step * x.factor, "forward")
        sums = () if total is None else (total,)
        return {"x": Row((x, *back), divided=True), "sum": Row(sums), "dual": Row((*kept, forward))}


def _iteration(first: Layer, squares: BlockMap, gate: BlockMap) -> Iterator[Layer]:
    yield first
    yield Layer(squares, Fraction(0), "squares")
    yield Layer(gate, Fraction(0), "gate")


def recipe_of(net: Firenet) -> Recipe:
    """Returns the numbers that define a network.

    Raises:
        BadInput: For a network that is not of the theorem's class, or is too large for dense matrices.
    """
    if net.form != "synthesis" or not isinstance(net.fidelity, Norm):
        got = f"{type(net.fidelity).__name__}, {net.form} form"
        do = 'Use Firenet(form="synthesis") with neither noise nor fidelity'
        raise BadInput("A network for (P3) in synthesis form, as the theorem has it", got, do)
    if net.iterate != "average":
        do = 'Use Firenet(iterate="average"): the theorem is about the average'
        raise BadInput("A network that returns the average", f"iterate={net.iterate!r}", do)
    norm = Fraction(net.operator.norm_bound.value or 1.0)
    scales, inner = _scales(net, norm)
    n, m = math.prod(net.operator.in_shape), net.operator.samples
    if n + m > LIMIT:
        do = "Use the Firenet itself, which applies its operators without matrices"
        raise BadInput(f"At most {LIMIT} coefficients and measurements together, for dense matrices", f"{n + m}", do)
    weights = torch.ones(()) if net.weights is None else net.weights.detach()
    w = tuple(map(Fraction, doubled(weights.cpu()).expand(net.operator.in_shape).flatten().tolist()))
    return Recipe(_dense(net.operator), w, Fraction(net.lam), norm, scales, inner)


def _scales(net: Firenet, norm: Fraction) -> tuple[tuple[Fraction, ...], int]:
    """Returns the scale of each restart and the number of iterations of a restart."""
    schedule = net.schedule
    if isinstance(schedule, PaperSchedule) and schedule.size is not None:
        epsilon, nu, scales = Fraction(schedule.size), Fraction(schedule.nu), []
        for _ in range(schedule.outer):
            epsilon = nu * (Fraction(schedule.delta) + epsilon)
            scales.append(schedule.inner * epsilon / (2 * norm))
        return tuple(scales), schedule.inner
    if isinstance(schedule, FixedSteps) and schedule.omega is not None:
        return (Fraction(schedule.omega),), schedule.count
    why = {
        PaperSchedule: "steps that depend on the norm of y: another network for each y",
        FixedSteps: "a step that depends on the norm of y: another network for each y",
    }.get(type(schedule), "steps that may be relaxed or keep the dual point, which need a wider state")
    do = "Use PaperSchedule(size=...) with a bound of the norms, or FixedSteps(omega=...)"
    raise BadInput("Steps that are the same for all y, and a dual point that restarts at zero", f"{why}", do)


def _dense(operator: LinearOperator) -> Tensor:
    """Returns the matrix of an operator from its coefficients to its measured entries, in double precision."""
    if isinstance(operator, Matrix):
        return doubled(operator.matrix.detach()).cpu()
    rows = operator.as_matrix(torch.complex128).detach().mT.reshape(-1, *operator.out_shape)
    matrix = operator.compact().pack_measured(rows).flatten(1).mT.cpu()
    return matrix if bool(matrix.imag.any()) else matrix.real.contiguous()

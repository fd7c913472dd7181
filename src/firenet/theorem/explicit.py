"""The theorem's network written out: a list of affine maps as dense matrices, and three nonlinear maps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import final

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.numerics import tensor_of
from firenet.operators.linear import LinearOperator
from firenet.theorem.maps import BlockMap, Kind, Layer, Layout, Recipe, Term, recipe_of


@dataclass(frozen=True, eq=False)
class Affine:
    """The affine map :math:`V(h)=Wh+Ry+c` of a state h and the measurements y.

    Attributes:
        W: Matrix, shape (width after, width before).
        R: Matrix of the skip connection, shape (width after, m).
        c: Vector; it is zero in all layers of this network.
    """

    W: Tensor
    R: Tensor
    c: Tensor

    def __call__(self, h: Tensor, y: Tensor) -> Tensor:
        """Computes the map for rows h of states and y of measurements."""
        return _product(self.W, h) + _product(self.R, y) + self.c


@dataclass(frozen=True)
class Nonlinearity:
    """One of the three nonlinear maps. It changes the entries ``first`` to ``last - 1``; the gate also changes entry 0.

    * ``threshold``: :math:`t\\mapsto\\max\\{0,1-s/|t|\\}\\,t`, entry by entry.
    * ``squares``: :math:`t\\mapsto|t|^2`, entry by entry.
    * ``gate``: :math:`(t_0,X,Y)\\mapsto(0,f(t_0)X,Y)` with :math:`f(t)=\\min\\{1,1/\\sqrt t\\}`, f(0) = 1.

    Attributes:
        kind: Which one.
        first: The first of these entries.
        last: The entry after the last of them.
        threshold: s, for the threshold.
    """

    kind: Kind
    first: int
    last: int
    threshold: float | None = None

    def __call__(self, h: Tensor) -> Tensor:
        """Computes the map for rows h of states."""
        before, part, after = h[..., : self.first], h[..., self.first : self.last], h[..., self.last :]
        if self.kind == "threshold":
            assert self.threshold is not None
            size = part.abs()
            part = torch.where(size > self.threshold, 1 - self.threshold / size.clamp(min=self.threshold), 0.0) * part
        elif self.kind == "squares":
            part = part.abs().square().to(h.dtype)
        else:
            size = before.real  # the sum of the squares, the only entry before the gated ones
            before, part = torch.zeros_like(before), size.clamp(min=1).rsqrt() * part
        return torch.cat([before, part, after], dim=-1)


@dataclass(frozen=True, eq=False)
class Block:
    """A layer: an affine map, and the nonlinear map that follows it (None in the last layer)."""

    affine: Affine
    nonlinearity: Nonlinearity | None


@final
@dataclass(frozen=True, eq=False)
class ExplicitNetwork:
    """A feed-forward network :math:`y\\mapsto V_T(\\rho_{T-1}(\\cdots\\rho_1(V_1(y))))` with
    :math:`V_j(h)=W_jh+R_jy+c_j`, as a list of layers.

    It computes coefficients. For a network with a transform W the image is W* of them. A guarantee of the network that
    was written out holds for measurements whose norm is at most the ``size`` of its schedule; the list of layers does
    not check the norm.

    Attributes:
        operator: The operator A, from coefficients to measurements.
        blocks: The layers; those with the same matrices share them.
    """

    operator: LinearOperator
    blocks: tuple[Block, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths :math:`(m,\\,2N+m,\\,2(N+m),\\,2N+m+1,\\dots,N)`: that of the input, and that after each affine
        map."""
        return (self.blocks[0].affine.W.shape[1], *(len(block.affine.W) for block in self.blocks))

    @property
    def nonlinearities(self) -> tuple[Nonlinearity, ...]:
        """The distinct nonlinear maps, in the order of their first use."""
        return tuple(dict.fromkeys(b.nonlinearity for b in self.blocks if b.nonlinearity is not None))

    @property
    def matrices(self) -> tuple[Tensor, ...]:
        """The distinct matrices W and R, each of which is stored once."""
        kept = {id(matrix): matrix for block in self.blocks for matrix in (block.affine.W, block.affine.R)}
        return tuple(kept.values())

    @property
    def parameters(self) -> int:
        """The number of entries of all :math:`W_j`, :math:`R_j` and :math:`c_j`, zeros and repetitions included."""
        return sum(t.numel() for b in self.blocks for t in (b.affine.W, b.affine.R, b.affine.c))

    def __call__(self, y: Tensor | ArrayLike) -> Tensor:
        """Computes coefficients from measurements, see :meth:`forward`."""
        return self.forward(y)

    def forward(self, y: Tensor | ArrayLike) -> Tensor:
        """Computes coefficients (..., \\*operator.in_shape) from measurements (..., \\*operator.out_shape), layer by
        layer as they are written, in double precision.

        Raises:
            BadInput: For measurements of another shape.
        """
        y, shape = tensor_of(y, "measurements"), self.operator.out_shape
        batch = y.shape[: y.ndim - len(shape)]
        if y.ndim < len(shape) or tuple(y.shape[len(batch) :]) != shape:
            raise BadInput(f"Measurements with trailing shape {shape}", f"shape {tuple(y.shape)}", "Check their axes")
        complex_too = y.is_complex() or self.blocks[0].affine.R.is_complex()
        y = y.to(torch.complex128 if complex_too else torch.float64)
        y = self.operator.compact().pack_measured(y.reshape(-1, *shape)).flatten(1)
        h = y
        for block in self.blocks:
            h = block.affine(h, y)
            if block.nonlinearity is not None:
                h = block.nonlinearity(h)
        return h.view(*batch, *self.operator.in_shape)


def layers(net: Firenet) -> ExplicitNetwork:
    """Writes a network out as the theorem defines it: the list of its affine maps and nonlinear maps.

    For N coefficients, m measurements, n restarts and p iterations in each there are T = 3np + 1 affine maps of widths
    :math:`(m,\\,2N+m,\\,2(N+m),\\,2N+m+1,\\dots,N)` and three distinct nonlinear maps; :mod:`firenet.theorem.maps` has
    the formulas. The result equals ``net`` up to rounding.

    Args:
        net: A network for (P3) in synthesis form that returns the average, with ``PaperSchedule(size=...)`` or
            ``FixedSteps(omega=...)``. N + m may be 1024 at most, since the matrices are dense.

    Raises:
        BadInput: For another problem or form, or a network that does not return the average; for steps that depend on
            y (there is no such list for all y); for frozen and searching schedules, whose relaxed layers and kept dual
            points need a wider state; and for larger operators.
    """
    recipe = recipe_of(net)
    m, n = recipe.matrix.shape
    threshold = Nonlinearity("threshold", 0, n, float(recipe.threshold))
    squares, gate = Nonlinearity("squares", 2 * n + m, 2 * (n + m)), Nonlinearity("gate", 1, m + 1)
    kinds = {"threshold": threshold, "squares": squares, "gate": gate, None: None}
    matrix = cache(lambda table: _matrix(table, recipe))
    skip = cache(lambda width, factor: _skip(width, factor, recipe))

    @cache
    def block(layer: Layer) -> Block:
        W = matrix(layer.map)
        R = skip(len(W), layer.skip)
        return Block(Affine(W, R, W.new_zeros(len(W))), kinds[layer.nonlinearity])

    return ExplicitNetwork(net.operator, tuple(map(block, recipe.layers())))


def _matrix(table: BlockMap, recipe: Recipe) -> Tensor:
    """Returns the dense matrix of a table."""
    at, to = _slices(table.inputs), _slices(table.outputs)
    matrix = recipe.matrix.new_zeros(sum(table.outputs.values()), sum(table.inputs.values()))
    weights = torch.tensor([float(w) for w in recipe.weights], dtype=torch.float64)
    for part, row in table.rows.items():
        for term in row.terms:
            block = float(term.factor) * _operator(term, recipe)
            block = block * weights if term.weighted else block
            matrix[to[part], at[term.source]] += block / weights[:, None] if row.divided else block
    return matrix


def _operator(term: Term, recipe: Recipe) -> Tensor:
    """Returns the matrix of a term without its factor and weights."""
    m, n = recipe.matrix.shape
    if term.operator == "identity":
        return torch.eye(n if term.source in ("x", "sum") else m, dtype=torch.float64)
    if term.operator == "sum":
        return torch.ones(1, m, dtype=torch.float64)
    return recipe.matrix if term.operator == "forward" else recipe.matrix.mH


def _skip(width: int, factor: Fraction, recipe: Recipe) -> Tensor:
    """Returns the matrix R: zero, or ``factor`` times the identity from y to the dual point, the last part of the
    state."""
    m = len(recipe.matrix)
    matrix = recipe.matrix.new_zeros(width, m)
    if factor:
        matrix[width - m :] = float(factor) * torch.eye(m, dtype=matrix.dtype)
    return matrix


def _slices(layout: Layout) -> dict[str, slice]:
    """Returns where each part of a state is."""
    found, end = dict[str, slice](), 0
    for part, width in layout.items():
        found[part] = slice(end, end + width)
        end += width
    return found


def _product(matrix: Tensor, rows: Tensor) -> Tensor:
    """Computes the matrix times each row."""
    if rows.is_complex() and not matrix.is_complex():
        return torch.complex(rows.real @ matrix.mT, rows.imag @ matrix.mT)
    return rows @ matrix.mT

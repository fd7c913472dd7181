"""The plan of a network: its size, its numbers and its error bound, known before any data.

The theorem is that of Colbrook, Antun and Hansen (PNAS 2022) on the recovery of signals that are sparse in levels, with
the constants of this library's proof. It says which lambda, weights and steps to take, how many layers are needed, and
how far the network's result is from the signal at most. A plan has all of this for a concrete operator, with everything
that it assumes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from firenet.errors import BadInput
from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.operators.check import conditions
from firenet.operators.linear import LinearOperator


@dataclass(frozen=True)
class ErrorParts:
    """The three parts of an error bound, in the unit of x.

    The symbols are those of :class:`.Plan`, and c(x, y) is :meth:`.Guarantee.misfit`.

    Attributes:
        model: The part of the sparsity defect and of an approximate operator:
            :math:`\\frac{C_2}{1-\\nu}(2\\lambda\\sigma_{s,M}(x)_{l^1_w}+2\\eta b_1)`. No depth removes it.
        noise: The part of the noise, :math:`\\frac{2C_2}{1-\\nu}\\|Ax-y\\|_2`. No depth removes it.
        depth: The rest, which the number of layers and the schedule's delta decide:
            :math:`C_2\\big(\\nu^n\\varepsilon_0+\\frac\\nu{1-\\nu}(\\delta-c(x,y))\\big)`.
    """

    model: float
    noise: float
    depth: float

    @property
    def bound(self) -> float:
        """The sum of the parts: the bound of :math:`\\|\\psi_n-x\\|_2` for the network's result :math:`\\psi_n`."""
        return math.fsum((self.model, self.noise, self.depth))


@dataclass(frozen=True, eq=False)
class Plan:
    """The theorem's network for an operator and a class of signals, in numbers; :func:`plan` computes it.

    The theorem is that of Colbrook, Antun and Hansen (PNAS 2022), with the constants of :class:`.Constants`.
    N is the number of coefficients, m that of the measurements that are made, n that of the restarts and p that of the
    layers of a restart; :math:`\\psi_n` is the network's result. A layer is one iteration of the primal-dual method; in
    the theorem's class of networks it is three affine maps, each followed by a nonlinear one.

    Attributes:
        guarantee: The operator with its levels, weights and constants.
        accuracy: The largest allowed ``error.depth``, in the unit of x.
        signal: :math:`b_1\\ge\\|x\\|_2`.
        noise: A bound of :math:`\\|Ax-y\\|_2`, in the unit of y.
        sparsity_defect: A bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`, in the unit of x.
        model_error: :math:`\\eta b_1`, in the unit of y, for a network built from an approximation :math:`A_l` of A
            with :math:`\\|A_l-A\\|\\le\\eta`.
        nu: :math:`\\nu`, the factor of :class:`.PaperSchedule`.
        lam: :math:`\\lambda`.
        delta: :math:`\\delta` of :class:`.PaperSchedule`, in the unit of y.
        size: :math:`\\varepsilon_0=b_2\\ge\\|y\\|_2`: the network is the same for all these y.
        second: The constant :math:`C_2` for this lambda, on which depth and error depend.
        outer: n.
        inner: :math:`p=\\lceil2C_2\\|A\\|/\\nu\\rceil`.
    """

    guarantee: Guarantee
    accuracy: float
    signal: float
    noise: float
    sparsity_defect: float
    model_error: float
    nu: float
    lam: float
    delta: float
    size: float
    second: float
    outer: int
    inner: int

    @property
    def coefficients(self) -> int:
        """The number N of coefficients."""
        return math.prod(self.guarantee.operator.in_shape)

    @property
    def measurements(self) -> int:
        """The number m of measurements that are made."""
        return self.guarantee.operator.samples

    @property
    def layers(self) -> int:
        """The number np of layers."""
        return self.outer * self.inner

    @property
    def affine_maps(self) -> int:
        """The number of affine maps of the theorem's network, 3np + 1."""
        return 3 * self.layers + 1

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths :math:`(m,\\,2N+m,\\,2(N+m),\\,2N+m+1,\\dots,N)`: of the input and after each affine map."""
        m, n = self.measurements, self.coefficients
        return (m, *(2 * n + m, 2 * (n + m), 2 * n + m + 1) * self.layers, n)

    @property
    def parameters(self) -> int:
        """The number of entries of the network's matrices, written out as dense ones, each stored once.

        These are the matrices of the network's first affine map and of its last one; of the second and the third map of
        a layer, which all layers share; of the first map of a layer inside a restart (if p > 1); of the first map of
        each restart but the first; and of the skip connections from y, one for each restart (for the first one only if
        p > 1). Their zeros count; vectors, and skip matrices of nothing but zeros, are not stored.
        """
        m, n = self.measurements, self.coefficients
        state = 2 * n + m
        inside = 1 if self.inner > 1 else 0
        firsts = state * m + (inside + self.outer - 1) * state * (state + 1)
        others = 2 * (n + m) * state + (state + 1) * 2 * (n + m) + n * (state + 1)
        return firsts + others + (self.outer - 1 + inside) * state * m

    @property
    def dense_bytes(self) -> int:
        """The bytes of ``parameters`` in double precision, 8 each for a real operator and 16 for a complex one."""
        return (16 if self._complex else 8) * self.parameters

    @property
    def operator_bytes(self) -> int:
        """The bytes that the network of this library stores: the buffers of its operators and the weights in double
        precision."""
        buffers = {id(b): b.numel() * b.element_size() for b in self.guarantee.operator.buffers()}
        return sum(buffers.values()) + 8 * self.coefficients

    @property
    def _complex(self) -> bool:
        return self.guarantee.operator.state_dtype(torch.float64).is_complex

    @property
    def error(self) -> ErrorParts:
        """The parts of the bound of :math:`\\|\\psi_n-x\\|_2`, which also bounds the image's error if W*W = I."""
        g, sure = self.guarantee, self.second / (1 - self.nu)
        c = g.misfit(self.sparsity_defect, self.noise, lam=self.lam, model_error=self.model_error)
        return ErrorParts(
            model=sure * (2 * self.lam * self.sparsity_defect + 2 * self.model_error),
            noise=sure * 2 * self.noise,
            depth=self.second * (self.nu**self.outer * self.size + self.nu / (1 - self.nu) * (self.delta - c)),
        )

    @property
    def bound(self) -> float:
        """The bound of :math:`\\|\\psi_n-x\\|_2`, the error of the network's result, in the unit of x."""
        return self.error.bound

    @property
    def ratio(self) -> float:
        """The error bound divided by :math:`b_1`, the bound of the signal's norm."""
        return self.bound / self.signal

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing: the zero image is within :math:`b_1` of the signal, too."""
        return self.ratio >= 1

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is not proved about the operator, as texts; empty if everything is proved."""
        assumed = () if self.guarantee.constants.source == "verified" else (self.guarantee.constants.assumption,)
        return (*assumed, *self._of_operators)

    @property
    def _of_operators(self) -> tuple[str, ...]:
        """The conditions of operators that are not this library's own."""
        assert isinstance(self.guarantee.sensing, LinearOperator)
        return conditions(self.guarantee.sensing, self.guarantee.sparsify)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """All that the bound rests on, as texts: the operator, the signal, the data, the arithmetic."""
        g, norm = self.guarantee, self.guarantee.operator.norm_bound
        own = (
            g.constants.assumption,
            *self._of_operators,
            f"||A|| <= {norm.value:.6g}, {norm.kind}: {norm.why}",
            f"the signal's norm is at most {self.signal:.6g}, and its weighted sparsity defect at most "
            f"{self.sparsity_defect:.6g}",
            f"||Ax - y|| <= {self.noise:.6g} and ||y|| <= {self.size:.6g}",
            "the arithmetic is exact: rounding is not counted",
        )
        approximate = f"||A_l - A|| <= {self.model_error / self.signal:.3g} for the A_l of the network"
        if g.constants.exact:  # the error bound is that of the matrix whose null space property is used
            approximate += ", and it is A_l that has the null space property"
        return (*own, *([approximate] if self.model_error or not g.constants.exact else []))

    @property
    def summary(self) -> str:
        """The plan in one sentence."""
        verified = self.guarantee.constants.source == "verified"
        says = f"error at most {self.bound:.3g}, {100 * self.ratio:.3g} % of the signal"
        if self.vacuous:
            says = f"vacuous error bound {self.bound:.3g}, {self.ratio:.3g} times the signal"
        assumed = [] if verified else ["null space property"]
        assumed += [] if self.sparsity_defect else ["signal exactly sparse"]
        assumed += [] if self.noise else ["no noise"]
        rests = ["null space property verified"] if verified else []
        rests += [f"assumed: {', '.join(assumed)}"] if assumed else []
        return "; ".join([f"{self.layers} layers, {says}", *rests])

    def record(self) -> dict[str, Any]:
        """Returns the plan as plain data for JSON."""
        g, c, error = self.guarantee, self.guarantee.constants, self.error
        norm, m, n = g.operator.norm_bound, self.measurements, self.coefficients
        return {
            "operator": {
                "sensing": type(g.sensing).__name__,
                "sparsify": None if g.sparsify is None else type(g.sparsify).__name__,
                "coefficients": n,
                "measurements": m,
                "complex": self._complex,
                "norm": {"bound": norm.value, "kind": norm.kind, "why": norm.why},
            },
            "null_space_property": {"rho": c.rho, "gamma": c.gamma, "exact": c.exact, "source": c.source},
            "levels": {
                "sizes": list(c.levels.sizes),
                "sparsities": list(c.levels.sparsities),
                "weights": c.level_weights,
            },
            "constants": {"xi": c.xi, "zeta": c.zeta, "kappa": c.kappa, "C1": c.at(self.lam)[0], "C2": self.second},
            "bounds": {
                "signal": self.signal,
                "noise": self.noise,
                "sparsity_defect": self.sparsity_defect,
                "model_error": self.model_error,
                "accuracy": self.accuracy,
            },
            "network": {
                "lam": self.lam,
                "nu": self.nu,
                "delta": self.delta,
                "epsilon_0": self.size,
                "restarts": self.outer,
                "layers_per_restart": self.inner,
                "layers": self.layers,
                "affine_maps": self.affine_maps,
                "widths": {"input": m, "repeated": [2 * n + m, 2 * (n + m), 2 * n + m + 1], "output": n},
                "parameters": self.parameters,
                "dense_bytes": self.dense_bytes,
                "operator_bytes": self.operator_bytes,
            },
            "error": {**asdict(error), "bound": self.bound, "ratio": self.ratio, "vacuous": self.vacuous},
            "conditions": list(self.conditions),
            "assumptions": list(self.assumptions),
        }


def plan(
    guarantee: Guarantee,
    *,
    accuracy: float,
    noise: float,
    sparsity_defect: float,
    signal: float,
    measurements: float | None = None,
    nu: float = math.exp(-1),
    lam: float | None = None,
    delta: float | None = None,
    model_error: float = 0.0,
) -> Plan:
    """Plans the network of the theorem of Colbrook, Antun and Hansen (PNAS 2022): the fewest restarts after which the
    part of the error that depends on depth is at most ``accuracy``.

    Args:
        guarantee: The operator with its levels, weights and constants.
        accuracy: The largest allowed ``error.depth``, in the unit of x. The parts of model and noise come on top.
        noise: A bound of :math:`\\|Ax-y\\|_2`, in the unit of y.
        sparsity_defect: A bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`, which :func:`.sparsity.defect` computes.
        signal: The bound :math:`b_1` of :math:`\\|x\\|_2`.
        measurements: The bound :math:`b_2` of :math:`\\|y\\|_2`; None is the one that follows from the other bounds,
            :math:`\\|A\\|b_1` + model_error + noise.
        nu: :math:`\\nu`, the factor of :class:`.PaperSchedule`; :math:`e^{-1}` needs the fewest layers.
        lam: :math:`\\lambda`; None is the theorem's choice, for which the constant :math:`C_2` is smallest.
        delta: The delta of :class:`.PaperSchedule`, at least c(x, y), which is :meth:`.Guarantee.misfit`; None is
            c(x, y). The schedule needs a positive delta: where c(x, y) is zero, None is the delta whose part of the
            error is half of ``accuracy``.
        model_error: :math:`\\eta b_1` for a network built from an approximation :math:`A_l` of A with
            :math:`\\|A_l-A\\|\\le\\eta`.

    Raises:
        BadInput: For numbers out of range, a delta below c(x, y) or too large for the accuracy, and an approximation
            too coarse to inherit the null space property.

    >>> from firenet.sparsity import SparsityLevels
    >>> g = Guarantee([[2.0, 0.0], [0.0, 2.0]], Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=0.5))
    >>> made = plan(g, accuracy=1e-3, noise=0, sparsity_defect=0, signal=2.5)
    >>> made.layers, made.affine_maps, made.bound <= 1e-3
    (396, 1189, True)
    """
    for name, number in (("accuracy", accuracy), ("signal", signal)):
        if not 0 < number < math.inf:
            raise BadInput(f"{name} > 0, finite", f"{number}", "Give a norm in the unit of the signal")
    c = guarantee.misfit(sparsity_defect, noise, lam=lam, model_error=model_error)
    if not guarantee.constants.exact:
        _check_approximation(guarantee.constants, model_error / signal)
    size = guarantee.norm * signal + model_error + noise if measurements is None else measurements
    if not 0 < size < math.inf:
        raise BadInput("A bound of the measurements' norms above 0, finite", f"{size}", "Leave measurements out")
    inner, second = guarantee.inner(nu, lam=lam), guarantee.constants.at(lam)[1]
    weight = second * nu / (1 - nu)  # of delta in the error
    if delta is None:
        delta = c or accuracy / (2 * weight)
    if not c <= delta < math.inf:
        raise BadInput(f"A delta of at least c(x, y) = {c:.6g}", f"{delta}", "Raise delta, or assume less noise")
    left = accuracy - weight * (delta - c)
    if not left > 0 or not delta > 0:
        most = c + accuracy / weight
        raise BadInput(f"A delta above 0 and below {most:.6g}", f"{delta}", "Leave delta out, or ask for less accuracy")
    return Plan(
        guarantee,
        accuracy=accuracy,
        signal=signal,
        noise=noise,
        sparsity_defect=sparsity_defect,
        model_error=model_error,
        nu=nu,
        lam=guarantee.constants.lam if lam is None else lam,
        delta=delta,
        size=size,
        second=second,
        outer=guarantee.outer(left, size, nu, lam=lam),
        inner=inner,
    )


def _check_approximation(constants: Constants, eta: float) -> None:
    """Raises BadInput unless the null space property of A passes over, with the constants of ``exact=False``, to every
    matrix within eta of A.

    That is so for :math:`\\gamma\\eta\\le\\frac12` and
    :math:`\\gamma\\eta\\big(\\frac{1+\\rho}2+\\sqrt\\xi/\\min_kw_{(k)}\\big)\\le\\frac{1-\\rho}2`.
    """
    rho, gamma = constants.rho, constants.gamma
    factor = (1 + rho) / 2 + math.sqrt(constants.xi) / min(constants.level_weights)
    most = min(1 / 2, (1 - rho) / (2 * factor)) / gamma
    if eta > most:
        needed = f"An approximation of A within {most:.4g}, so that it has the null space property, too"
        raise BadInput(needed, f"one within {eta:.4g} (model_error / signal)", "Approximate A more closely")

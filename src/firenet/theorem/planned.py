"""The network of a plan: one feed-forward network for all measurements within its bound."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from firenet.errors import BadInput
from firenet.guarantees.planning import Plan
from firenet.network import Firenet
from firenet.numerics import tensor_of
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.solver.schedules import PaperSchedule
from firenet.transforms.analysis_operator import AnalysisOperator


def schedule(plan: Plan) -> PaperSchedule:
    """Returns the schedule of a plan: the schedule of the paper whose first accuracy is, for all measurements,
    ``plan.size``, the plan's bound of their norms."""
    return PaperSchedule(plan.outer, plan.inner, plan.delta, plan.nu, plan.size)


def network(
    plan: Plan, sensing: LinearOperator | ArrayLike | None = None, sparsify: AnalysisOperator | None = None
) -> Firenet:
    """Builds the theorem's network of a plan: problem (P3) in synthesis form with the plan's weights and lambda, and
    the schedule of the paper with the same steps for all measurements (:func:`schedule`).

    Under the plan's ``conditions``, and in exact arithmetic: for all images x and measurements y within the plan's
    bounds, the network's coefficients are within ``plan.bound`` of those of x, and its image is within ``plan.bound``
    of x. Measurements with a norm above ``plan.size`` raise
    BadInput, since nothing is known about them.

    Args:
        plan: The plan.
        sensing: The measurement operator, or a matrix; None is the plan's own. Another object must be the same map.
        sparsify: The analysis operator, given together with ``sensing``.

    Raises:
        BadInput: For operators that are not those of the plan, or whose norm bound is an estimate or needs more layers
            than planned.

    >>> from firenet.guarantees import Constants, Guarantee, plan
    >>> from firenet.sparsity import SparsityLevels
    >>> g = Guarantee([[2.0, 0.0], [0.0, 2.0]], Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=0.5))
    >>> net = network(plan(g, accuracy=1e-3, noise=0, sparsity_defect=0, signal=2.5))
    >>> net([0.0, 4.0]).round(decimals=3).tolist()
    [0.0, 2.0]
    """
    guarantee = plan.guarantee
    if sensing is None:
        if sparsify is not None:
            raise BadInput("sensing together with sparsify", "sparsify alone", "Give both, or none: the plan has them")
        sensing, sparsify = guarantee.sensing, guarantee.sparsify
    if not isinstance(sensing, LinearOperator):
        sensing = Matrix(tensor_of(sensing, "a matrix"))
    operator, weights = sensing if sparsify is None else sensing @ sparsify.H, torch.from_numpy(guarantee.weights)
    guarantee.check(operator, weights)
    net = Firenet(sensing, sparsify, weights=weights, lam=plan.lam, schedule=schedule(plan), form="synthesis")
    norm = net.operator.norm_bound
    least = 2 * plan.second * norm.value / plan.nu  # p for this bound
    if norm.kind == "estimate" or plan.inner < least * (1 - 1e-12):
        needed = f"A proven norm bound of at most {plan.inner * plan.nu / (2 * plan.second):.6g}, as the plan has"
        raise BadInput(needed, f"{norm.value:.6g}, {norm.kind}: {norm.why}", "Plan with this operator")
    return net


def steps(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the steps :math:`\\tau_k` and :math:`\\sigma_k` of the restarts of a plan's network. Together with the
    operator, the weights, lambda and p they determine the network.

    >>> from firenet.guarantees import Constants, Guarantee, plan
    >>> from firenet.sparsity import SparsityLevels
    >>> g = Guarantee([[2.0, 0.0], [0.0, 2.0]], Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=0.5))
    >>> tau, sigma = steps(plan(g, accuracy=1e-3, noise=0, sparsity_defect=0, signal=2.5))
    >>> len(tau), bool((tau * sigma * g.norm**2 <= 1 + 1e-15).all())
    (11, True)
    """
    size = torch.tensor([plan.size], dtype=torch.float64)
    runs = list(schedule(plan).restarts(plan.guarantee.operator.norm_bound, size))
    return np.array([run.tau.item() for run in runs]), np.array([run.sigma.item() for run in runs])

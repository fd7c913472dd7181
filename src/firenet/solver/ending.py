"""The end of a solve: points and proofs of a batch, and the status that the proof of each image justifies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from firenet.numerics import norms
from firenet.problems.fidelity import Ball
from firenet.problems.gap import Proof, working_floor
from firenet.problems.problem import Problem
from firenet.solver.least_squares import least_squares
from firenet.solver.schedules import FixedSchedule, Searched
from firenet.solver.solution import Status


@dataclass(frozen=True, eq=False)
class Ended:
    """The result of an iteration for a batch.

    Attributes:
        z: The points, in the user's coordinates, with one batch axis.
        dual: The packed dual variables.
        proof: The proof of the gap, from ``z`` and ``dual``.
        layers: The number of layers of each image, int64.
        verdicts: The status of each image according to the iteration, before the proof is considered.
        schedule: The schedule; for a searching schedule the runs that it chose.
    """

    z: Tensor
    dual: Tensor
    proof: Proof
    layers: Tensor
    verdicts: list[Status]
    schedule: FixedSchedule | Searched


def with_infeasibility(problem: Problem, y: Tensor, z: Tensor, proof: Proof, allowed: Tensor) -> Proof:
    """Returns the proof with ``infeasible`` set; for (P1) it follows from the solution of the least-squares problem.

    If the image x of the smallest residual does not fit the data either, its residual is a dual ray, which shows that
    only a huge image can fit. Data are reported as infeasible if every image that fits them is proved to have a penalty
    above 1e6 times that of x and that of z.

    Args:
        problem: The problem in packed coordinates.
        y: Packed measurements.
        z: The points, in the user's coordinates.
        proof: Their proof.
        allowed: The relative violations up to which a point counts as fitting the data.
    """
    beyond, operator = proof.relative_violation > allowed, problem.measurement
    if not isinstance(problem.fidelity, Ball) or operator.has_minimum_norm or not bool(beyond.any()):
        return replace(proof, infeasible=torch.zeros_like(proof.infeasible))
    plain = operator.compact()
    nearest, residual = least_squares(plain, operator.precisely(y).reshape(-1, *plain.out_shape))
    ray = problem.dual_of(residual.reshape(y.shape))
    near, here = problem.proof(plain.unpack(nearest), ray, y), problem.proof(z, ray, y)
    proved = near.infeasible & here.infeasible & beyond
    return replace(here.where(proved, proof), infeasible=proved)


def drafts(ended: Ended) -> tuple[Status, ...]:
    """Returns the statuses of images without a proof."""
    return tuple(v if v is Status.NUMERICAL_ERROR else Status.DRAFT for v in ended.verdicts)


def statuses(problem: Problem, y: Tensor, proof: Proof, verdicts: list[Status], asked: Tensor) -> tuple[Status, ...]:
    """Returns the status of each batch item: the proof decides first, then the verdict of the iteration.

    Args:
        problem: The problem in packed coordinates.
        y: Packed measurements.
        proof: The proof.
        verdicts: The verdicts of the iteration.
        asked: The requested tolerances; a negative number where none is requested.
    """
    reached = (proof.reached(asked) & (asked > 0)).tolist()
    misfit = (proof.relative_violation > asked.clamp(min=0)).tolist()
    size = problem.fidelity.unit(proof.objective.abs(), norms(y, y.ndim - 1)).tolist()
    found = []
    for k, verdict in enumerate(verdicts):
        objective, gap = proof.objective[k].item(), proof.gap[k].item()
        # Below a few roundings of the working precision the iteration makes no progress.
        floor = max(8 * working_floor(torch.finfo(y.dtype).eps, objective, size[k]), proof.rounding[k].item())
        if not (objective < math.inf and gap < math.inf):
            found.append(Status.NUMERICAL_ERROR)
        elif bool(proof.contradiction[k]):
            found.append(Status.WRONG_ADJOINT)
        elif reached[k]:
            found.append(Status.TOLERANCE_REACHED)
        elif bool(proof.infeasible[k]):
            found.append(Status.NO_IMAGE_FITS)
        elif misfit[k]:
            found.append(Status.DOES_NOT_FIT)
        elif verdict in (Status.TOLERANCE_REACHED, Status.PRECISION_LIMIT) or gap <= floor:
            found.append(Status.PRECISION_LIMIT)
        else:
            found.append(verdict)
    return tuple(found)

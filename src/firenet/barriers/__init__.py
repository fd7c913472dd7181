"""Exact problems whose solutions no algorithm can compute to K digits from inexact input, and an adversary as proof.

For the well-conditioned problems of :mod:`firenet.barriers.instances` and K > 2, no algorithm computes K correct digits
(:func:`defeat`); K-1 digits can be computed, but no bounded number of data suffices (:func:`outread`); K-2 digits can
be computed from few data (:func:`trial`). All arithmetic is rational and nothing here imports the rest of the project.
A :class:`Program` runs in a process of its own, which sees only its reads and its coins; a Python function runs in this
process and is assumed to be honest.

>>> from firenet.barriers import Problem, algorithms, defeat
>>> defeat(algorithms.exact, Problem("P3", digits=8)).statement
'Wrong: distance 2.828427e-08 > 1e-08 from the minimiser, on an input that agrees with all 1 reads.'
"""

from firenet.barriers import algorithms
from firenet.barriers.adversary import defeat, outread
from firenet.barriers.given import TrainingSet
from firenet.barriers.instances import Instance, Problem
from firenet.barriers.oracle import Oracle
from firenet.barriers.program import Program
from firenet.barriers.trials import Trial, trial
from firenet.barriers.verdicts import Verdict
from firenet.barriers.witness import check

__all__ = ["Instance", "Oracle", "Problem", "Program", "TrainingSet", "Trial", "Verdict"]
__all__ += ["algorithms", "check", "defeat", "outread", "trial"]

"""What no algorithm can compute, executable: exact problems, inexact input, and an adversary that beats any algorithm.

For the well-conditioned problems of :mod:`firenet.barriers.instances` and K > 2 digits: K digits no algorithm can
compute (:func:`defeat`), K-1 only from unboundedly many data (:func:`outread`), K-2 from few (:func:`trial`). All
arithmetic is rational and nothing here imports the rest of the project. A :class:`Program` is played in a process of
its own, which sees its reads and coins alone; a function is played here, and believed to be honest.

>>> from firenet.barriers import Problem, algorithms, defeat
>>> defeat(algorithms.exact, Problem("P3", digits=8)).statement
'Wrong: distance 2.828427e-08 > 1e-08 from the minimiser, on an input that agrees with all 1 reads.'
"""

from firenet.barriers import algorithms
from firenet.barriers.adversary import defeat, outread
from firenet.barriers.given import BadRead, Coins, Sample, TrainingSet
from firenet.barriers.instances import BadProblem, Instance, Minimisers, Problem
from firenet.barriers.oracle import Oracle, consistent
from firenet.barriers.program import BadAlgorithm, Program
from firenet.barriers.trials import Trial, trial
from firenet.barriers.verdicts import Verdict
from firenet.barriers.witness import Refuted, check

__all__ = [
    "BadAlgorithm",
    "BadProblem",
    "BadRead",
    "Coins",
    "Instance",
    "Minimisers",
    "Oracle",
    "Problem",
    "Program",
    "Refuted",
    "Sample",
    "TrainingSet",
    "Trial",
    "Verdict",
    "algorithms",
    "check",
    "consistent",
    "defeat",
    "outread",
    "trial",
]

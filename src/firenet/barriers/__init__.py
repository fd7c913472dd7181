"""What no algorithm can compute, executable: exact problems, inexact input, and an adversary that beats any algorithm.

For the well-conditioned problems of :mod:`firenet.barriers.instances` and K > 2 digits: K digits no algorithm can
compute (:func:`defeat`), K-1 only from unboundedly many data (:func:`outread`), K-2 from few (:func:`trial`). All
arithmetic is rational and nothing here imports the rest of the project.

>>> from firenet.barriers import Problem, algorithms, defeat
>>> defeat(algorithms.exact, Problem("P3", digits=8)).statement
'Wrong: distance 2.828427e-08 > 1e-08 from the minimiser, on an input that agrees with all 1 reads.'
"""

from firenet.barriers import algorithms
from firenet.barriers.adversary import Trial, Verdict, defeat, outread, trial
from firenet.barriers.algorithms import Coins
from firenet.barriers.instances import BadProblem, Instance, Minimisers, Problem
from firenet.barriers.oracle import BadRead, Oracle, Sample, TrainingSet, consistent
from firenet.barriers.witness import Refuted, check

__all__ = [
    "BadProblem",
    "BadRead",
    "Coins",
    "Instance",
    "Minimisers",
    "Oracle",
    "Problem",
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

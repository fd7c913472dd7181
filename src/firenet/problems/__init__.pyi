from firenet.problems.analysis import AnalysisProblem as AnalysisProblem
from firenet.problems.fidelity import (
    Ball as Ball,
    Fidelity as Fidelity,
    Norm as Norm,
    Squared as Squared,
)
from firenet.problems.gap import Proof as Proof
from firenet.problems.penalty import default_lam as default_lam
from firenet.problems.synthesis import SynthesisProblem as SynthesisProblem

from firenet.problems.fidelity import (
    Ball as Ball,
)
from firenet.problems.fidelity import (
    Fidelity as Fidelity,
)
from firenet.problems.fidelity import (
    Norm as Norm,
)
from firenet.problems.fidelity import (
    Squared as Squared,
)
from firenet.problems.gap import Proof as Proof
from firenet.problems.penalty import default_lam as default_lam
from firenet.problems.synthesis import SparseProblem as SparseProblem
from firenet.solver.analysis import AnalysisProblem as AnalysisProblem

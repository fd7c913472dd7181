from firenet.operators.algebra import (
    Adjoint as Adjoint,
    Composition as Composition,
    Weighted as Weighted,
)
from firenet.operators.check import (
    AdjointCheck as AdjointCheck,
    check_adjoint as check_adjoint,
)
from firenet.operators.linear import LinearOperator as LinearOperator
from firenet.operators.matrix import Matrix as Matrix
from firenet.operators.norm import (
    NormReport as NormReport,
    norm_report as norm_report,
)
from firenet.operators.norm_bound import NormBound as NormBound
from firenet.operators.sparse import SparseMatrix as SparseMatrix
from firenet.operators.stack import VerticalStack as VerticalStack

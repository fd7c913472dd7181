from firenet.operators.check import (
    AdjointCheck as AdjointCheck,
)
from firenet.operators.check import (
    check_adjoint as check_adjoint,
)
from firenet.operators.linear import (
    Adjoint as Adjoint,
)
from firenet.operators.linear import (
    Composition as Composition,
)
from firenet.operators.linear import (
    LinearOperator as LinearOperator,
)
from firenet.operators.matrix import Matrix as Matrix
from firenet.operators.norm_bound import NormBound as NormBound
from firenet.operators.stack import VerticalStack as VerticalStack

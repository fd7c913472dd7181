from firenet.guarantees.concrete import matrix_sha256 as matrix_sha256
from firenet.guarantees.constants import Constants as Constants
from firenet.guarantees.guarantee import Guarantee as Guarantee
from firenet.guarantees.null_space import (
    NotDecided as NotDecided,
    NullSpaceProof as NullSpaceProof,
    prove_null_space as prove_null_space,
)
from firenet.guarantees.violation import (
    Violation as Violation,
    largest_refuted_rho as largest_refuted_rho,
    refute_null_space as refute_null_space,
)

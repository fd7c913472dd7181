from firenet.guarantees.constants import Constants as Constants
from firenet.guarantees.distance import Stability as Stability, stability as stability
from firenet.guarantees.guarantee import Guarantee as Guarantee
from firenet.guarantees.null_space import (
    NotDecided as NotDecided,
    NullSpaceProof as NullSpaceProof,
    prove_null_space as prove_null_space,
)
from firenet.guarantees.planning import Plan as Plan, plan as plan
from firenet.guarantees.sampling import band_samples as band_samples
from firenet.guarantees.violation import Violation as Violation, refute_null_space as refute_null_space

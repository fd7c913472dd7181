from firenet.guarantees.concrete import matrix_sha256 as matrix_sha256
from firenet.guarantees.null_space import NotDecided as NotDecided
from firenet.guarantees.null_space import NullSpaceProof as NullSpaceProof
from firenet.guarantees.null_space import prove_null_space as prove_null_space
from firenet.guarantees.violation import Violation as Violation
from firenet.guarantees.violation import refute_null_space as refute_null_space

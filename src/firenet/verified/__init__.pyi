from firenet.verified.proof import Verified as Verified, verify as verify

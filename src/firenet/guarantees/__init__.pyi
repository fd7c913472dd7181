from firenet.guarantees.constants import Constants as Constants
from firenet.guarantees.guarantee import Guarantee as Guarantee
from firenet.guarantees.stability import Bound as Bound, Stability as Stability

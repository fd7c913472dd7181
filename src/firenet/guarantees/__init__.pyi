from firenet.guarantees.constants import Constants as Constants
from firenet.guarantees.guarantee import Guarantee as Guarantee
from firenet.guarantees.planning import (
    ErrorParts as ErrorParts,
    Plan as Plan,
    plan as plan,
)
from firenet.guarantees.sampling import (
    BandSamples as BandSamples,
    Box as Box,
    band_samples as band_samples,
    recalled_logarithms as recalled_logarithms,
)

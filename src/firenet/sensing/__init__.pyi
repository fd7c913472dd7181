from firenet.sensing.fourier import (
    MultiCoilFourier as MultiCoilFourier,
    SubsampledFourier as SubsampledFourier,
)
from firenet.sensing.masks import (
    Mask as Mask,
    lines as lines,
    local_coherences as local_coherences,
    multilevel as multilevel,
    nested as nested,
    variable_density as variable_density,
)
from firenet.sensing.projection import Projection as Projection
from firenet.sensing.walsh import SubsampledWalsh as SubsampledWalsh

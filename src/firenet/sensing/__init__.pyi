from firenet.sensing.density import density_compensation as density_compensation
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
from firenet.sensing.nonuniform import NonuniformFourier as NonuniformFourier
from firenet.sensing.projection import Projection as Projection
from firenet.sensing.trajectories import (
    radial as radial,
    spiral as spiral,
)
from firenet.sensing.walsh import SubsampledWalsh as SubsampledWalsh

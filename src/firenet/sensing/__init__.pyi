from firenet.sensing.fourier import (
    MultiCoilFourier as MultiCoilFourier,
)
from firenet.sensing.fourier import (
    SubsampledFourier as SubsampledFourier,
)
from firenet.sensing.masks import (
    Mask as Mask,
)
from firenet.sensing.masks import (
    lines as lines,
)
from firenet.sensing.masks import (
    local_coherences as local_coherences,
)
from firenet.sensing.masks import (
    multilevel as multilevel,
)
from firenet.sensing.masks import (
    nested as nested,
)
from firenet.sensing.masks import (
    variable_density as variable_density,
)
from firenet.sensing.walsh import SubsampledWalsh as SubsampledWalsh

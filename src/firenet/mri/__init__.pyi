from firenet.mri.choose_lambda import Sweep as Sweep
from firenet.mri.coils import (
    CoilMaps as CoilMaps,
)
from firenet.mri.coils import (
    estimate_maps as estimate_maps,
)
from firenet.mri.kspace import (
    noise_estimate as noise_estimate,
)
from firenet.mri.kspace import (
    prewhiten as prewhiten,
)
from firenet.mri.kspace import (
    remove_oversampling as remove_oversampling,
)
from firenet.mri.reconstruct import (
    certify_image as certify_image,
)
from firenet.mri.reconstruct import (
    zero_filled as zero_filled,
)
from firenet.mri.scan import (
    Prepared as Prepared,
)
from firenet.mri.scan import (
    ScanData as ScanData,
)
from firenet.mri.scan import (
    prepare as prepare,
)
from firenet.mri.scan import (
    prepare_scan as prepare_scan,
)

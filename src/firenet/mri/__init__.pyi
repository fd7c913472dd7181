from firenet.mri.choose_lambda import Sweep as Sweep
from firenet.mri.coils import (
    CoilMaps as CoilMaps,
    estimate_maps as estimate_maps,
)
from firenet.mri.kspace import (
    noise_estimate as noise_estimate,
    prewhiten as prewhiten,
    remove_oversampling as remove_oversampling,
)
from firenet.mri.reconstruct import (
    certify_image as certify_image,
    zero_filled as zero_filled,
)
from firenet.mri.scan import (
    Prepared as Prepared,
    ScanData as ScanData,
    prepare as prepare,
    prepare_scan as prepare_scan,
)

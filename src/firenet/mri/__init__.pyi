from firenet.mri.coils import CoilMaps as CoilMaps, estimate_maps as estimate_maps
from firenet.mri.kspace import prewhiten as prewhiten, remove_oversampling as remove_oversampling
from firenet.mri.noise_level import noise_estimate as noise_estimate
from firenet.mri.reconstruct import reconstruct_kspace as reconstruct_kspace
from firenet.mri.scan import (
    prepare as prepare,
    prepare_scan as prepare_scan,
)

from firenet.interop.astra import from_astra as from_astra
from firenet.interop.deepinv import (
    FirenetReconstructor as FirenetReconstructor,
    to_deepinv as to_deepinv,
)
from firenet.interop.deepinv_physics import from_deepinv as from_deepinv
from firenet.interop.mbirtorch import from_mbirtorch as from_mbirtorch
from firenet.interop.mri_nufft import from_mri_nufft as from_mri_nufft
from firenet.interop.mrpro import (
    from_mrpro as from_mrpro,
    to_mrpro as to_mrpro,
)
from firenet.interop.odl import from_odl as from_odl
from firenet.interop.scipy import (
    from_scipy as from_scipy,
    to_scipy as to_scipy,
)
from firenet.interop.sigpy import from_sigpy as from_sigpy
from firenet.interop.torchkbnufft import from_torchkbnufft as from_torchkbnufft

from firenet.interop.deepinv import (
    FirenetReconstructor as FirenetReconstructor,
    to_deepinv as to_deepinv,
)
from firenet.interop.deepinv_physics import from_deepinv as from_deepinv
from firenet.interop.scipy import (
    from_scipy as from_scipy,
    to_scipy as to_scipy,
)
from firenet.interop.sigpy import from_sigpy as from_sigpy

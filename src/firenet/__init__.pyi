from firenet import (
    audit as audit,
    barriers as barriers,
    export as export,
    guarantees as guarantees,
    io as io,
    models as models,
    mri as mri,
    nets as nets,
    operators as operators,
    problems as problems,
    reconstruction as reconstruction,
    sensing as sensing,
    solver as solver,
    theorem as theorem,
    transforms as transforms,
)
from firenet.audit.model import Model as Model
from firenet.certificate import (
    Certificate as Certificate,
    certify as certify,
)
from firenet.errors import (
    BadInput as BadInput,
    DoubtfulInput as DoubtfulInput,
    MissingExtra as MissingExtra,
    NumericalError as NumericalError,
)
from firenet.metrics import psnr as psnr
from firenet.models.load import load_model as load_model
from firenet.mri.reconstruct import reconstruct_kspace as reconstruct_kspace
from firenet.network import Firenet as Firenet
from firenet.operators.check import check_adjoint as check_adjoint
from firenet.operators.linear import LinearOperator as LinearOperator
from firenet.operators.matrix import Matrix as Matrix
from firenet.reconstruction.choice import choose as choose
from firenet.reconstruction.reconstruct import reconstruct as reconstruct
from firenet.reweighting import reweighted as reweighted
from firenet.scans.reconstruct import reconstruct_scan as reconstruct_scan
from firenet.sensing.fourier import (
    MultiCoilFourier as MultiCoilFourier,
    SubsampledFourier as SubsampledFourier,
)
from firenet.sensing.walsh import SubsampledWalsh as SubsampledWalsh
from firenet.solver.adaptive import AdaptiveRestarts as AdaptiveRestarts
from firenet.solver.schedules import PaperSchedule as PaperSchedule
from firenet.solver.solution import (
    Solution as Solution,
    Status as Status,
)
from firenet.sparsity import SparsityLevels as SparsityLevels
from firenet.stabilised import Stabilised as Stabilised
from firenet.transforms.gradient import Gradient as Gradient
from firenet.transforms.undecimated import UndecimatedWavelet as UndecimatedWavelet
from firenet.transforms.wavelet import Wavelet as Wavelet

__version__: str

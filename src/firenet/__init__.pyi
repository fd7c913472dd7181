from firenet import (
    audit as audit,
)
from firenet import (
    barriers as barriers,
)
from firenet import (
    export as export,
)
from firenet import (
    io as io,
)
from firenet import (
    models as models,
)
from firenet import (
    mri as mri,
)
from firenet import (
    nets as nets,
)
from firenet import (
    operators as operators,
)
from firenet import (
    problems as problems,
)
from firenet import (
    sensing as sensing,
)
from firenet import (
    solver as solver,
)
from firenet import (
    transforms as transforms,
)
from firenet.audit.model import Model as Model
from firenet.certificate import (
    Certificate as Certificate,
)
from firenet.certificate import (
    certify as certify,
)
from firenet.errors import (
    BadInput as BadInput,
)
from firenet.errors import (
    DoubtfulInput as DoubtfulInput,
)
from firenet.errors import (
    MissingExtra as MissingExtra,
)
from firenet.errors import (
    NumericalError as NumericalError,
)
from firenet.export.onnx_file import export_onnx as export_onnx
from firenet.guarantee import Guarantee as Guarantee
from firenet.metrics import psnr as psnr
from firenet.models.load import load_model as load_model
from firenet.mri.choose_lambda import choose_lambda as choose_lambda
from firenet.mri.reconstruct import reconstruct as reconstruct
from firenet.network import Firenet as Firenet
from firenet.operators.check import check_adjoint as check_adjoint
from firenet.operators.linear import LinearOperator as LinearOperator
from firenet.operators.matrix import Matrix as Matrix
from firenet.reweighting import reweighted as reweighted
from firenet.sensing.fourier import (
    MultiCoilFourier as MultiCoilFourier,
)
from firenet.sensing.fourier import (
    SubsampledFourier as SubsampledFourier,
)
from firenet.sensing.walsh import SubsampledWalsh as SubsampledWalsh
from firenet.solver.adaptive import AdaptiveRestarts as AdaptiveRestarts
from firenet.solver.schedules import PaperSchedule as PaperSchedule
from firenet.solver.solution import (
    Solution as Solution,
)
from firenet.solver.solution import (
    Status as Status,
)
from firenet.sparsity import SparsityLevels as SparsityLevels
from firenet.stabilised import Stabilised as Stabilised
from firenet.transforms.gradient import Gradient as Gradient
from firenet.transforms.undecimated import UndecimatedWavelet as UndecimatedWavelet
from firenet.transforms.wavelet import Wavelet as Wavelet

__version__: str

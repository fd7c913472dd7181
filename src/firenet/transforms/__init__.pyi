from firenet.transforms.analysis_operator import (
    AnalysisOperator as AnalysisOperator,
    TightFrame as TightFrame,
)
from firenet.transforms.convolutions import Convolutions as Convolutions
from firenet.transforms.gradient import Gradient as Gradient
from firenet.transforms.spec import (
    describe as describe,
    transform as transform,
)
from firenet.transforms.undecimated import UndecimatedWavelet as UndecimatedWavelet
from firenet.transforms.union import Union as Union
from firenet.transforms.walsh import WalshHadamard as WalshHadamard
from firenet.transforms.wavelet import Wavelet as Wavelet

from firenet.theorem.depth import Depth as Depth, measured_depth as measured_depth
from firenet.theorem.dyadic import DyadicNetwork as DyadicNetwork
from firenet.theorem.explicit import (
    ExplicitNetwork as ExplicitNetwork,
    layers as layers,
)
from firenet.theorem.fixed_point import DyadicArray as DyadicArray
from firenet.theorem.inexact import (
    approximate as approximate,
    inexact_constants as inexact_constants,
)
from firenet.theorem.planned import (
    network as network,
    schedule as schedule,
    steps as steps,
)

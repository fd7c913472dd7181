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

from firenet.solver.adaptive import AdaptiveRestarts as AdaptiveRestarts
from firenet.solver.radial import RadialSearch as RadialSearch
from firenet.solver.schedules import (
    FixedSteps as FixedSteps,
    FrozenSteps as FrozenSteps,
    PaperSchedule as PaperSchedule,
    Searched as Searched,
)
from firenet.solver.solution import (
    Certified as Certified,
    Solution as Solution,
    Status as Status,
)

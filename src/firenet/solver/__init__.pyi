from firenet.solver.adaptive import AdaptiveRestarts as AdaptiveRestarts
from firenet.solver.radial import RadialSearch as RadialSearch
from firenet.solver.schedules import (
    FixedSteps as FixedSteps,
)
from firenet.solver.schedules import (
    FrozenSteps as FrozenSteps,
)
from firenet.solver.schedules import (
    PaperSchedule as PaperSchedule,
)
from firenet.solver.schedules import (
    Searched as Searched,
)
from firenet.solver.solution import (
    Solution as Solution,
)
from firenet.solver.solution import (
    Status as Status,
)

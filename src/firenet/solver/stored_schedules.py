"""Schedules as plain data, as they are stored in the state of a network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from firenet.errors import BadInput
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import FixedSteps, FrozenSteps, PaperSchedule, Run, Schedule

_PLAIN = (PaperSchedule, FixedSteps, AdaptiveRestarts, RadialSearch)


def schedule_state(schedule: Schedule) -> dict[str, Any]:
    """Returns the class and the numbers of a schedule of this library as plain data; for other schedules only the name
    of the class."""
    name = type(schedule).__name__
    if isinstance(schedule, FrozenSteps):
        return {"name": name, "runs": [asdict(run) for run in schedule.runs], "start": schedule.start}
    return {"name": name, **(asdict(schedule) if isinstance(schedule, _PLAIN) else {})}


def schedule_from(state: dict[str, Any]) -> Schedule:
    """Returns the schedule that :func:`schedule_state` described.

    Raises:
        BadInput: For a schedule that is not of this library, or one with missing or unknown parameters.
    """
    known = {made.__name__: made for made in _PLAIN}
    numbers = dict(state)
    name = numbers.pop("name", None)
    try:
        if name == FrozenSteps.__name__:
            runs = (Run(**{**run, "combination": tuple(run["combination"])}) for run in numbers.pop("runs"))
            return FrozenSteps(tuple(runs), **numbers)
        return known[name](**numbers)
    except (KeyError, TypeError) as error:
        needed = f"A schedule of this library: {', '.join(known)} or {FrozenSteps.__name__}"
        do = "Store the state of net.following(schedule), the same network with a schedule of this library"
        raise BadInput(needed, f"{name!r} ({error})", do) from None

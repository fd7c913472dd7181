"""Problems on which the rules of the adaptive restarts stall, and what their two safeguards do about it.

Run: python benchmarks/stall.py [--layers N ...] [--json]

A is diag(1, 1/100) and the data are (1, b). On the way to the second coefficient, which is 100 b, the residual hardly
turns, so the dual point hardly moves, and the rule for the primal weight makes it far too large. The minimum is known:
the data are fitted exactly. For each number of layers the excess of the objective is printed, relative to the minimum,
with the rules alone, with a radial search beside them (``safeguard``), with runs that are undone, and with both, which
is the default.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any
from unittest import mock

import torch

import firenet
from firenet.solver import adaptive

# The second measurement, the second weight, lambda.
PROBLEMS = {"b = 0.1": (0.1, 1.0, 1e-3), "b = 10": (10.0, 1e-2, 1e-2)}
WAYS = {
    "rules alone": (math.inf, None),
    "and a search": (math.inf, 1000),
    "and undone runs": (adaptive._WORSE, None),
    "default": (adaptive._WORSE, 1000),
}


def excess(problem: tuple[float, float, float], layers: int, worse: float, safeguard: int | None) -> tuple[float, int]:
    """Returns the objective over the minimum minus one, and the number of layers."""
    b, weight, lam = problem
    matrix = torch.diag(torch.tensor([1.0, 0.01], dtype=torch.float64))
    y, weights = (torch.tensor([1.0, second], dtype=torch.float64) for second in (b, weight))
    minimum = lam * (1 + weight * 100 * b)  # of (P3): lambda w / diagonal is a dual point of norm below one
    schedule = firenet.AdaptiveRestarts(1e-6, layers, safeguard=safeguard)
    with mock.patch.object(adaptive, "_WORSE", worse):
        solution = firenet.Firenet(firenet.Matrix(matrix), weights=weights, lam=lam, schedule=schedule).solve(y)
    return float(solution.objective) / minimum - 1, int(solution.layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", nargs="+", type=int, default=[1000, 3000, 10_000, 30_000], metavar="N")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for name, problem in PROBLEMS.items():
        found[name] = {way: [excess(problem, n, *given) for n in arguments.layers] for way, given in WAYS.items()}
        if not arguments.json:
            for way, each in found[name].items():
                told = ", ".join(f"{max(over, 0):.1e} after {n}" for over, n in each)
                print(f"{name}, {way}: {told}", flush=True)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

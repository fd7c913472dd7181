"""Layers to a certified gap: the default start, and what its parts contribute.

Run: python benchmarks/first_steps.py [NAME ...] [--json]

For problems of the benchmark (``problems.py``), in double precision, the number of layers until the relative gap is
proved: as the default does it, from zero instead of A*y over the square of the norm, and without combinations of the
last points. Then the default of ``firenet recon`` on the head slice of 25 %, with and without 2 % of noise: the layers
of both rounds and the PSNR of their images.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any
from unittest import mock

import torch
from problems import PROBLEMS, Problem, Skip

import firenet
from firenet.reconstruction import defaults
from firenet.scans.demo import load_slice

NAMES = (
    "fourier-256-noise",
    "mri-256-noise",
    "walsh-256",
    "fourier-256",
    "exact-256",
    "exact-256-noise",
    "brain-8-coils",
)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-6)


def layers(problem: Problem, *, zero: bool = False, combinations: bool = True) -> list[int | None]:
    """Returns the numbers of layers to each tolerance; None where it was not reached."""
    found: list[int | None] = []
    first = torch.zeros(problem.shape, dtype=problem.y.dtype) if zero else None
    with mock.patch("firenet.solver.memory._RECENT", 6 if combinations else 0):
        for tolerance in TOLERANCES:
            net = problem.network(firenet.AdaptiveRestarts(tolerance), double=True)
            solution = net.solve(problem.y, x0=first)
            reached = solution.status is firenet.Status.TOLERANCE_REACHED
            found.append(int(solution.layers) if reached else None)
    return found


def head(noise: float) -> dict[str, Any]:
    """Returns layers, PSNR and gap of the rounds of the default on the head slice."""
    truth = load_slice().to(torch.complex64)
    truth = truth / truth.abs().max()
    mask = firenet.sensing.multilevel(tuple(truth.shape), 0.25).samples
    sensing = firenet.SubsampledFourier(mask)
    y = sensing(truth)
    if noise:
        error = mask * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
        y = y + noise * y.norm() / error.norm() * error
    net = firenet.Firenet(sensing, defaults.transform(None, sensing.in_shape), schedule=defaults.default_schedule())
    rounds = defaults.rounds(net, y)
    errors = [float((r.solution.image.abs() - truth.abs()).square().mean()) for r in rounds]
    return {
        "noise": noise,
        "layers": [int(r.solution.layers) for r in rounds],
        "psnr": [-10 * math.log10(e) for e in errors],
        "relative_gap": float(rounds[-1].solution.relative_gap),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for name in arguments.names:
        try:
            problem = PROBLEMS[name](name)
        except Skip as why:
            print(f"{name}: left out, {why}")
            continue
        ways = {"default": {}, "from zero": {"zero": True}, "without combinations": {"combinations": False}}
        found[name] = {way: layers(problem, **given) for way, given in ways.items()}
        if not arguments.json:
            told = "; ".join(f"{way} {', '.join(str(n or '-') for n in each)}" for way, each in found[name].items())
            print(f"{name}: layers to {', '.join(f'{t:g}' for t in TOLERANCES)}: {told}", flush=True)
    for noise in (0.0, 0.02):
        found[f"head, noise {noise}"] = here = head(noise)
        if not arguments.json:
            psnr = ", ".join(f"{p:.2f}" for p in here["psnr"])
            print(
                f"head, noise {noise:g}: layers {here['layers']}, {psnr} dB, gap {here['relative_gap']:.1e}", flush=True
            )
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

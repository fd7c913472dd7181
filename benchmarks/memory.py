"""The most memory that a solve and a backward pass take, in a process of their own each.

Run: python benchmarks/memory.py [--json]

The peak is that of the resident memory (``ru_maxrss``) above what the process had when data and network were ready.
A volume, whose peak is also predicted (``firenet recon --dry-run`` prints the same), with glibc as it is, and told to
give freed memory back at once (then no holes are left in it); and the gradient of an image with respect to its
measurements through 300 layers, in segments.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import firenet
from firenet.solver.memory import peak_bytes

MIB = 2**20


def measured(run: Callable[[], object]) -> tuple[int, float]:
    """The peak of the resident memory above what there is now, in bytes, and the seconds. Linux."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there any more
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - pages * resource.getpagesize(), seconds


def network(shape: tuple[int, ...], layers: int) -> tuple[firenet.Firenet, torch.Tensor]:
    mask = firenet.sensing.multilevel(shape, 0.2).samples
    sensing = firenet.SubsampledFourier(mask)
    y = sensing(torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)))
    frame = firenet.Wavelet(shape, "db4")
    return firenet.Firenet(sensing, frame, lam=2.5e-4, schedule=firenet.AdaptiveRestarts(1e-9, max_layers=layers)), y


def volume(side: int = 128, layers: int = 40) -> dict[str, float | str]:
    """An adaptive solve of a volume; 'copies' are complex volumes."""
    net, y = network((side,) * 3, layers)
    predicted = peak_bytes(net.problem, y)
    with torch.no_grad():
        peak, seconds = measured(lambda: net.solve(y))
    one = 8 * side**3
    return {
        "case": f"solve {side}^3, db4, complex64, {layers} layers",
        "peak_mib": peak / MIB,
        "copies": peak / one,
        "predicted_copies": predicted / one,
        "seconds_a_layer": seconds / layers,
    }


def gradient(side: int = 512, layers: int = 300, checkpoint: int = 17) -> dict[str, float | str]:
    net, y = network((side, side), layers)
    net = firenet.Firenet(net.sensing, net.sparsify, lam=net.lam, schedule=firenet.solver.FixedSteps(layers))
    y.requires_grad_()

    def run() -> None:
        net(y, checkpoint=checkpoint).abs().square().sum().backward()

    peak, seconds = measured(run)
    return {
        "case": f"gradient {side}^2, db4, complex64, {layers} layers, checkpoint={checkpoint}",
        "peak_mib": peak / MIB,
        "copies": peak / (8 * side**2),
        "seconds_a_layer": seconds / layers,
    }


CASES = {"volume": volume, "gradient": gradient}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(CASES[arguments.case]()))
        return
    results = []
    for case, malloc in (("volume", {}), ("volume", {"MALLOC_MMAP_THRESHOLD_": "1000000"}), ("gradient", {})):
        command = [sys.executable, __file__, "--case", case]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | malloc)
        results.append(json.loads(out.stdout) | malloc)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for r in results:
        predicted = f", predicted {r['predicted_copies']:.1f}" if "predicted_copies" in r else ""
        print(
            f"{r['case']}: peak {r['peak_mib']:.0f} MiB above the start, {r['copies']:.1f} copies{predicted}; "
            f"{1e3 * r['seconds_a_layer']:.0f} ms a layer"
            f"{'; MALLOC_MMAP_THRESHOLD_=1000000' if 'MALLOC_MMAP_THRESHOLD_' in r else ''}"
        )


if __name__ == "__main__":
    main()

"""Writes the package's measured tomogram from the whole one, and prints how it is reconstructed.

The whole one is `tooth.h5` of TomoPy (source/tomopy/data in its repository), 181 views of two detector rows; this takes
37 views of the first row, with its white and dark fields, and the filtered back-projection of all 181 views, which the
demonstration compares with.

    python benchmarks/tooth.py tooth.h5                       # quality, layers, seconds of several transforms
    python benchmarks/tooth.py tooth.h5 --write src/firenet/data/tooth_37_views.npz
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import firenet
from firenet.ct import RampWeighted, filtered_backprojection
from firenet.ct.scan import prepare_projections
from firenet.io.archives import write_arrays
from firenet.io.measured import Sinogram, read_measured
from firenet.io.safely import replacing
from firenet.reconstruction.prepared import Prepared
from firenet.scans.demo import TOOTH_AXIS

EVERY, BIN = 5, 4


def prepared(whole: Sinogram, every: int) -> Prepared:
    scan = prepare_projections(
        whole.projections, whole.theta, whole.white, whole.dark, rotation_axis=TOOTH_AXIS, bin=BIN, every=every, only=0
    )
    return scan.images[0]


def write(whole: Sinogram, path: Path) -> None:
    assert whole.white is not None
    assert whole.dark is not None
    image = filtered_backprojection(prepared(whole, 1).y, prepared(whole, 1).operator)
    arrays = {
        "sinogram": whole.projections[:1, ::EVERY].transpose(1, 0, 2),
        "theta": whole.theta[::EVERY],
        "white": whole.white[:, :1],
        "dark": whole.dark[:, :1],
        "reference": image.numpy().astype(np.float16),
    }
    with replacing(path) as (temporary,), temporary.open("wb") as file:
        write_arrays(file, arrays)
    print(f"wrote {path}: {path.stat().st_size} bytes")


def report(whole: Sinogram) -> None:
    every, some = prepared(whole, 1), prepared(whole, EVERY)
    reference = filtered_backprojection(every.y, every.operator)
    unused = torch.ones(len(every.y), dtype=torch.bool)
    unused[::EVERY] = False

    def line(name: str, image: Tensor, layers: int, gap: float, seconds: float) -> None:
        off = (every.operator(image) - every.y)[unused].norm() / every.y[unused].norm()
        quality = firenet.psnr(image, reference)
        print(f"| {name} | {quality:.2f} | {100 * off:.2f} | {layers} | {gap:.1e} | {seconds:.1f} |", flush=True)

    print("| method | PSNR against FBP of all views (dB) | residual on unused views (%) | layers | gap | seconds |")
    print("|---|---|---|---|---|---|")
    line("FBP of 37 views", filtered_backprojection(some.y, some.operator), 0, float("nan"), 0.0)
    line("FBP of 181 views", reference, 0, float("nan"), 0.0)
    settings: dict[str, dict[str, Any]] = {
        "total variation (recon's default)": {"sparsify": "tv"},
        "undecimated:haar:2": {"sparsify": "undecimated:haar:2"},
        "default transform of other data": {},
    }
    for name, options in settings.items():
        for weighted in (False, True):
            operator = RampWeighted(some.operator) if weighted else some.operator  # pyright: ignore[reportArgumentType]
            y = operator.weigh(some.y) if isinstance(operator, RampWeighted) else some.y
            start = time.perf_counter()
            found = firenet.reconstruct(y, operator, reweight=0, **options)
            seconds = time.perf_counter() - start
            title = f"{name}, ramp-weighted ({operator.norm_bound.kind})" if weighted else name
            line(title, found.image, int(found.layers), found.relative_gap.item(), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="The measured tomogram of a tooth.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    whole = read_measured(options.file)
    assert isinstance(whole, Sinogram)
    if options.write is not None:
        write(whole, options.write)
    else:
        report(whole)


if __name__ == "__main__":
    main()

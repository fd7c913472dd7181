"""Radial k-space: layers, PSNR and seconds with and without density compensation.

The image is the MRI slice s1045 at 128 x 128, without noise or with noise of a share of the norm of the samples; 32
diameters of 256 samples. Each is reconstructed with the default transform and lambda to a relative gap of 1e-3.

    python benchmarks/radial.py
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch

import firenet
from firenet.images import load_slice, resampled
from firenet.operators import Weighted
from firenet.operators.linear import LinearOperator
from firenet.sensing import NonuniformFourier, density_compensation, radial

SIDE, SPOKES, SAMPLES = 128, 32, 256


def main() -> None:
    warnings.simplefilter("ignore")
    image = resampled(load_slice()[None], SIDE)[0].to(torch.complex64)
    rng = np.random.default_rng(0)
    print("| angles | noise (%) | problem | norm bound | layers | gap | PSNR (dB) | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for golden in (True, False):
        trajectory = radial(SPOKES, SAMPLES, golden=golden)
        plain = NonuniformFourier(trajectory, (SIDE, SIDE))
        weighted = Weighted(plain, density_compensation(trajectory, (SIDE, SIDE)))
        for share in (0.0, 0.02):
            y = plain(image)
            e = torch.from_numpy(rng.standard_normal((2, *y.shape))).float()
            noise = torch.complex(e[0], e[1])
            y = y + share * y.norm() / noise.norm() * noise
            for name, operator in (("plain", plain), ("weighted", weighted)):
                data = weighted.weigh(y) if name == "weighted" else y
                report("golden" if golden else "uniform", share, name, operator, data, image)


def report(
    angles: str, share: float, name: str, operator: LinearOperator, y: torch.Tensor, image: torch.Tensor
) -> None:
    bound = operator.norm_bound
    start = time.perf_counter()
    found = firenet.reconstruct(y, operator, reweight=0)
    seconds = time.perf_counter() - start
    quality = firenet.psnr(found.image.abs(), image.abs())
    words = [angles, f"{100 * share:g}", name, f"{bound.value:.3g} ({bound.kind})", f"{int(found.layers)}"]
    words += [f"{found.relative_gap.item():.1e}", f"{quality:.2f}", f"{seconds:.1f}"]
    print(f"| {' | '.join(words)} |", flush=True)


if __name__ == "__main__":
    main()

"""A file of several slices: side by side on the cores, and one after the other with all threads for each.

Run: python benchmarks/slices.py [--slices N] [--share 0.3] [--rounds N]

The slices are the head of the demo, shifted, sampled in a share of k-space, 256 x 256. Both ways run in turns in one
process; the median of the seconds is printed, for a file that is read each time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import firenet
from firenet.mri import scan_reconstruction
from firenet.scans.demo import load_slice
from firenet.scans.side_by_side import side_by_side
from firenet.scans.source import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    image = load_slice().numpy()
    mask = firenet.sensing.multilevel(image.shape, arguments.share).centred().numpy()
    kspace = [
        mask * np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(np.roll(image, 5 * k, 0)), norm="ortho"))
        for k in range(arguments.slices)
    ]
    seconds: dict[str, list[float]] = {"side by side": [], "one after the other": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "slices.npz")
        np.savez(path, kspace=np.stack(kspace).astype(np.complex64), mask=mask)
        for _ in range(arguments.rounds):
            for way, each in seconds.items():
                one = mock.patch.object(
                    scan_reconstruction, "side_by_side", lambda work, items, _, told: side_by_side(work, items, 1, told)
                )
                begun = time.perf_counter()
                if way == "side by side":
                    scan_reconstruction.reconstruct_scan(Source(path, axes="slice,y,x"))
                else:
                    with one:
                        scan_reconstruction.reconstruct_scan(Source(path, axes="slice,y,x"))
                each.append(time.perf_counter() - begun)
    fast, slow = (statistics.median(each) for each in seconds.values())
    print(f"{arguments.slices} slices, {torch.get_num_threads()} threads: side by side {fast:.1f} s, ", end="")
    print(f"one after the other {slow:.1f} s, {slow / fast:.2f} times as long")


if __name__ == "__main__":
    main()

"""The cost of one layer, in units of the two FFTs that no layer can do without.

Run: python benchmarks/layer.py [--json]

A layer and ``torch.fft.fft2`` of the same size and thread count are timed in turn in one process, so that the ratio
holds on a machine whose speed drifts. A layer's time is that of a long schedule minus that of a short one, over the
difference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

import firenet


def seconds(run: Callable[[], object], repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


@torch.no_grad()
def measure(side: int, wavelet: str, rounds: int = 15) -> dict[str, float | int | str]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(side, side, dtype=torch.complex64, generator=generator)
    sensing = firenet.SubsampledFourier(firenet.multilevel((side, side), 0.25).samples)
    frame = firenet.Wavelet((side, side), wavelet)
    y = sensing(image)
    short, long = (firenet.Firenet(sensing, frame, schedule=firenet.PaperSchedule(1, p)) for p in (5, 25))
    ratios, layers, ffts = [], [], []
    for run in (short, long):
        run(y)
    for _ in range(rounds):
        before = seconds(lambda: torch.fft.fft2(image), 10)
        layer = (seconds(lambda: long(y), 1) - seconds(lambda: short(y), 1)) / 20
        fft = (before + seconds(lambda: torch.fft.fft2(image), 10)) / 2
        layers.append(layer)
        ffts.append(fft)
        ratios.append(layer / (2 * fft))
    return {
        "side": side,
        "wavelet": wavelet,
        "layer_ms": 1e3 * statistics.median(layers),
        "fft2_ms": 1e3 * statistics.median(ffts),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = [measure(side, wavelet) for side in (256, 512, 1024) for wavelet in ("haar", "db4")]
    if arguments.json:
        print(
            json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}, indent=2)
        )
        return
    print(f"complex64, {torch.get_num_threads()} threads, torch {torch.__version__}; median of the ratios (min, max)")
    for r in results:
        print(
            f"{r['side']:5d} {r['wavelet']:5s} layer {r['layer_ms']:6.2f} ms   fft2 {r['fft2_ms']:5.2f} ms   "
            f"layer / two fft2 = {r['ratio']:.2f} ({r['ratio_min']:.2f}, {r['ratio_max']:.2f})"
        )


if __name__ == "__main__":
    main()

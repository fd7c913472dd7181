"""The cost of one layer, in units of what no layer can do without.

Run: python benchmarks/layer.py [--json]

A Fourier layer is measured in units of two ``torch.fft.fft2`` of the same size and thread count, a Walsh layer in units
of one plain out-of-place butterfly. The two are timed in turn in one process, so that the ratio holds on a machine
whose speed drifts. A layer's time is that of a long schedule minus that of a short one, over the difference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import firenet

SIDES = (256, 512, 1024, 2048)
Run = Callable[[], object]


def seconds(run: Run, repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def ratio(layers: Callable[[int], Run], floor: Run, rounds: int = 15) -> dict[str, float]:
    """The time of a layer over that of the floor: the median over rounds, in each of which both are timed."""
    short, long = layers(5), layers(25)
    short(), long(), floor()
    ratios, times, floors = [], [], []
    for _ in range(rounds):
        before = seconds(floor, 5)
        layer = (seconds(long, 1) - seconds(short, 1)) / 20
        base = (before + seconds(floor, 5)) / 2
        times.append(layer)
        floors.append(base)
        ratios.append(layer / base)
    return {
        "layer_ms": 1e3 * statistics.median(times),
        "floor_ms": 1e3 * statistics.median(floors),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def butterfly(x: Tensor) -> Tensor:
    """The plain Walsh-Hadamard transform along both axes, out of place, by reshape and add."""
    for axis in (0, 1):
        n, h = x.shape[axis], 1
        while h < n:
            pairs = x.reshape(*x.shape[:axis], n // (2 * h), 2, h, *x.shape[axis + 1 :])
            a, b = pairs.unbind(axis + 1)
            x = torch.stack((a + b, a - b), dim=axis + 1).reshape(x.shape)
            h *= 2
    return x / x.shape[0]


def networks(sensing: firenet.LinearOperator, frame: firenet.Wavelet, y: Tensor) -> Callable[[int], Run]:
    def make(layers: int) -> Run:
        net = firenet.Firenet(sensing, frame, lam=2.5e-4, schedule=firenet.solver.FixedSteps(layers), iterate="last")
        return lambda: net(y)

    return make


@torch.no_grad()
def measure() -> list[dict[str, float | int | str]]:
    results: list[dict[str, float | int | str]] = []
    generator = torch.Generator().manual_seed(0)
    for side in SIDES:
        mask = firenet.sensing.multilevel((side, side), 0.2).samples
        image = torch.randn(side, side, dtype=torch.complex64, generator=generator)
        sensing = firenet.SubsampledFourier(mask)
        two = lambda image=image: (torch.fft.fft2(image), torch.fft.fft2(image))  # noqa: E731
        rounds = 15 if side < 2048 else 5
        single = 0.0
        for wavelet in ("haar", "db4"):
            found = ratio(networks(sensing, firenet.Wavelet((side, side), wavelet), sensing(image)), two, rounds)
            results.append({"sensing": "Fourier", "side": side, "wavelet": wavelet, "unit": "two fft2", **found})
            single = found["layer_ms"]
        if side == 512:
            maps = torch.randn(8, side, side, dtype=torch.complex64, generator=generator)
            coils = firenet.MultiCoilFourier(mask, maps / maps.abs().square().sum(0).sqrt())
            found = ratio(networks(coils, firenet.Wavelet((side, side), "db4"), coils(image)), two, 5)
            found |= {"per_coil_ms": found["layer_ms"] / 8, "single_coil_ms": single}
            results.append({"sensing": "8 coils", "side": side, "wavelet": "db4", "unit": "two fft2", **found})
        if side == 1024:
            walsh = firenet.SubsampledWalsh(firenet.sensing.multilevel((side, side), 0.2, transform="walsh").samples)
            real = image.real.contiguous()
            plain = lambda real=real: butterfly(real)  # noqa: E731
            for wavelet in ("haar", "db4"):
                found = ratio(networks(walsh, firenet.Wavelet((side, side), wavelet), walsh(real)), plain, 5)
                results.append({"sensing": "Walsh", "side": side, "wavelet": wavelet, "unit": "butterfly", **found})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure()
    if arguments.json:
        record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}
        print(json.dumps(record, indent=2))
        return
    print(f"single precision, {torch.get_num_threads()} threads, torch {torch.__version__}; median ratio (min, max)")
    for r in results:
        line = f"{r['sensing']:8s} {r['side']:5d} {r['wavelet']:5s} layer {r['layer_ms']:7.2f} ms   {r['unit']} "
        line += f"{r['floor_ms']:6.2f} ms   ratio {r['ratio']:.2f} ({r['ratio_min']:.2f}, {r['ratio_max']:.2f})"
        if "per_coil_ms" in r:
            line += f"   per coil {r['per_coil_ms']:.2f} ms, one coil alone {r['single_coil_ms']:.2f} ms"
        print(line)


if __name__ == "__main__":
    main()

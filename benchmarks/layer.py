"""The cost of one layer, in units of what no layer can do without.

Run: python benchmarks/layer.py [--json] [--form synthesis|analysis]

A Fourier layer is measured in units of two ``torch.fft.fft2`` of the same size and thread count, a Walsh layer in units
of one plain out-of-place butterfly. The two are timed in turn in one process, so that the ratio holds on a machine
whose speed drifts. A layer's time is that of a long schedule minus that of a short one, over the difference.

A layer of the default analysis form, with the checks of its searching schedule, is measured in units of one ``fft2``,
for both engines and for one and two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import firenet
from firenet.reconstruction import default_network

SIDES = (256, 512, 1024, 2048)
ANALYSIS_SIDES = (64, 128, *SIDES)
Run = Callable[[], object]


def seconds(run: Run, repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def ratio(
    layers: Callable[[int], Run], floor: Run, rounds: int = 15, counts: tuple[int, int] = (5, 25)
) -> dict[str, float]:
    """The time of a layer over that of the floor: the median over rounds, in each of which both are timed."""
    short, long = map(layers, counts)
    short(), long(), floor()
    ratios, times, floors = [], [], []
    for _ in range(rounds):
        before = seconds(floor, 5)
        layer = (seconds(long, 1) - seconds(short, 1)) / (counts[1] - counts[0])
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


def searching(sensing: firenet.LinearOperator, y: Tensor) -> Callable[[int], Run]:
    def make(layers: int) -> Run:
        net = default_network(sensing, schedule=firenet.AdaptiveRestarts(tolerance=1e-9, max_layers=layers))
        return lambda: net.solve(y)

    return make


def analysis() -> list[dict[str, float | int | str]]:
    """The default analysis form: each engine, one and two threads."""
    results: list[dict[str, float | int | str]] = []
    before = torch.get_num_threads()
    for side in ANALYSIS_SIDES:
        mask = firenet.sensing.multilevel((side, side), 0.2).samples
        image = torch.randn(side, side, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        sensing = firenet.SubsampledFourier(mask)
        one = lambda image=image: torch.fft.fft2(image)  # noqa: E731
        for engine in ("compiled", "torch"):
            os.environ["FIRENET_ENGINE"] = engine
            for threads in (1, 2):
                torch.set_num_threads(threads)
                found = ratio(searching(sensing, sensing(image)), one, 5 if side < 1024 else 2, (10, 30))
                about = {"sensing": "analysis", "side": side, "wavelet": engine, "threads": threads}
                results.append(about | {"unit": "one fft2"} | found)
    del os.environ["FIRENET_ENGINE"]
    torch.set_num_threads(before)
    return results


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
    parser.add_argument("--form", choices=["synthesis", "analysis"], help="only this form")
    arguments = parser.parse_args()
    results = [] if arguments.form == "analysis" else measure()
    results += [] if arguments.form == "synthesis" else analysis()
    if arguments.json:
        record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}
        print(json.dumps(record, indent=2))
        return
    print(f"single precision, {torch.get_num_threads()} threads, torch {torch.__version__}; median ratio (min, max)")
    for r in results:
        line = f"{r['sensing']:8s} {r['side']:5d} {r['wavelet']:8s} "
        line += f"{r['threads']} threads " if "threads" in r else ""
        line += f"layer {r['layer_ms']:7.2f} ms   {r['unit']} "
        line += f"{r['floor_ms']:6.2f} ms   ratio {r['ratio']:.2f} ({r['ratio_min']:.2f}, {r['ratio_max']:.2f})"
        if "per_coil_ms" in r:
            line += f"   per coil {r['per_coil_ms']:.2f} ms, one coil alone {r['single_coil_ms']:.2f} ms"
        print(line)


if __name__ == "__main__":
    main()

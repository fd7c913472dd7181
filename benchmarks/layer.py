"""The cost of one layer, in units of what no layer can do without.

Run: python benchmarks/layer.py [--json] [--form synthesis|analysis] [--plot docs/layer.png]

A Fourier layer is measured in units of two ``torch.fft.fft2`` of the same size and thread count, a Walsh layer in units
of one plain out-of-place butterfly. The two are timed in turn in one process, so that the ratio holds on a machine
whose speed drifts. A layer's time is that of a long schedule minus that of a short one, over the difference.

A layer of orthonormal wavelets is measured in units of two ``fft2``, a layer of the default analysis form, with the
checks of its searching schedule, in units of one, both with both engines and with one and two threads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import firenet
from firenet.reconstruction import default_network

SIDES = (64, 128, 256, 512, 1024, 2048)
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


def engines() -> Iterator[dict[str, int | str]]:
    """Sets each engine, and one and two threads."""
    before = torch.get_num_threads()
    for engine in ("compiled", "torch"):
        os.environ["FIRENET_ENGINE"] = engine
        for threads in (1, 2):
            torch.set_num_threads(threads)
            yield {"engine": engine, "threads": threads}
    del os.environ["FIRENET_ENGINE"]
    torch.set_num_threads(before)


def analysis() -> list[dict[str, float | int | str]]:
    """The default analysis form."""
    results: list[dict[str, float | int | str]] = []
    for side in SIDES:
        mask = firenet.sensing.multilevel((side, side), 0.2).samples
        image = torch.randn(side, side, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        sensing = firenet.SubsampledFourier(mask)
        one = lambda image=image: torch.fft.fft2(image)  # noqa: E731
        for about in engines():
            found = ratio(searching(sensing, sensing(image)), one, 5 if side < 1024 else 2, (10, 30))
            results.append(
                {"sensing": "analysis", "side": side, "wavelet": "default", "unit": "one fft2", **about, **found}
            )
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
        rounds, db4, single = 15 if side < 2048 else 5, firenet.Wavelet((side, side), "db4"), 0.0
        for about in engines():
            found = ratio(networks(sensing, db4, sensing(image)), two, rounds)
            results.append({"sensing": "Fourier", "side": side, "wavelet": "db4", "unit": "two fft2", **about, **found})
            single = found["layer_ms"]
        if side == 512:
            maps = torch.randn(8, side, side, dtype=torch.complex64, generator=generator)
            coils = firenet.MultiCoilFourier(mask, maps / maps.abs().square().sum(0).sqrt())
            found = ratio(networks(coils, db4, coils(image)), two, 5)
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


def draw(results: list[dict[str, float | int | str]], path: Path) -> None:
    """Draws the time of a layer with one thread against the number N of pixels, and the growth of N log N."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for sensing, name in (("analysis", "default"), ("Fourier", "orthonormal db4")):
        for engine, marker in (("torch", "o"), ("compiled", "s")):
            rows = [r for r in results if (r["sensing"], r.get("engine"), r.get("threads")) == (sensing, engine, 1)]
            sizes, times = [int(r["side"]) ** 2 for r in rows], [float(r["layer_ms"]) for r in rows]
            line = axes.loglog(sizes, times, marker=marker, markersize=4, label=f"{name}, {engine}")[0]
            middle = sizes.index(512**2)
            growth = [times[middle] * n * math.log(n) / (sizes[middle] * math.log(sizes[middle])) for n in sizes]
            axes.loglog(sizes, growth, color=line.get_color(), linestyle=":", linewidth=0.8)
    axes.set_xlabel("pixels N; dotted: N log N through the time of 512 x 512")
    axes.set_ylabel("milliseconds a layer, one thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    temporary = path.with_name(path.name + ".new")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=["synthesis", "analysis"], help="only this form")
    parser.add_argument("--plot", type=Path, help="a picture of time against size, of both forms")
    arguments = parser.parse_args()
    if arguments.plot and arguments.form:
        parser.error("--plot draws both forms; leave --form out")
    results = [] if arguments.form == "analysis" else measure()
    results += [] if arguments.form == "synthesis" else analysis()
    if arguments.plot:
        draw(results, arguments.plot)
    if arguments.json:
        record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}
        print(json.dumps(record, indent=2))
        return
    print(f"single precision, {torch.get_num_threads()} threads, torch {torch.__version__}; median ratio (min, max)")
    for r in results:
        line = f"{r['sensing']:8s} {r['side']:5d} {r['wavelet']:8s} "
        line += f"{r['engine']:8s} {r['threads']} threads " if "threads" in r else ""
        line += f"layer {r['layer_ms']:7.2f} ms   {r['unit']} "
        line += f"{r['floor_ms']:6.2f} ms   ratio {r['ratio']:.2f} ({r['ratio_min']:.2f}, {r['ratio_max']:.2f})"
        if "per_coil_ms" in r:
            line += f"   per coil {r['per_coil_ms']:.2f} ms, one coil alone {r['single_coil_ms']:.2f} ms"
        print(line)


if __name__ == "__main__":
    main()

"""Measures how much there is to gain by choosing the setting for each image, and how near held-out samples come to it.

    python benchmarks/oracle.py [--only NAME ...] [--set accuracy|development] [--jobs N] [--list] [--table]

For each case all candidates are computed twice: from all samples, scored by PSNR against the truth (the oracle, which
nobody has), and without 8 % of the samples outside the fully sampled centre, scored by the error on these (which a rule
may use). A candidate is a transform, a multiple of the default lambda, and the strength and the number of the rounds of
reweighting. One JSON a case in ``oracle/``, written after each candidate; a second start goes on where the first one
stopped.

The development set has images that are not among the cases of ``accuracy.py``: MRI, CT, nuclear medicine, microscopy,
an angiogram (the green channel of a retina), photographs, texture, terrain and a page of text, 256 x 256 cut from
images of known packages, with 0, 1 and 5 % noise, and retrospective samples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import CASES, THREADS, Problem, Recipe, Skip, _inside, _save, problem
from torch import Tensor

RESULTS = Path(__file__).parent / "oracle"
HELD_OUT = 0.08
TOLERANCE, LAYERS = 3e-3, 60  # of each round: the image is then good to 0.1 dB
ROUNDS = 2

TRANSFORMS = {
    "default": "undecimated:haar:1+sym4:3",
    "default and tv": "undecimated:haar:1+sym4:3+tv",
    "tv": "tv",
    "three wavelets": "undecimated:haar:3+db4:3+sym4:3",
}
SHARES = (0.4, 1.0)
# The floor of the weights and the share of the residual that later rounds keep.
STRENGTHS = ((2.0, 0.2), (0.7, 0.2), (0.7, 1.0))

FULLY = ("default", "default and tv")  # all strengths; of the other transforms the second alone

# What image(name) knows, with the mask, the rate and the noise, as the cases of accuracy.py.
DEVELOPMENT: dict[str, Recipe] = {
    "coins-variable-20": ("coins", "variable", 0.20, 0.0),
    "astronaut-multilevel-25-noise1": ("astronaut", "multilevel", 0.25, 0.01),
    "gravel-variable-33": ("gravel", "variable", 0.33, 0.0),
    "grass-multilevel-25-noise1": ("grass", "multilevel", 0.25, 0.01),
    "brick-variable-15": ("brick", "variable", 0.15, 0.0),
    "retina-multilevel-20-noise1": ("retina", "multilevel", 0.20, 0.01),
    "retina-lines-3": ("retina", "lines", 3.0, 0.0),
    "ihc-variable-25-noise1": ("ihc", "variable", 0.25, 0.01),
    "cell-multilevel-15": ("cell", "multilevel", 0.15, 0.0),
    "cell-walsh-20-noise1": ("cell", "walsh", 0.20, 0.01),
    "moon-variable-25": ("moon", "variable", 0.25, 0.0),
    "chelsea-multilevel-33-noise5": ("chelsea", "multilevel", 0.33, 0.05),
    "page-variable-33-noise1": ("page", "variable", 0.33, 0.01),
    "hubble-variable-15-noise5": ("hubble", "variable", 0.15, 0.05),
    "china-variable-25": ("china", "variable", 0.25, 0.0),
    "flower-walsh-25": ("flower", "walsh", 0.25, 0.0),
    "terrain-multilevel-10": ("terrain", "multilevel", 0.10, 0.0),
    "neck-variable-10": ("neck", "variable", 0.10, 0.0),
    "neck-lines-4-noise1": ("neck", "lines", 4.0, 0.01),
    "abdomen-variable-25-noise1": ("abdomen", "variable", 0.25, 0.01),
    "abdomen-lines-3-noise5": ("abdomen", "lines", 3.0, 0.05),
    "bones-multilevel-20-noise5": ("bones", "multilevel", 0.20, 0.05),
    "aero-multilevel-33": ("aero", "multilevel", 0.33, 0.0),
    "ascent-lines-3-noise1": ("ascent", "lines", 3.0, 0.01),
    "phantom-variable-20": ("phantom", "variable", 0.20, 0.0),
    "brain-poisson-10": ("brain", "poisson", 5 / 6, 0.0),
}


def image(name: str) -> Tensor:
    """Returns an image of the development set, 256 x 256, from 0 to a maximum of 1."""
    if name == "terrain":
        with np.load(_inside("matplotlib", "mpl-data/sample_data/jacksboro_fault_dem.npz")) as stored:
            pixels = stored["elevation"].astype(float)
        pixels -= pixels.min()
    elif name in ("neck", "abdomen", "bones"):
        import pydicom

        file = {"neck": "693_J2KI.dcm", "abdomen": "examples_overlay.dcm", "bones": "JPEG2000.dcm"}[name]
        pixels = pydicom.dcmread(_inside("pydicom", f"data/test_files/{file}")).pixel_array.astype(float)
        pixels = pixels.clip(-1000) + 1000 if name == "neck" else pixels.clip(0)
    elif name in ("aero", "ascent"):
        with np.load(_inside("pywt", f"data/{name}.npz"), allow_pickle=False) as stored:
            pixels = stored["data"].astype(float)
    else:
        from PIL import Image

        files = {"retina": "retina.jpg", "hubble": "hubble_deep_field.jpg"}
        where = ("sklearn", f"datasets/images/{name}.jpg") if name in ("china", "flower") else None
        path = _inside(*where) if where else _inside("skimage", f"data/{files.get(name, f'{name}.png')}")
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"), float)
        pixels = pixels[..., 1] if name == "retina" else pixels.mean(axis=-1)
        if name == "retina":  # means of 4 x 4 pixels: the vessels in their whole
            pixels = pixels[:1408, :1408].reshape(352, 4, 352, 4).mean(axis=(1, 3))
    out = np.zeros((256, 256))
    rows, columns = (min(256, n) for n in pixels.shape)
    top, left = ((n - m) // 2 for n, m in zip(pixels.shape, (rows, columns), strict=True))
    out[:rows, :columns] = pixels[top : top + rows, left : left + columns]
    return torch.from_numpy(out / out.max())


def candidates() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, share, (floor, keep) in product(TRANSFORMS, SHARES, STRENGTHS):
        # Where the fit is nearly exact, there is no residual to keep.
        if (floor, keep) == STRENGTHS[1] or (name in FULLY and (share == 1 or keep < 1)):
            yield (
                f"{name}, {share:g}, {floor:g}, {keep:g}",
                {"name": name, "share": share, "floor": floor, "keep": keep},
            )


def held_out(p: Problem) -> tuple[Any, Any]:
    """Returns the operator of the samples that are kept, and that of those that are not."""
    outside = p.sensing.holdout_candidates()
    chance = torch.from_numpy(np.random.default_rng(0).random(tuple(outside.shape)))
    held = outside & (chance < HELD_OUT)
    return p.sensing.subset(~held), p.sensing.subset(held)


def tried(sensing: Any, y: Tensor, share: float, name: str, floor: float, keep: float) -> tuple[list[Tensor], float]:
    """Returns the image of each round, and the seconds of all."""
    import firenet
    from firenet.reconstruction import default_schedule
    from firenet.transforms.spec import transform

    frame, schedule = transform(TRANSFORMS[name], sensing.in_shape), default_schedule(TOLERANCE, LAYERS * (ROUNDS + 1))
    usual = firenet.Firenet(sensing, frame, schedule=schedule)
    net = firenet.Firenet(sensing, frame, lam=share * usual.lam, schedule=schedule)
    start = time.perf_counter()
    made = firenet.reweighted(net, y, ROUNDS, floor=floor, keep=keep, prove=False)
    return [r.solution.image for r in made], time.perf_counter() - start


@torch.no_grad()
def work(name: str) -> None:
    """One case, in this process."""
    from firenet.reconstruction import default_network, rounds as default_rounds

    path = RESULTS / f"{name}.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"case": name, "tried": {}}
    RESULTS.mkdir(exist_ok=True)
    try:
        p = problem(CASES[name]) if name in CASES else problem(DEVELOPMENT[name], image)
    except Skip as why:
        _save(path, record | {"skipped": str(why)})
        return
    seen, unseen = held_out(p)
    y = p.y.to(torch.complex64 if p.y.is_complex() else torch.float32)  # as firenet recon computes
    known, target = seen.restrict(y), unseen.restrict(y)
    size = torch.linalg.vector_norm(target).item()
    if "fixed" not in record:
        fixed = default_rounds(default_network(p.sensing), y)[-1]
        record["fixed"] = p.quality(fixed.solution.image)["psnr"]
    for key, arguments in candidates():
        if key in record["tried"]:
            continue
        images, seconds = tried(p.sensing, y, **arguments)
        found: dict[str, Any] = {"psnr": [p.quality(x)["psnr"] for x in images], "seconds": seconds}
        images, _ = tried(seen, known, **arguments)
        found["held_out_psnr"] = [p.quality(x)["psnr"] for x in images]
        found["error"] = [torch.linalg.vector_norm(unseen(x) - target).item() / size for x in images]
        record["tried"][key] = found
        _save(path, record)
    print(name, file=sys.stderr, flush=True)


def settings(record: dict[str, Any]) -> list[tuple[float, float, str]]:
    """Returns PSNR, error on the samples held out, and the name, of each candidate and each number of rounds."""
    return [
        (psnr, error, f"{key}, {k} rounds")
        for key, found in record["tried"].items()
        for k, (psnr, error) in enumerate(zip(found["psnr"], found["error"], strict=False))
    ]


def table(records: list[dict[str, Any]]) -> str:
    lines = ["| case | fixed default | chosen | oracle | the oracle's setting |", "|---|---|---|---|---|"]
    sums = np.zeros(3)
    for r in records:
        every = settings(r)
        chosen, oracle = min(every, key=lambda s: s[1]), max(every)
        sums += r["fixed"], chosen[0], oracle[0]
        lines.append(f"| {r['case']} | {r['fixed']:.2f} | {chosen[0]:.2f} | {oracle[0]:.2f} | {oracle[2]} |")
    means = " | ".join(f"{v:.2f}" for v in sums / max(len(records), 1))
    return "\n".join([*lines, f"| mean of {len(records)} | {means} | |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = {"accuracy": CASES, "development": DEVELOPMENT}
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CASES | DEVELOPMENT)
    parser.add_argument("--set", choices=sets, default="development")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, one thread each")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.only or list(sets[arguments.set])
    if arguments.list:
        print("\n".join(cases))
        return
    if arguments.worker:
        work(arguments.worker)
        return
    if not arguments.table:
        environment = os.environ | dict.fromkeys(THREADS, "1")
        command = [sys.executable, "-W", "ignore", __file__, "--worker"]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda name: subprocess.run([*command, name], env=environment, check=False), cases))
    paths = [RESULTS / f"{name}.json" for name in cases]
    records = [json.loads(path.read_text()) for path in paths if path.exists()]
    print(table([r for r in records if len(r["tried"]) == len(list(candidates()))]))


if __name__ == "__main__":
    main()

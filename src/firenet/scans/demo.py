"""The demonstration of ``firenet demo``: an image and a raw scan from undersampled k-space, a tooth from few views.

* An MRI slice (matplotlib's s1045, a magnitude image): its k-space is computed, so the undersampling is
  retrospective, and there is neither coil phase nor measured noise.
* A raw scan: 2-channel Siemens gradient-echo k-space of a phantom with measured noise and real coils, undersampled
  3-fold and compared with the full scan.
* A tomogram: 37 measured views of a tooth, by parallel X-rays of a synchrotron, compared with the filtered
  back-projection of all 181 views.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.ct.backprojection import filtered_backprojection
from firenet.images import load_slice
from firenet.io.safely import replacing
from firenet.metrics import psnr
from firenet.mri.coils import estimate_maps
from firenet.mri.kspace import remove_oversampling, to_corner
from firenet.mri.scan import prepare
from firenet.network import Firenet
from firenet.reconstruction.defaults import default_network, rounds
from firenet.scans.reconstruct import reconstruct_scan
from firenet.scans.source import Source
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.masks import multilevel
from firenet.sensing.projection import Projection
from firenet.solver.solution import Progress, Solution

SLICE_RATE = 0.25
RAW_ACCELERATION = 3.0
# Bands up to the fifth (frequencies up to 16) are sampled fully: the calibration centre for the coil maps.
RAW_FULL = 5
# The detector cell onto which the axis of the tooth is projected, as its authors say.
TOOTH_AXIS = 296.0


@dataclass(frozen=True, eq=False)
class Case:
    """One reconstruction with the image it is compared with; images are real.

    ``zero_filled`` is the image without a network: of zero-filled k-space, or the filtered back-projection.
    """

    title: str
    sampled: str
    rate: float
    recipe: Mapping[str, Any]
    truth: Tensor
    zero_filled: Tensor
    image: Tensor
    solution: Solution
    seconds: float
    lam: float

    @property
    def compared(self) -> str:
        """Names what the image is compared with."""
        named = {"raw": "full scan", "measured": "FBP of 181 views"}
        return next((words for begin, words in named.items() if self.title.startswith(begin)), "truth")

    @property
    def without(self) -> str:
        """Names the image without a network."""
        return "FBP" if self.title.startswith("measured") else "zero-filled"

    def record(self) -> dict[str, Any]:
        """Returns the numbers of the case, for tables and JSON."""
        s = self.solution
        return {
            "sampling_rate": self.rate,
            "psnr_zero_filled": psnr(self.zero_filled, self.truth),
            "psnr": psnr(self.image, self.truth),
            "objective": s.objective.item(),
            "gap": s.gap.item(),
            "relative_gap": s.relative_gap.item(),
            "layers": int(s.layers),
            "seconds": self.seconds,
            "status": s.statuses[0].value,
            "lam": self.lam,
            "sampling": dict(self.recipe),
        }


def load_raw() -> Tensor:
    """Returns the raw phantom scan, centred k-space of shape (2, 160, 160), its readout oversampling removed."""
    data = resources.files("firenet") / "data" / "twix_gre_phantom_2ch.npz"
    with data.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return remove_oversampling(torch.from_numpy(arrays["kspace"]))


def _solve(net: Firenet, y: Tensor, progress: Progress | None) -> Solution:
    """Solves as ``firenet recon`` does by default, and counts the layers of all rounds."""
    found = rounds(net, y, progress=progress)
    return replace(found[-1].solution, layers=sum((r.solution.layers for r in found), torch.tensor(0)))


def slice_case(progress: Progress | None = None, *, seed: int = 0) -> Case:
    """Reconstructs the MRI slice s1045 from 25 % of its Fourier samples, with a multilevel mask."""
    truth = load_slice()
    mask = multilevel(truth.shape, SLICE_RATE, seed=seed)
    start = time.perf_counter()
    net = default_network(SubsampledFourier(mask.samples))
    y = net.sensing(truth)
    solution = _solve(net, y, progress)
    seconds = time.perf_counter() - start
    zero_filled, image = net.sensing.adjoint(y).abs(), solution.image.abs()
    how = (f"{mask.rate:.0%} of k-space", mask.rate, mask.recipe)
    return Case("MRI slice s1045", *how, truth, zero_filled, image, solution, seconds, net.lam)


def raw_case(progress: Progress | None = None, *, seed: int = 0) -> Case:
    """Reconstructs the raw phantom scan, 3-fold undersampled, with coil maps from its own calibration centre."""
    full = load_raw()
    mask = multilevel(full.shape[1:], 1 / RAW_ACCELERATION, full=RAW_FULL, seed=seed)
    start = time.perf_counter()
    y, channel = prepare(full * mask.centred(), mask.centred())
    maps = estimate_maps(y, channel.mask).maps
    net = default_network(MultiCoilFourier(channel.mask, maps))
    solution = _solve(net, y, progress)
    seconds = time.perf_counter() - start
    weight = maps.abs().square().sum(dim=0).sqrt()
    # The reference is the full scan, its coils combined with the same maps: its noise bounds the PSNR of any method.
    truth = MultiCoilFourier(torch.ones_like(channel.mask), maps).adjoint(to_corner(full, 2)).abs() * weight
    zero_filled, image = net.sensing.adjoint(y).abs() * weight, solution.image.abs() * weight
    how = (f"{mask.rate:.0%} of k-space", mask.rate, mask.recipe)
    return Case("raw 2-coil scan", *how, truth, zero_filled, image, solution, seconds, net.lam)


def tooth_case(progress: Progress | None = None) -> Case:
    """Reconstructs a slice of the tooth, 160 x 160, from 37 measured views, as ``firenet recon`` does.

    The filtered back-projection of all 181 views, with which it is compared, comes with the package; its noise and its
    streaks bound the PSNR of any method.
    """
    with resources.as_file(resources.files("firenet") / "data" / "tooth_37_views.npz") as path:
        scan = Source(path, bin=4, rotation_axis=TOOTH_AXIS).read()
        with np.load(path, allow_pickle=False) as arrays:
            truth = torch.from_numpy(arrays["reference"].astype(np.float32))
    tell = None if progress is None else lambda what, done, most, gap: progress(done, most, gap)
    (made,) = reconstruct_scan(scan, progress=tell, notify=lambda sentence: None)
    operator = made.part.operator
    assert isinstance(operator, Projection)
    assert isinstance(made.found, Solution)
    assert made.asked is not None
    plain = filtered_backprojection(made.part.y, operator)
    views = len(operator.angles)
    how = (f"{views} views", made.part.rate, {"views": views, "of": 181, "bin": 4, "rotation axis": TOOTH_AXIS})
    return Case("measured tooth, CT", *how, truth, plain, made.image, made.found, made.seconds, made.asked.lam)


def draw(cases: Mapping[str, Case], path: Path) -> None:
    """Draws one row for each case: truth, zero-filled, FIRENET, and the error times 5."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 3.45 * len(cases)), layout="constrained")
    for row, case in enumerate(cases.values()):
        peak = case.truth.max().item()
        record = case.record()
        panels = [
            (case.truth, case.compared),
            (case.zero_filled, f"{case.without}, {record['psnr_zero_filled']:.1f} dB"),
            (case.image, f"FIRENET, {record['psnr']:.1f} dB"),
            (5 * (case.image - case.truth).abs(), "error × 5"),
        ]
        for column, (image, name) in enumerate(panels):
            axes = figure.add_subplot(len(cases), 4, 4 * row + column + 1)
            axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=peak, interpolation="nearest")
            axes.set_title(name, fontsize=11)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(f"{case.title}, {case.sampled}", fontsize=11)
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=80, format="png")

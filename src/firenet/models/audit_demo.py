"""The audits of ``firenet audit demo``: trained networks and a FIRENET, on real slices.

* U-Nets, trained without and with noise, at 128 x 128 and 256 x 256, and a FIRENET initialised with the image of the
  U-Net that was trained without noise;
* an AUTOMAP-like network and LISTA at 32 x 32;
* how stability depends on the number of restarts of a FIRENET that is initialised with a U-Net's image;
* D5-C5, a network that others trained.

All networks but D5-C5 were trained on ellipses and on slices of Colin27 with z below 80. All are audited on another
head (s1045), and those of the first item also on the slice of Colin27 with z = 110, if Colin27 is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from firenet.audit import Audit, Settings, Thresholds, audit
from firenet.audit.model import Model
from firenet.audit.run import Progress
from firenet.images import COLIN27, load_colin27, load_slice, resampled
from firenet.io.safely import replacing
from firenet.models.cascade import cascade_model
from firenet.models.firenets import firenet_model, stabilised_model
from firenet.models.load import load_model
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import nested, variable_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = (0.1, 0.2, 0.25, 0.3, 0.4, 0.6)


@dataclass(frozen=True, eq=False)
class Bench:
    """One audit: the arguments of :func:`.audit`, with a mask and sampling rates in place of measurement operators."""

    title: str
    models: Sequence[Model]
    mask: Tensor
    images: Mapping[str, Tensor]
    settings: Settings
    others: Mapping[str, Tensor] = field(default_factory=dict)
    rates: Sequence[float] = ()

    def run(self, folder: Path | None = None, *, retry: bool = False, progress: Progress | None = None) -> Audit:
        """Runs the audit."""
        sensing = SubsampledFourier(self.mask)
        sweep = {rate: SubsampledFourier(mask) for rate, mask in nested(self.mask, self.rates).items()}
        asked = {"title": self.title, "settings": self.settings, "others": self.others, "sweep": sweep}
        return audit(self.models, sensing, self.images, **asked, folder=folder, retry=retry, progress=progress)


def cascade_mask(side: int = 256) -> Tensor:
    """Returns a mask of full lines with acceleration 4. Of 256 lines it has the eight of lowest frequency and
    56 random ones.

    Zero frequency is in the corner.
    """
    rows, middle, low = np.arange(side), side // 2, side // 64
    density = np.exp(-0.5 * ((rows - middle) / (side / 5)) ** 2)
    density[middle - low : middle + low] = 0
    drawn = np.random.default_rng(0).choice(side, side // 4 - 2 * low, replace=False, p=density / density.sum())
    mask = np.zeros((side, side), dtype=bool)
    mask[drawn] = mask[middle - low : middle + low] = True
    return torch.from_numpy(np.fft.ifftshift(mask))


def benches(*, seed: int = 0) -> tuple[list[Bench], list[str]]:
    """Returns all audits, and sentences that say which slices are left out of them and why.

    Args:
        seed: Seeds all attacks and noise.
    """
    left_out = []
    head = load_slice()
    brain: Tensor | None = None
    if COLIN27.exists():
        brain = load_colin27([110])
    else:
        left_out.append(f"Colin27 is not installed ({COLIN27}: apt-get install mricron-data): slices left out.")
    unet, jitter = load_model("unet"), load_model("unet-jitter")
    own = firenet_model()
    limits = Thresholds(contrast=0.02)
    contrasts = (0.2, 0.05, 0.02, 0.01)
    settings = Settings((0.003, 0.01, 0.03), contrasts=contrasts, steps=15, starts=1, thresholds=limits, seed=seed)
    made = []
    for side in (128, 256):
        images = {"s1045": resampled(head[None], side)[0] if side < 256 else head}
        others = {} if brain is None else {"Colin27 z = 110": resampled(brain[:1], side)[0]}
        own_settings = settings if side == 128 else replace(settings, budgets=(0.01,), steps=10)
        models = [unet, jitter, own, stabilised_model(unet)]
        mask = variable_density((side, side), 0.25).samples
        title = f"U-Nets and FIRENET, {side} x {side}"
        made.append(Bench(title, models, mask, images, own_settings, others, RATES))
    mask = variable_density((32, 32), 0.25).samples
    automap = load_model("automap")
    models = [automap, load_model("lista"), firenet_model(), stabilised_model(automap)]
    title = "An AUTOMAP-like network, LISTA and FIRENET, 32 x 32"
    small = replace(settings, budgets=(0.01,), contrasts=(0.5, 0.2, 0.1, 0.05), thresholds=Thresholds())
    made.append(Bench(title, models, mask, {"s1045": resampled(head[None], 32)[0]}, small, {}, RATES))
    models = [unet]
    for restarts in (1, 2, 3, 4, 6):
        word = "restart" if restarts == 1 else "restarts"
        models.append(stabilised_model(unet, restarts=restarts, name=f"unet, then {restarts} {word}"))
    models.append(firenet_model())
    few = replace(settings, budgets=(0.01,), tests=("accuracy", "worst"))
    mask, images = variable_density((128, 128), 0.25).samples, {"s1045": resampled(head[None], 128)[0]}
    made.append(Bench("A U-Net followed by a FIRENET of few restarts", models, mask, images, few))
    few = replace(settings, budgets=(0.01,), steps=20, tests=("accuracy", "worst", "localised", "noise", "transfer"))
    title = "D5-C5 and FIRENET, 256 x 256, R = 4"
    made.append(Bench(title, [cascade_model(), firenet_model()], cascade_mask(), {"s1045": head}, few))
    return made, left_out


def draw(audits: Sequence[Audit], path: Path) -> None:
    """Draws the main findings: the worst perturbations of D5-C5 and a FIRENET, inserted details as three models
    reconstruct them, and the effects of the number of restarts and of the number of samples.

    Args:
        audits: The audits of :func:`benches`, in their order.
        path: The PNG file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 15), layout="constrained")
    grid = figure.add_gridspec(5, 4, height_ratios=(1, 1, 1, 1, 1.15))

    def show(row: int, column: int, array: np.ndarray, title: str, top: float) -> None:
        axes = figure.add_subplot(grid[row, column])
        axes.imshow(np.abs(array), cmap="gray", vmin=0, vmax=top, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])

    _show_perturbations(show, audits[-1])
    _show_details(show, audits[1])
    _plot_restarts(figure.add_subplot(grid[4, :2]), audits[3])
    _plot_samples(figure.add_subplot(grid[4, 2:]), audits[1])
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=70, format="png")


def _show_perturbations(show: Callable[[int, int, np.ndarray, str, float], None], audit: Audit) -> None:
    """Shows the worst perturbation of the first network and of the FIRENET, in rows 0 and 1."""
    k = audit.settings.budgets.index(audit.settings.reference)
    for row, model in enumerate((next(iter(audit.models)), "FIRENET")):
        found = audit.of(model, "worst")[0]
        image = audit.pictures[audit.images[found.image]["picture"]]
        top, ratio = float(image.max()), found.numbers["amplification"][k]
        show(row, 0, image, found.image, top)
        show(row, 1, audit.pictures[found.pictures["clean"]], model, top)
        words = f"with the worst {audit.settings.reference:.0%}: {ratio:.1f} times as large"
        show(row, 2, audit.pictures[found.pictures["attacked"]], words, top)
        show(row, 3, 5 * audit.pictures[found.pictures["change"]], "what it changes, times 5", top)


def _show_details(show: Callable[[int, int, np.ndarray, str, float], None], audit: Audit) -> None:
    """Shows two details in the object and as three models reconstruct them, in rows 2 and 3."""
    for row, kind in ((2, "text"), (3, "lines")):
        what = f"{kind}, contrast {audit.settings.contrasts[0]:g}"
        rows = {m: audit.of(m, "details")[0] for m in list(audit.models)[:3]}
        first = next(iter(rows.values()))
        top = float(audit.pictures[audit.images[first.image]["picture"]].max())
        show(row, 0, audit.pictures[first.pictures[f"object, {what}"]], f"object, {what}", top)
        for column, (model, found) in enumerate(rows.items(), start=1):
            share = found.numbers[kind][0]["recovered"]
            show(row, column, audit.pictures[found.pictures[what]], f"{model}: {share:.0%} of it", top)


def _plot_restarts(axes: Axes, audit: Audit) -> None:
    """Plots accuracy against worst amplification, a point for each number of restarts."""
    points = []
    for model in audit.models:
        (worst,), (accurate,) = audit.of(model, "worst"), audit.of(model, "accuracy")
        points.append((worst.numbers["amplification"][0], accurate.numbers["psnr"]))
        # The point of the FIRENET alone is near those of many restarts, so its name is on the other side.
        side, shift = ("right", -6) if model == "FIRENET" else ("left", 5)
        axes.annotate(model, points[-1], xytext=(shift, 5), textcoords="offset points", fontsize=9, ha=side)
    axes.plot(*zip(*points, strict=True), "o")
    axes.set_xlabel("worst amplification at 1 %")
    axes.set_ylabel("PSNR in dB")
    axes.set_title("Restarts after a U-Net: stability and accuracy", fontsize=10)
    axes.margins(0.15)


def _plot_samples(axes: Axes, audit: Audit) -> None:
    """Plots the accuracy of three models against the share of the samples."""
    for model in list(audit.models)[:3]:
        (found,) = audit.of(model, "samples")
        axes.plot(found.numbers["rates"], found.numbers["psnr"], "o-", label=model)
    axes.set_xlabel("share of the samples (trained at 0.25)")
    axes.set_ylabel("PSNR in dB")
    axes.set_title("More samples should never make it worse, 256 x 256", fontsize=10)
    axes.legend(fontsize=9)

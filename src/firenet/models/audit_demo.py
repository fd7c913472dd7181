"""The benches of ``firenet audit demo``: trained networks beside a FIRENET, on real slices.

* U-Nets, trained without noise and with, at 128 x 128 and 256 x 256, and a FIRENET behind the first;
* an AUTOMAP-like network and LISTA at 32 x 32;
* how many restarts behind a U-Net buy how much stability;
* D5-C5, a pretrained network from elsewhere.

Networks were trained on ellipses and Colin27 with z below 80, and are audited on another head (s1045) and on a slice
with z = 110.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet.audit import Audit, Settings, Thresholds, audit
from firenet.audit.model import Model
from firenet.audit.run import Progress
from firenet.images import COLIN27, load_colin27, load_slice, resampled
from firenet.io.safely import replacing
from firenet.models.firenets import firenet_model, stabilised_model
from firenet.models.load import load_model
from firenet.models.weights import cascade_model
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import nested, variable_density

RATES = (0.1, 0.2, 0.25, 0.3, 0.4, 0.6)


@dataclass(frozen=True, eq=False)
class Bench:
    """What :func:`.audit` takes."""

    title: str
    models: Sequence[Model]
    mask: Tensor
    images: Mapping[str, Tensor]
    settings: Settings
    others: Mapping[str, Tensor] = field(default_factory=dict)
    rates: Sequence[float] = ()

    def run(self, folder: Path | None = None, *, retry: bool = False, progress: Progress | None = None) -> Audit:
        """Makes the audit."""
        sweep = {rate: SubsampledFourier(mask) for rate, mask in nested(self.mask, self.rates).items()}
        return audit(
            self.models,
            SubsampledFourier(self.mask),
            self.images,
            title=self.title,
            settings=self.settings,
            others=self.others,
            sweep=sweep,
            folder=folder,
            retry=retry,
            progress=progress,
        )


def cascade_mask(side: int = 256) -> Tensor:
    """Full lines, R = 4: of 256 the eight lowest and 56 drawn around; zero frequency in the corner."""
    rows, middle, low = np.arange(side), side // 2, side // 64
    density = np.exp(-0.5 * ((rows - middle) / (side / 5)) ** 2)
    density[middle - low : middle + low] = 0
    drawn = np.random.default_rng(0).choice(side, side // 4 - 2 * low, replace=False, p=density / density.sum())
    mask = np.zeros((side, side), dtype=bool)
    mask[drawn] = mask[middle - low : middle + low] = True
    return torch.from_numpy(np.fft.ifftshift(mask))


def benches(*, seed: int = 0) -> tuple[list[Bench], list[str]]:
    """All benches that can be made here, and why others cannot.

    Args:
        seed: Of all attacks and noise.
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
    settings = Settings(
        budgets=(0.003, 0.01, 0.03),
        contrasts=(0.2, 0.05, 0.02, 0.01),
        steps=15,
        starts=1,
        thresholds=limits,
        seed=seed,
    )
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
        models.append(stabilised_model(unet, restarts=restarts, name=f"unet, {restarts} {word} behind"))
    models.append(firenet_model())
    few = replace(settings, budgets=(0.01,), tests=("accuracy", "worst"))
    mask, images = variable_density((128, 128), 0.25).samples, {"s1045": resampled(head[None], 128)[0]}
    made.append(Bench("How many restarts behind a U-Net", models, mask, images, few))
    few = replace(settings, budgets=(0.01,), steps=20, tests=("accuracy", "worst", "localised", "noise", "transfer"))
    title = "D5-C5 and FIRENET, 256 x 256, R = 4"
    made.append(Bench(title, [cascade_model(), firenet_model()], cascade_mask(), {"s1045": head}, few))
    return made, left_out


def draw(audits: Sequence[Audit], path: Path) -> None:
    """One picture of what was found: the worst perturbation of two networks, details, restarts, samples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 15), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(5, 4, height_ratios=(1, 1, 1, 1, 1.15))

    def show(row: int, column: int, array: np.ndarray, title: str, top: float) -> None:
        axes = figure.add_subplot(grid[row, column])
        axes.imshow(np.abs(array), cmap="gray", vmin=0, vmax=top, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])

    attacked = audits[-1]
    k = attacked.settings.budgets.index(attacked.settings.reference)
    name = next(iter(attacked.models))
    for row, model in enumerate((name, "FIRENET")):
        found = attacked.of(model, "worst")[0]
        image = attacked.pictures[attacked.images[found.image]["picture"]]
        top, ratio = float(image.max()), found.numbers["amplification"][k]
        show(row, 0, image, found.image, top)
        show(row, 1, attacked.pictures[found.pictures["clean"]], f"{model}", top)
        words = f"with the worst {attacked.settings.reference:.0%}: {ratio:.1f} times as large"
        show(row, 2, attacked.pictures[found.pictures["attacked"]], words, top)
        show(row, 3, 5 * attacked.pictures[found.pictures["change"]], "what it changes, times 5", top)
    detailed = audits[1]
    title = f"text, contrast {detailed.settings.contrasts[0]:g}"
    lines = f"lines, contrast {detailed.settings.contrasts[0]:g}"
    for row, what in ((2, title), (3, lines)):
        rows = {m: detailed.of(m, "details")[0] for m in list(detailed.models)[:3]}
        first = next(iter(rows.values()))
        top = float(detailed.pictures[detailed.images[first.image]["picture"]].max())
        show(row, 0, detailed.pictures[first.pictures[f"object, {what}"]], f"object, {what}", top)
        kind = what.partition(",")[0]
        for column, (model, found) in enumerate(rows.items(), start=1):
            share = found.numbers[kind][0]["recovered"]
            show(row, column, detailed.pictures[found.pictures[what]], f"{model}: {share:.0%} of it", top)
    restarted = audits[3]
    axes = figure.add_subplot(grid[4, :2])
    points = []
    for model in restarted.models:
        (worst,), (accurate,) = restarted.of(model, "worst"), restarted.of(model, "accuracy")
        points.append((worst.numbers["amplification"][0], accurate.numbers["psnr"]))
        # The FIRENET lies where many restarts do: its name goes to the other side.
        side, shift = ("right", -6) if model == "FIRENET" else ("left", 5)
        axes.annotate(model, points[-1], xytext=(shift, 5), textcoords="offset points", fontsize=9, ha=side)
    axes.plot(*zip(*points, strict=True), "o")
    axes.set_xlabel("worst amplification at 1 %")
    axes.set_ylabel("PSNR in dB")
    axes.set_title("Restarts behind a U-Net: stability and accuracy", fontsize=10)
    axes.margins(0.15)
    axes = figure.add_subplot(grid[4, 2:])
    for model in list(detailed.models)[:3]:
        (found,) = detailed.of(model, "samples")
        axes.plot(found.numbers["rates"], found.numbers["psnr"], "o-", label=model)
    axes.set_xlabel("share of the samples (trained at 0.25)")
    axes.set_ylabel("PSNR in dB")
    axes.set_title("More samples should never make it worse, 256 x 256", fontsize=10)
    axes.legend(fontsize=9)
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=70, format="png")

"""``firenet audit run``: how stable a reconstruction is.

A module that is named on the command line, ``module:factory``, is imported. Weights in a file of ``torch.save`` are
read by torch's restricted unpickler (``weights_only=True``). No other file is unpickled without ``--trust-model``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from firenet.cli import audit, console, options
from firenet.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from firenet.audit import Settings
    from firenet.audit.detail import Pair
    from firenet.audit.model import Model


@console.reports
def run(
    model: Annotated[
        list[str],
        Option(
            "--model",
            "-m",
            help="WHAT or NAME=WHAT. WHAT is module:factory, a file (.onnx, .safetensors, .pt, .pt2), or a word: unet, "
            "unet-jitter, automap, lista, d5c5, zero-filled, firenet, firenet:adaptive, stabilised:unet. "
            "Repeat the option for several models.",
            show_default=False,
        ),
    ],
    image: Annotated[
        list[str],
        Option(
            "--image",
            "-i",
            help="A file (npy, png, nii, dcm); s1045, the MRI slice in matplotlib; or colin27:Z, slice Z of the brain "
            "in Debian's mricron-data. Repeat the option for several images.",
            show_default=False,
        ),
    ],
    out: options.Report = Path("audit.html"),
    mask: Annotated[
        Path | None, Option(help="The sampling mask, zero frequency in the middle. Default: variable density.")
    ] = None,
    rate: options.Rate = 0.25,
    corner_dc: Annotated[bool, Option("--corner-dc", help="The mask has zero frequency in the corner.")] = False,
    side: Annotated[
        int | None, Option(help="Lower the resolution: crop k-space of square images to this side.")
    ] = None,
    other: Annotated[
        list[str] | None,
        Option(help="An image of another kind than those of --image, for the test 'anatomy'. Repeat for several."),
    ] = None,
    weights: Annotated[
        Path | None, Option(help="The weights for the one module:factory: .safetensors or a state_dict.")
    ] = None,
    trust: Annotated[
        bool,
        Option(
            "--trust-model",
            help="Allow TorchScript and .pt2 files, whose code runs with your rights, though in another process.",
        ),
    ] = False,
    baseline: Annotated[bool, Option("--baseline/--no-baseline", help="Also audit a FIRENET, to compare with.")] = True,
    sparsify: Annotated[
        str, Option(help="The transform of FIRENETs, as in firenet recon. Attacks are faster with few bands.")
    ] = "undecimated:db2:1",
    budgets: Annotated[
        str | None, Option(help="The sizes of perturbations relative to |y|, for example 0.002,0.01,0.05.")
    ] = None,
    reference: Annotated[
        float | None, Option(help="The size of perturbations, one of --budgets, for which the verdicts are given.")
    ] = None,
    ascent: Annotated[
        str | None,
        Option(help="The ascent that seeks the worst perturbations: gradient, momentum, adam, or spsa (no gradients)."),
    ] = None,
    domain: Annotated[
        str | None, Option(help="What is perturbed: measurement, or image (changes of the object).")
    ] = None,
    steps: Annotated[int | None, Option(min=1, help="The number of steps of an ascent.")] = None,
    starts: Annotated[int | None, Option(min=1, help="The number of ascents; all but one start at random.")] = None,
    tests: Annotated[
        str | None, Option(help="Run only these tests, separated by commas; an unknown name lists all. Default: all.")
    ] = None,
    rates: Annotated[
        str, Option(help="The sampling rates of the test of more and fewer samples; an empty value leaves it out.")
    ] = "0.1,0.2,0.25,0.3,0.4,0.6",
    threshold: Annotated[
        list[str] | None,
        Option(
            help="NAME=NUMBER sets the limit beyond which a test fails. NAME is amplification, local, contrast, index, "
            "lipschitz, fall, scaling, noise or gain. Repeat for several.",
        ),
    ] = None,
    pair: Annotated[
        Path | None,
        Option(help="Two images that no method can tell apart, from `firenet confuse -o`, for the test 'kernel'."),
    ] = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    retry: options.Retry = False,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    threads: options.Threads = None,
) -> None:
    """Test any reconstruction: worst perturbations, details lost or invented, more samples, other noise.

    Exit code 4 if every model of --model failed; if only some did, they are named on stderr.

    A factory takes the measurement operator and returns a function from measurements to the image. The measurements are
    a complex tensor on the grid of the mask, with zero frequency in the corner:
    def factory(sensing): return lambda y: sensing.adjoint(y).real

    Examples:
      firenet audit run -m unet -m zero-filled -i s1045 -o unet.html
      firenet audit run -m mine=my_module:factory -i slice.npy --mask mask.npy
      firenet audit run -m net.onnx -i s1045 --side 64 --tests worst,details
    """
    from firenet.audit import audit as measure
    from firenet.errors import plain as escaped
    from firenet.sensing.fourier import SubsampledFourier
    from firenet.sensing.masks import nested

    audit.check(out, overwrite)
    audit.prepare(threads)
    plain = {"reference": reference, "ascent": ascent, "domain": domain, "steps": steps, "starts": starts}
    settings = _settings(plain, budgets, tests, threshold or [], seed)
    with console.busy("loading models and images"):
        images = {name: _image(name, side) for name in image}
        samples = _mask(mask, rate, corner_dc, tuple(next(iter(images.values())).shape))
        models = _models(model, weights, trust, sparsify, baseline)
        masks = nested(samples, options.parse_numbers(rates, "--rates"), seed=seed)
    folder = audit.parts(out, resume)
    with console.progress("audit", "parts") as tell:
        found = measure(
            models,
            SubsampledFourier(samples),
            images,
            settings=settings,
            others={name: _image(name, side) for name in other or []},
            sweep={share: SubsampledFourier(m) for share, m in masks.items()},
            pair=None if pair is None else _pair(pair),
            folder=folder,
            retry=retry,
            progress=lambda done, most, now: tell(done, most, None, now),
        )
    asked = [escaped(m.name) for m in models[: len(model)]]  # the FIRENET to compare with comes after them
    audit.finish([found], out, "Stability audit", as_json, strict, [], asked)


def _settings(
    plain: dict[str, Any], budgets: str | None, tests: str | None, thresholds: Sequence[str], seed: int
) -> Settings:
    """Returns the settings of an audit; ``plain`` are those that need no parsing, None where they were not given."""
    from firenet.audit import Settings, Thresholds

    known, limits = [f.name for f in fields(Thresholds)], {}
    for text in thresholds:
        name, _, number = text.partition("=")
        example = "--threshold amplification=3"
        if name not in known:
            raise BadInput(f"--threshold NAME=NUMBER, NAME one of {', '.join(known)}", repr(text), example)
        values = options.parse_numbers(number, "--threshold")
        if len(values) != 1 or values[0] != values[0]:  # NaN
            raise BadInput("One number for --threshold", repr(text), example)
        limits[name] = values[0]
    for option, words in (("ascent", ("gradient", "momentum", "adam", "spsa")), ("domain", ("measurement", "image"))):
        if plain[option] not in (None, *words):
            raise BadInput(f"--{option}: {' or '.join(words)}", repr(plain[option]), "Choose one")
    chosen = {name: value for name, value in plain.items() if value is not None}
    if budgets is not None:
        chosen["budgets"] = tuple(sorted(options.parse_numbers(budgets, "--budgets")))
    elif plain["reference"] is not None:
        chosen["budgets"] = tuple(sorted({*Settings().budgets, plain["reference"]}))
    if tests is not None:
        chosen["tests"] = tuple(t.strip() for t in tests.split(",") if t.strip())
    return Settings(thresholds=Thresholds(**limits), seed=seed, **chosen)


def _image(name: str, side: int | None) -> Tensor:
    """Returns an image from a file or a package, real, from 0 to 1."""
    import numpy as np
    import torch

    from firenet.images import load_colin27, load_slice, resampled
    from firenet.io.files import read_image

    if name == "s1045":
        image = load_slice()
    elif name.startswith("colin27:"):
        z = name.partition(":")[2]
        if not z.isdecimal():
            raise BadInput("colin27:Z, Z a slice", repr(name), "For example colin27:110")
        image = load_colin27([int(z)])[0]
    else:
        array = np.squeeze(np.abs(read_image(name)[0])).astype(np.float32)
        if array.ndim != 2:
            raise BadInput("An image of two axes", f"{name} of shape {array.shape}", "Cut out one slice")
        image = torch.from_numpy(array / max(float(array.max()), 1e-30))
    return image if side is None else resampled(image[None], side)[0]


def _pair(path: Path) -> Pair:
    """Returns the difference of a pair that `firenet confuse` wrote, with its noise and its distance."""
    import torch

    from firenet.audit.detail import Pair
    from firenet.io.files import read_array

    first, second, noise, distance = (read_array(path, key=k) for k in ("first", "second", "noise", "distance"))
    return Pair(torch.from_numpy(second - first), float(noise), float(distance))


def _mask(path: Path | None, rate: float, corner_dc: bool, shape: tuple[int, ...]) -> Tensor:
    """Returns a sampling mask with zero frequency in the corner."""
    import torch

    from firenet.io.files import read_array
    from firenet.sensing.masked import as_mask
    from firenet.sensing.masks import variable_density

    if path is None:
        return variable_density(shape, rate).samples
    samples = as_mask(read_array(path, purpose="mask"))
    if tuple(samples.shape) != shape:
        do = "Give a mask on the grid of the images, or --side"
        raise BadInput(f"A mask of shape {shape}", f"{tuple(samples.shape)}", do)
    return samples if corner_dc else torch.fft.ifftshift(samples)


def _models(texts: Sequence[str], weights: Path | None, trust: bool, sparsify: str, baseline: bool) -> list[Model]:
    """Returns the models that the options --model name, and last the FIRENET to compare with."""
    from firenet.models.firenets import firenet_model
    from firenet.models.load import BUILT_IN, load_model

    models, factories = [], 0
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals or Path(text).exists() or "/" in name:  # a path may have an = in it
            what, name = text, None
        factory = what not in BUILT_IN and ":" in what and not Path(what).exists()
        factories += factory
        models.append(load_model(what, weights=weights if factory else None, trust=trust, sparsify=sparsify, name=name))
    if weights is not None and factories != 1:
        do = "Audit them one after the other, or load the weights in the factory"
        raise BadInput("One module:factory for --weights", f"{factories}", do)
    if baseline and not any(m.name == "FIRENET" for m in models):
        models.append(firenet_model(sparsify))
    return models

"""``firenet audit run | demo``: how stable a reconstruction is.

A module that is named on the command line, ``module:factory``, is imported; nothing else is, and no file is unpickled.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet.cli import console
from firenet.errors import BadInput, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from firenet.audit import Audit, Settings
    from firenet.audit.model import Model


audits = typer.Typer(
    name="audit",
    help="The stability audit: how wrong a reconstruction can get, what it loses, what it invents.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_WITNESSES = ".witnesses.npz"
Json = Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the CPU to use.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the parts that are done, in OUT.parts.")]
Retry = Annotated[bool, typer.Option("--retry", help="With --resume: try again what failed.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT.json also where firenet did not write it.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 3 if a test failed or is not decided.")]


def prepare(threads: int | None) -> None:
    import torch

    # A gradient that fades over many layers ends in numbers so small that a CPU takes ten times as long for them.
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)


def _check(out: Path, overwrite: bool) -> None:
    """What the end of a long audit needs, asked for before it begins."""
    from firenet.io.files import check_beside, check_output
    from firenet.io.safely import check_room
    from firenet.optional import optional

    check_output(out, suffixes=(".html",))
    for end in (".json", _WITNESSES):
        check_beside(out.with_suffix(end), overwrite=overwrite)
    check_room(out.with_suffix(".room"))  # for the parts
    for module, purpose in (
        ("jinja2", "The HTML report"),
        ("skimage.metrics", "SSIM"),
        ("safetensors", "Weights"),
        ("firenet_models", "Trained networks"),
    ):
        optional(module, "audit", purpose)


def _parts(out: Path, resume: bool) -> Path:
    """The folder of finished parts; without --resume an empty one."""
    from firenet.audit.parts import remove

    folder = out.with_suffix(".parts")
    if not resume:
        remove(folder)
    return folder


def _finish(
    made: Sequence[Audit],
    out: Path,
    title: str,
    as_json: bool,
    strict: bool,
    notes: Sequence[str],
    asked: Sequence[str] | None = None,
) -> None:
    """Report, record, table, exit code; ``asked`` are the names of the models that were asked for, None is all."""
    from firenet.audit import Outcome
    from firenet.audit.report import compared, write_report, write_witnesses
    from firenet.io.files import write_json
    from firenet.io.safely import together

    command = plain(shlex.join(["firenet", *sys.argv[1:]]))
    record = {
        "title": title,
        "command": command,
        "audits": [a.record() for a in made],
        "notes": list(notes),
        "report": str(out),
    }
    found = {f"{k}: {key}": e for k, a in enumerate(made) for key, e in a.witnesses.items()}
    with together():
        write_json(out.with_suffix(".json"), record)
        if found:
            write_witnesses(out.with_suffix(_WITNESSES), found)
        else:  # those of an earlier run would convict the models of this one
            out.with_suffix(_WITNESSES).unlink(missing_ok=True)
        size = write_report(out, made, command=command, title=title)
    if as_json:
        console.print_json(record)
    else:
        for a in made:
            tests, names = [t for t in a.settings.tests if any(v.test == t for v in a.verdicts)], list(a.models)
            rows = [[t, *(_word(a, name, t) for name in names)] for t in tests]
            console.table(a.title, ["test", *names], rows)
            for sentence in compared(a):
                console.say(sentence)
        console.say(f"report: {out} ({size / 1e6:.1f} MB), record: {out.with_suffix('.json')}")
    for note in notes:
        console.say(note, err=True)
    failed = {name: reason for a in made for name, reason in _failed(a).items()}
    for name, reason in failed.items():
        console.say(f"{name} could not be audited: {reason}", err=True)
    if set(asked or [name for a in made for name in a.models]) <= set(failed):
        console.say("every model that was to be audited failed", err=True)
        raise typer.Exit(console.NOTHING_MEASURED)
    undecided = [v for a in made for v in a.verdicts if v.outcome == Outcome.UNDECIDED]
    for v in undecided:
        typer.echo(f"not decided: {v.model}, {v.test}: {v.text}", err=True)
    if strict and (undecided or any(v.outcome == Outcome.FAILED for a in made for v in a.verdicts)):
        raise typer.Exit(console.NOT_REACHED)


def _failed(audit: Audit) -> dict[str, str]:
    """The models of which nothing is known, and why."""
    found = {}
    for name, about in audit.models.items():
        own = [row for row in audit.rows if row.model == name]
        if own and all(row.failed is not None for row in own):
            found[name] = str(about.get("failed") or own[0].failed)
    return found


def _word(audit: Audit, model: str, test: str) -> tuple[str, ...]:
    """The outcome and its number with its unit, the lines of a cell."""
    from firenet.audit.verdicts import measured

    for v in audit.verdicts:
        if (v.model, v.test) == (model, test):
            number = measured(test, v.value)
            return (*textwrap.wrap(v.outcome, 13), *textwrap.wrap(number, 16))
    return ()


@audits.command()
@console.reports
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The report (.html).")] = Path("firenet-audit.html"),
    picture: Annotated[Path | None, typer.Option("--picture", help="Also a picture of what was found (.png).")] = None,
    resume: Resume = False,
    retry: Retry = False,
    strict: Strict = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Audit the trained networks that come with firenet, and a FIRENET beside them, on real slices."""
    from firenet.io.files import check_output
    from firenet.models.audit_demo import benches, draw

    _check(out, overwrite)
    if picture is not None:
        check_output(picture, suffixes=(".png",))
    prepare(threads)
    folder = _parts(out, resume)
    made, notes = benches()
    found = []
    for bench in made:
        with console.progress(bench.title, "parts") as tell:
            found.append(bench.run(folder, retry=retry, progress=lambda done, most, now: tell(done, most, None, now)))
    if picture is not None:
        draw(found, picture)
    _finish(found, out, "Stability audit: trained networks and FIRENET", as_json, strict, notes)


@audits.command()
@console.reports
def run(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="NAME=WHAT or WHAT: module:factory, a file .onnx, .safetensors, .pt, .pt2, or a word: unet, "
            "unet-jitter, automap, lista, d5c5, zero-filled, firenet, firenet:adaptive, stabilised:unet. "
            "Repeat for more.",
            show_default=False,
        ),
    ],
    image: Annotated[
        list[str],
        typer.Option(
            "--image", "-i", help="A file (npy, png, nii, dcm), or s1045, colin27:Z. Repeat.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The report (.html); the record lies beside it.")] = Path(
        "audit.html"
    ),
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Sampling mask, zero frequency in the middle; else --rate.")
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Share of k-space, variable density.")] = 0.25,
    corner_dc: Annotated[bool, typer.Option("--corner-dc", help="The mask has zero frequency in the corner.")] = False,
    side: Annotated[
        int | None, typer.Option("--side", help="Lower resolution: crop k-space of square images to this side.")
    ] = None,
    other: Annotated[
        list[str] | None, typer.Option("--other", help="Images of another kind, as --image. Repeat.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights for the one module:factory: .safetensors or a state_dict.")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust-model", help="Open TorchScript and .pt2, whose code runs with your rights, in another process."
        ),
    ] = False,
    baseline: Annotated[bool, typer.Option("--baseline/--no-baseline", help="Audit a FIRENET beside.")] = True,
    sparsify: Annotated[
        str,
        typer.Option("--sparsify", help="Transform of FIRENETs, as in firenet recon; few bands are fast to attack."),
    ] = "undecimated:db2:1",
    budgets: Annotated[
        str | None, typer.Option("--budgets", help="Sizes of perturbations, shares of |y|: 0.002,0.01,0.05.")
    ] = None,
    reference: Annotated[float | None, typer.Option("--reference", help="The budget that verdicts speak of.")] = None,
    ascent: Annotated[
        str | None, typer.Option("--ascent", help="gradient, momentum, adam, or spsa: without gradients.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help="measurement, or image: what a change of the object can do.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Of an ascent.")] = None,
    starts: Annotated[int | None, typer.Option("--starts", min=1, help="Random starts of an ascent.")] = None,
    tests: Annotated[str | None, typer.Option("--tests", help="Only these, comma between. Default: all.")] = None,
    rates: Annotated[
        str, typer.Option("--rates", help="For the test of more and fewer samples; empty leaves it out.")
    ] = "0.1,0.2,0.25,0.3,0.4,0.6",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            help="NAME=NUMBER: amplification, local, contrast, index, lipschitz, fall, scaling, noise, gain.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 0,
    resume: Resume = False,
    retry: Retry = False,
    strict: Strict = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Put any reconstruction on the bench: worst perturbations, details lost or invented, more samples, other noise.

    Exit code 4 where every model of --model failed; where some did, they are named on stderr.

    A factory is a function of the sensing operator that returns a function of measurements, a complex tensor on the
    grid of the mask with zero frequency in the corner: def factory(sensing): return lambda y: sensing.adjoint(y).real
    """
    from firenet.audit import audit
    from firenet.sensing.fourier import SubsampledFourier
    from firenet.sensing.masks import nested

    _check(out, overwrite)
    prepare(threads)
    settings = _settings(budgets, reference, ascent, domain, steps, starts, tests, threshold, seed)
    images = {name: _image(name, side) for name in image}
    shape = tuple(next(iter(images.values())).shape)
    samples = _mask(mask, rate, corner_dc, shape)
    sensing = SubsampledFourier(samples)
    models = _models(model, weights, trust, sparsify, baseline)
    sweep = {r: SubsampledFourier(m) for r, m in nested(samples, numbers(rates, "--rates"), seed=seed).items()}
    folder = _parts(out, resume)
    with console.progress("audit", "parts") as tell:
        found = audit(
            models,
            sensing,
            images,
            settings=settings,
            others={name: _image(name, side) for name in other or []},
            sweep=sweep,
            folder=folder,
            retry=retry,
            progress=lambda done, most, now: tell(done, most, None, now),
        )
    asked = [plain(m.name) for m in models[: len(model)]]  # the FIRENET beside them is behind
    _finish([found], out, "Stability audit", as_json, strict, [], asked)


def numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadInput(f"Numbers with commas between for {option}", repr(text), "For example 0.002,0.01,0.05") from None


def _settings(
    budgets: str | None,
    reference: float | None,
    ascent: str | None,
    domain: str | None,
    steps: int | None,
    starts: int | None,
    tests: str | None,
    thresholds: Sequence[str] | None,
    seed: int,
) -> Settings:
    from firenet.audit import Settings, Thresholds

    limits: dict[str, float] = {}
    for text in thresholds or []:
        name, _, number = text.partition("=")
        if name not in {f.name for f in fields(Thresholds)}:
            known = ", ".join(f.name for f in fields(Thresholds))
            raise BadInput(f"--threshold NAME=NUMBER, NAME one of {known}", repr(text), "--threshold amplification=3")
        values = numbers(number, "--threshold")
        if len(values) != 1 or values[0] != values[0]:
            raise BadInput("One number for --threshold", repr(text), "--threshold amplification=3")
        limits[name] = values[0]
    if ascent not in (None, "gradient", "momentum", "adam", "spsa"):
        raise BadInput("--ascent: gradient, momentum, adam or spsa", repr(ascent), "Choose one")
    if domain not in (None, "measurement", "image"):
        raise BadInput("--domain: measurement or image", repr(domain), "Choose one")
    chosen: dict[str, Any] = {"thresholds": Thresholds(**limits), "seed": seed}
    plain = {"reference": reference, "ascent": ascent, "domain": domain, "steps": steps, "starts": starts}
    chosen |= {name: value for name, value in plain.items() if value is not None}
    if budgets is not None:
        chosen["budgets"] = tuple(sorted(numbers(budgets, "--budgets")))
    if reference is not None and budgets is None:
        chosen["budgets"] = tuple(sorted({*Settings().budgets, reference}))
    if tests is not None:
        chosen["tests"] = tuple(t.strip() for t in tests.split(",") if t.strip())
    return Settings(**chosen)


def _image(name: str, side: int | None) -> Tensor:
    """An image from a file or a package, real, from 0 to 1."""
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


def _mask(path: Path | None, rate: float, corner_dc: bool, shape: tuple[int, ...]) -> Tensor:
    """A sampling mask with zero frequency in the corner."""
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
    from firenet.models.firenets import firenet_model
    from firenet.models.load import BUILT_IN, load_model

    models = []
    factories = 0
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

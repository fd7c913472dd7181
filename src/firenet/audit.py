"""The stability audit: any reconstruction on the bench, and what it does written down.

One audit is one sensing operator, some models and some images. Each test of a model on an image is a part: it is put on
disk when it is done, a long audit goes on where it ended, and what fails is a row of the record with its reason.
Everything is measured. What an attack finds is a lower bound of how bad it can get; that nothing worse was found proves
nothing, except for FIRENETs, whose objective is bounded for every perturbation (:func:`firenet.models.certified`).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from firenet.attack import Ascent, Domain, Perturbation, attack, transferred
from firenet.errors import BadInput, FirenetError
from firenet.formats import optional, replacing
from firenet.meaning import ROSE, detect, kernel, scaled
from firenet.models import Model, certified, of
from firenet.operators import LinearOperator
from firenet.problems import real_view
from firenet.recon import psnr
from firenet.specimens import detail

SCHEMA = 1
TESTS = (
    "accuracy",
    "worst",
    "localised",
    "details",
    "kernel",
    "noise",
    "scaling",
    "samples",
    "anatomy",
    "transfer",
    "certificate",
)
DRAWS = 4
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Thresholds:
    """What a model must hold to pass.

    Attributes:
        amplification: At the reference budget, the largest amplification that an attack, or one for another model, may
            find.
        local: The largest change of a pixel in the window, in parts of the image's maximum.
        contrast: Details of this contrast or more must be seen.
        index: A detail with this index or more is seen.
        lipschitz: The largest lower bound of the Lipschitz constant that a hidden detail may give.
        fall: By how many dB the PSNR may fall when samples are added.
        scaling: By what share the image may depend on the unit of the data.
        noise: The largest amplification of Gaussian noise.
        gain: By how many dB the PSNR must be above that of the adjoint, on every image.
    """

    amplification: float = 5.0
    local: float = 0.2
    contrast: float = 0.1
    index: float = ROSE
    lipschitz: float = 5.0
    fall: float = 0.5
    scaling: float = 0.01
    noise: float = 2.0
    gain: float = 0.0


@dataclass(frozen=True)
class Settings:
    """All that is chosen.

    Attributes:
        budgets: Of perturbations, in parts of the measurements' norm.
        reference: The budget that verdicts speak of; one of ``budgets``.
        ascent: As in :func:`firenet.attack.attack`; ``spsa`` is taken where there is no gradient.
        domain: ``measurement``: whatever is added to the measurements; ``image``: what a change of the object can do.
        steps: Of an ascent.
        starts: Of an ascent.
        details: Which are looked for.
        contrasts: Of the details, in parts of the image's maximum, falling.
        noise: Relative levels of Gaussian noise.
        factors: By which the data are multiplied.
        window: Side of the window of the localised attack, in parts of the image's.
        tests: Which are made.
        thresholds: For the verdicts.
        seed: Of all that is random.
    """

    budgets: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.05)
    reference: float = 0.01
    ascent: Ascent = "gradient"
    domain: Domain = "measurement"
    steps: int = 20
    starts: int = 2
    details: tuple[str, ...] = ("text", "disc", "lines")
    contrasts: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05)
    noise: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    factors: tuple[float, ...] = (0.1, 0.5, 2.0, 10.0)
    window: float = 0.125
    tests: tuple[str, ...] = TESTS
    thresholds: Thresholds = field(default_factory=Thresholds)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("budgets", "details", "contrasts", "noise", "factors", "tests"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.reference not in self.budgets:
            raise BadInput("A reference that is one of the budgets", f"{self.reference}", f"Budgets: {self.budgets}")
        unknown = set(self.tests) - set(TESTS)
        if unknown or not self.tests:
            raise BadInput(f"Tests: {', '.join(TESTS)}", f"{sorted(unknown)}", "Choose some of them")
        if self.ascent not in get_args(Ascent) or self.domain not in get_args(Domain):
            needed = f"An ascent of {', '.join(get_args(Ascent))}, a domain of {', '.join(get_args(Domain))}"
            raise BadInput(needed, f"{self.ascent!r}, {self.domain!r}", "Choose one of each")
        if not (self.budgets and self.contrasts and self.noise and self.factors and self.details):
            raise BadInput(
                "At least one budget, detail, contrast, level of noise and factor", f"{self}", "Or leave out tests"
            )
        if self.steps < 1 or self.starts < 1:
            raise BadInput("At least one step and one start", f"{self.steps}, {self.starts}", "20 and 2 are usual")
        numbers = (*self.budgets, *self.contrasts, *self.noise, *self.factors, self.window)
        if not all(math.isfinite(n) and n > 0 for n in numbers) or self.window > 1:
            raise BadInput("Positive numbers, a window of at most 1", f"{self}", "The defaults are a start")


@dataclass(frozen=True)
class Row:
    """One test of one model on one image.

    Attributes:
        model: Name.
        image: Name.
        test: One of ``TESTS``.
        numbers: What was measured; None in it is not a number.
        pictures: Title to the key of an array in :attr:`Audit.pictures`.
        failed: Why there is nothing, or None.
        seconds: That it took.
    """

    model: str
    image: str
    test: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What the rows of one test say about a model.

    Attributes:
        model: Name.
        test: Name.
        passed: None where it could not be measured.
        value: The worst number of all images.
        threshold: What it is compared to.
        text: In words.
    """

    model: str
    test: str
    passed: bool | None
    value: float | None
    threshold: float | None
    text: str


@dataclass(frozen=True, eq=False)
class Audit:
    """The record of an audit.

    Attributes:
        title: Of the bench.
        sensing: What is measured: operator, shape, rate, SHA-256 of the mask.
        models: Name to origin, whether it has a gradient and is deterministic.
        images: Name to shape, SHA-256 and role.
        settings: What was chosen.
        rows: All that was measured, and what failed.
        verdicts: By model and test.
        versions: Of the libraries.
        pictures: Arrays by key; not in the JSON.
        resumed: How many rows were measured by an earlier run, with the same versions, inputs and settings.
        schema: Version of the record.
    """

    title: str
    sensing: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    images: Mapping[str, Mapping[str, Any]]
    settings: Settings
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    versions: Mapping[str, str]
    pictures: Mapping[str, np.ndarray]
    resumed: int = 0
    schema: int = SCHEMA

    def record(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("pictures", "settings")}
        plain |= {"settings": asdict(self.settings)}
        plain |= {"rows": [asdict(r) for r in self.rows], "verdicts": [asdict(v) for v in self.verdicts]}
        return plain

    def of(self, model: str, test: str) -> list[Row]:
        """The rows of a model and a test that did not fail."""
        return [r for r in self.rows if (r.model, r.test, r.failed) == (model, test, None)]


def audit(
    models: Sequence[Model] | Mapping[str, Callable[[Tensor], Tensor]],
    sensing: LinearOperator,
    images: Mapping[str, Tensor],
    *,
    title: str = "Stability audit",
    settings: Settings | None = None,
    others: Mapping[str, Tensor] | None = None,
    sweep: Mapping[float, LinearOperator] | None = None,
    folder: Path | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Puts every model to every test on every image.

    Args:
        models: Models, or names and functions of measurements.
        sensing: A, of images of two axes.
        images: Real, not negative, not all zero, (rows, columns), on the device of the sensing.
        title: Of the record.
        settings: None is :class:`Settings`.
        others: Images of another kind, for the test ``anatomy``.
        sweep: Sampling rate to sensing, for the test ``samples``; None leaves it out.
        folder: Where finished parts are kept, and looked for.
        retry: Try parts again that failed, or during which the process ended.
        progress: Called with parts done, parts in all and what comes now.
    """
    settings = Settings() if settings is None else settings
    listed = [of(n, f) for n, f in models.items()] if isinstance(models, Mapping) else list(models)
    listed = [replace(m, name=_clean(m.name)) for m in listed]
    images = {_clean(n): x for n, x in images.items()}
    others = {_clean(n): x for n, x in (others or {}).items()}
    names = [m.name for m in listed]
    if images.keys() & others.keys():
        both = sorted(images.keys() & others.keys())
        raise BadInput("Other images that are not audited themselves", f"{both}", "Name them once")
    if not listed or len(set(names)) < len(names) or not images:
        raise BadInput("Models of different names, and an image", f"{names}, {len(images)} images", "Name them apart")
    for name, image in {**images, **others}.items():
        if image.is_complex() or tuple(image.shape) != tuple(sensing.in_shape) or not torch.isfinite(image).all():
            got = f"{name}: {image.dtype} of shape {tuple(image.shape)}"
            raise BadInput(f"Real, finite images of shape {tuple(sensing.in_shape)}", got, "Take the magnitude, crop")
        if image.min() < 0 or image.max() == 0:
            got = f"{name}: from {image.min().item():g} to {image.max().item():g}"
            raise BadInput("Images that are not negative and not all zero", got, "Take the magnitude")
    bench = _Bench(sensing, images, others, sweep or {}, settings, _Parts(folder, retry))
    # What needs the perturbations that were found for all models comes last.
    last = [t for t in ("transfer", "certificate") if t in settings.tests]
    first = [t for t in settings.tests if t not in ("anatomy", *last)]
    todo = [(m, n, t) for m in listed for n in images for t in first]
    todo += [(m, n, "anatomy") for m in listed for n in others if "anatomy" in settings.tests]
    todo += [(m, n, t) for t in last for m in listed for n in images]
    rows: list[Row] = []
    for k, (model, name, test) in enumerate(todo):
        if progress is not None:
            progress(k, len(todo), f"{model.name}: {test}")
        row = bench.row(model, name, test)
        if row is not None:
            rows.append(row)
    if progress is not None:
        progress(len(todo), len(todo), "done")
    about = {m.name: {**m.origin, **bench.known.get(m.name, {})} for m in listed}
    pictured = {n: (x, "audited") for n, x in images.items()} | {n: (x, "other") for n, x in others.items()}
    described = {
        n: {"shape": list(x.shape), "sha256": _digest(x), "role": role, "picture": bench.parts.keep(f"image {n}", x)}
        for n, (x, role) in pictured.items()
    }
    verdicts = tuple(v for m in listed for v in judge(m.name, rows, settings))
    return Audit(
        title,
        bench.described,
        about,
        described,
        settings,
        tuple(rows),
        verdicts,
        versions(),
        bench.parts.pictures,
        bench.parts.resumed,
    )


def versions() -> dict[str, str]:
    """Those that the numbers depend on."""
    import platform

    from firenet import __version__

    return {
        "firenet": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
    }


def nested(mask: Tensor, rates: Sequence[float], *, power: float = 2.5, seed: int = 0) -> dict[float, Tensor]:
    """Masks of other rates, each within the next: samples are added to a mask, or taken out of it, the high ones first.

    Args:
        mask: Zero frequency in the corner.
        rates: Shares of the grid.
        power: Of the density :math:`|k|^{-power}` with which they are drawn.
        seed: Of the draw.
    """
    shape = tuple(mask.shape)
    grids = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    distance = torch.stack([g.square() for g in grids]).sum(0).sqrt().clamp(min=1)
    generator = torch.Generator().manual_seed(seed)
    # Exponential clocks: who rings first is drawn first, without replacement.
    clock = -torch.log(torch.rand(shape, generator=generator).clamp(min=1e-12)) * distance**power
    order = torch.where(mask, clock, clock + clock.max()).flatten().argsort()
    found = {}
    for rate in sorted(set(rates)):
        count = round(rate * mask.numel())
        if not 1 <= count <= mask.numel():
            raise BadInput("Rates above 0 and at most 1", f"{rate}", "For example 0.1, 0.2, 0.4")
        taken = torch.zeros(mask.numel(), dtype=torch.bool)
        taken[order[:count]] = True
        found[rate] = taken.view(shape)
    return found


# --- parts ------------------------------------------------------------------------------------------------------------


class _Parts:
    """What is done, in memory and, where there is a folder, on disk."""

    def __init__(self, folder: Path | None, retry: bool) -> None:
        self.folder, self.retry = folder, retry
        self.pictures: dict[str, np.ndarray] = {}
        self.resumed = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, key: str, image: Tensor) -> str:
        """Puts a picture away: the real part where it is real, else the modulus."""
        array = (image.abs() if image.is_complex() else image).detach().cpu().to(torch.float32).numpy()
        self.pictures[key] = np.nan_to_num(array)
        return key

    def done(self, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The part of this key: its row and its arrays."""
        if self.folder is None:
            return None
        text, arrays, started = (self.folder / f"{key}{end}" for end in (".json", ".npz", ".started"))
        if text.exists():
            try:
                row, stored = json.loads(text.read_text(encoding="utf-8")), {}
                _ = row["failed"], row["numbers"]
                if arrays.exists():
                    with np.load(arrays, allow_pickle=False) as archive:
                        stored = {n: archive[n] for n in archive.files}
            except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
                return None  # damaged: it is measured again
            if row["failed"] is not None and self.retry:
                return None
            self.resumed += 1
            return row, stored
        if started.exists() and not self.retry:
            return {"failed": _ENDED}, {}
        return None

    def begin(self, key: str) -> None:
        if self.folder is not None:
            (self.folder / f"{key}.started").touch()

    def end(self, key: str, row: Row | None, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a part; without a row, forgets that it was begun."""
        if self.folder is None:
            return
        text, packed, started = (self.folder / f"{key}{end}" for end in (".json", ".npz", ".started"))
        if row is not None:
            if arrays:
                with replacing(packed) as (temporary,), temporary.open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, **arrays)
            with replacing(text) as (temporary,):
                # With NaN and infinity as they are: a row that is read again is the row that was measured.
                temporary.write_text(json.dumps(asdict(row), allow_nan=True), encoding="utf-8")
        started.unlink(missing_ok=True)


_ENDED = "the process ended in this part: a crash, or no memory left (--retry tries again)"


def _clean(name: str) -> str:
    """A name that can be written: what is no text in a file's name is replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _digest(*things: Any) -> str:
    digest = hashlib.sha256()
    for thing in things:
        if isinstance(thing, Tensor):
            t = thing.detach().cpu().contiguous()
            digest.update(f"{t.dtype} {tuple(t.shape)}".encode())
            digest.update(real_view(t).numpy().tobytes())
        else:
            digest.update(json.dumps(thing, sort_keys=True, default=str).encode())
    return digest.hexdigest()


# --- the bench --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Subject:
    """A model that has shown that it works: R, guarded, and what is known about it."""

    reconstruct: Callable[[Tensor], Tensor]
    attacked: Callable[[Tensor], Tensor]
    raw: Callable[[Tensor], Tensor]
    ascent: Ascent
    about: Mapping[str, Any]


class _Bench:
    """One sensing operator with all that is put to it."""

    def __init__(
        self,
        sensing: LinearOperator,
        images: Mapping[str, Tensor],
        others: Mapping[str, Tensor],
        sweep: Mapping[float, LinearOperator],
        settings: Settings,
        parts: _Parts,
    ) -> None:
        self.sensing, self.sweep, self.settings, self.parts = sensing, sweep, settings, parts
        self.images = {n: x.float() for n, x in {**images, **others}.items()}
        mask = getattr(sensing, "mask", None)
        self.described: dict[str, Any] = {"operator": type(sensing).__name__, "image shape": list(sensing.in_shape)}
        if isinstance(mask, Tensor):
            self.described |= {"rate": mask.float().mean().item(), "mask sha256": _digest(mask)}
            self.parts.keep("mask", torch.fft.fftshift(mask).float())
        self.known: dict[str, Mapping[str, Any]] = {}
        self.subjects: dict[str, _Subject | str] = {}
        self.found: dict[tuple[str, str, str], Tensor] = {}

    def row(self, model: Model, image: str, test: str) -> Row | None:
        """One part, from the disk or measured now; None where the test says nothing about this model."""
        subject = self._subject(model)
        key = self._key(model, image, test)
        stored = self.parts.done(key)
        if stored is not None:
            known, arrays = stored
            self._remember(model, image, test, arrays)
            return Row(
                model.name, image, test, **{k: v for k, v in known.items() if k not in ("model", "image", "test")}
            )
        if isinstance(subject, str):
            return Row(model.name, image, test, failed=subject)
        start = time.perf_counter()
        self.parts.begin(key)
        arrays: dict[str, np.ndarray] = {}
        try:
            measured = _MEASURES[test](self, subject, model, image)
            if measured is None:
                self.parts.end(key, None, {})
                return None
            numbers, pictures = measured
            arrays = {n: _array(t) for n, t in pictures.items()}
            self._remember(model, image, test, arrays)
            shown = {n: f"{model.name} {image} {test} {n}" for n in pictures if not n.startswith("_")}
            row = Row(model.name, image, test, numbers, shown, None, time.perf_counter() - start)
        except KeyboardInterrupt:
            self.parts.end(key, None, {})
            raise
        except (Exception, SystemExit) as error:
            row = Row(model.name, image, test, failed=_reason(error), seconds=time.perf_counter() - start)
        self.parts.end(key, row, arrays)
        return row

    def _key(self, model: Model, image: str, test: str) -> str:
        settings = asdict(replace(self.settings, thresholds=Thresholds(), tests=TESTS))
        what = [SCHEMA, versions(), model.name, dict(model.origin), image, test, settings]
        swept = [(rate, getattr(s, "mask", None)) for rate, s in self.sweep.items()] if test == "samples" else []
        masks: list[Tensor] = [t for _, t in swept if isinstance(t, Tensor)]
        if test in ("transfer", "certificate"):
            masks += [e for (_, at, _), e in self.found.items() if at == image]
        return _digest(what, self.described, self.images[image], *masks)[:32]

    def _remember(self, model: Model, image: str, test: str, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if name.startswith("_e "):
                self.found[model.name, image, name[3:]] = torch.from_numpy(array)
            else:
                self.parts.keep(f"{model.name} {image} {test} {name}", torch.from_numpy(array))

    def _subject(self, model: Model) -> _Subject | str:
        """The model, built and tried once; or why it cannot be audited."""
        if model.name not in self.subjects:
            # A model that ends the process when it is first tried must not do so at every --resume.
            key = _digest([versions(), model.name, dict(model.origin)], self.described)[:32]
            stored = self.parts.done(key)
            if stored is not None:
                self.subjects[model.name] = stored[0]["failed"]
                self.known[model.name] = {"failed": stored[0]["failed"]}
                return self.subjects[model.name]
            self.parts.begin(key)
            try:
                y = self.sensing(next(iter(self.images.values())))
                made = self._tried(model, y)
                self.known[model.name] = made.about
                self.subjects[model.name] = made
            except (Exception, SystemExit) as error:
                self.subjects[model.name] = _reason(error)
                self.known[model.name] = {"failed": self.subjects[model.name]}
            finally:
                self.parts.end(key, None, {})
        return self.subjects[model.name]

    def _tried(self, model: Model, y: Tensor) -> _Subject:
        raw = model.build(self.sensing)
        reconstruct = guarded(raw, tuple(self.sensing.in_shape))
        start = time.perf_counter()
        with torch.no_grad():
            first = reconstruct(y)
            seconds = time.perf_counter() - start
            second = reconstruct(y)
        if not torch.isfinite(real_view(first)).all():
            do = "Try it on measurements that it was made for"
            raise BadInput("A finite reconstruction", "NaN or infinity", do)
        size = torch.linalg.vector_norm(first).item()
        spread = torch.linalg.vector_norm(first - second).item() / size if size else 0.0
        attacked = reconstruct if spread == 0 else _mean(reconstruct)
        gradient = _has_gradient(reconstruct, y)
        about = {
            "deterministic": spread == 0,
            "spread": spread,
            "gradient": gradient,
            "seconds an image": seconds,
        }
        return _Subject(reconstruct, attacked, raw, self.settings.ascent if gradient else "spsa", about)

    def truth(self, image: str) -> tuple[Tensor, Tensor]:
        """The image and its measurements."""
        x = self.images[image]
        return x, self.sensing(x)


def guarded(reconstruct: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """R, refused where what it returns is no image of this shape."""

    def run(y: Tensor) -> Tensor:
        image: Any = reconstruct(y.clone())  # what it does to its input stays with it
        if not isinstance(image, Tensor):
            raise BadInput("A tensor", type(image).__name__, "Return the image as a torch.Tensor")
        if tuple(image.shape) != shape:
            do = "Return one image without batch and channel axes"
            raise BadInput(f"An image of shape {shape}", f"{tuple(image.shape)}", do)
        if not (image.is_floating_point() or image.is_complex()):
            raise BadInput("An image of floating point or complex numbers", f"{image.dtype}", "Convert it")
        # A copy: who writes into one buffer again and again would seem to be perfectly stable.
        return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image.clone()

    return run


def _mean(reconstruct: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Who answers differently every time is attacked through the mean of a few answers."""
    return lambda y: torch.stack([reconstruct(y) for _ in range(DRAWS)]).mean(0)


def _has_gradient(reconstruct: Callable[[Tensor], Tensor], y: Tensor) -> bool:
    try:
        with torch.enable_grad():
            at = y.detach().clone().requires_grad_()
            image = reconstruct(at)
            if not image.requires_grad:
                return False
            (slope,) = torch.autograd.grad(image.abs().square().sum(), at, allow_unused=True)
    except Exception:
        return False
    return slope is not None and bool(torch.isfinite(real_view(slope)).all()) and bool(slope.abs().max() > 0)


def _reason(error: BaseException) -> str:
    """Why a part failed, in one line."""
    if isinstance(error, FirenetError):
        return _clean(str(error))
    said = _clean(" ".join(str(error).split()))[:300]
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return f"It needs more memory than there is: {said}"
    return f"{type(error).__name__}: {said}"


def _array(t: Tensor) -> np.ndarray:
    array = t.detach().resolve_conj().cpu().numpy()
    return array if array.dtype.kind == "c" else array.astype(np.float32)


# --- the tests --------------------------------------------------------------------------------------------------------

Measured = tuple[dict[str, Any], dict[str, Tensor]] | None


def _ssim(image: Tensor, x: Tensor) -> float | None:
    metrics = optional("skimage.metrics", "audit", "Structural similarity")
    a = image.detach().abs().double().cpu().numpy()
    b = x.double().cpu().numpy()
    return float(metrics.structural_similarity(a, b, data_range=float(b.max()))) if min(a.shape) >= 7 else None


def _norm(t: Tensor) -> float:
    return torch.linalg.vector_norm(t).item()


def _noise_like(bench: _Bench, y: Tensor, level: float) -> Tensor:
    """Gaussian noise on the samples, of this share of the norm of y."""
    generator = torch.Generator().manual_seed(bench.settings.seed)
    e = bench.sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=generator).to(y.device))
    return e * (level * _norm(y) / _norm(e))


def _accuracy(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    with torch.no_grad():
        found, plain = subject.reconstruct(y), bench.sensing.adjoint(y)
    numbers = {
        "psnr": psnr(found, x),
        "ssim": _ssim(found, x),
        "relative error": _norm(found - x) / _norm(x),
        "psnr adjoint": psnr(plain, x),
    }
    return numbers, {"reconstruction": found}


def _worst(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    s = bench.settings
    steps = s.steps * (5 if subject.ascent == "spsa" else 1)
    found = attack(
        subject.attacked,
        bench.sensing,
        y,
        s.budgets,
        ascent=subject.ascent,
        domain=s.domain,
        steps=steps,
        starts=s.starts,
        seed=s.seed,
    )
    with torch.no_grad():
        clean = subject.attacked(y)
    size = _norm(clean)
    with torch.no_grad():
        shaken = [psnr(subject.attacked(y + _noise_like(bench, y, p.budget)), x) for p in found]
    numbers = {
        "budgets": list(s.budgets),
        "worst": [p.error / size for p in found],
        "random": [p.noise / size for p in found],
        "amplification": [p.amplification for p in found],
        "amplification random": [p.noise / (p.budget * _norm(y)) for p in found],
        "psnr": [psnr(p.image, x) for p in found],
        "psnr random": shaken,
        "by": [p.by for p in found],
        "evaluations": sum(p.evaluations for p in found),
        "ascent": subject.ascent,
    }
    at = found[s.budgets.index(s.reference)]
    pictures = {
        "clean": clean,
        "attacked": at.image,
        "perturbation": bench.sensing.adjoint(at.e),
        "change": (at.image - clean).abs(),
        **{f"_e {p.budget:g}": p.e for p in found},
    }
    return numbers, pictures


def window_of(shape: Sequence[int], share: float) -> tuple[slice, slice]:
    """The square in the middle whose side is this share of the image's."""
    rows, columns = shape
    half = max(round(share * min(rows, columns)) // 2, 1)
    return slice(rows // 2 - half, rows // 2 + half), slice(columns // 2 - half, columns // 2 + half)


def _localised(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    s = bench.settings
    window = window_of(x.shape, s.window)
    steps = s.steps * (5 if subject.ascent == "spsa" else 1)
    (found,) = attack(
        subject.attacked,
        bench.sensing,
        y,
        s.reference,
        ascent=subject.ascent,
        domain=s.domain,
        window=window,
        steps=steps,
        starts=s.starts,
        seed=s.seed,
    )
    peak = x.max().item()
    numbers = {
        "worst": found.error / peak,
        "random": found.noise / peak,
        "psnr": psnr(found.image, x),
        "window": [[w.start, w.stop] for w in window],
        "by": found.by,
        "ascent": subject.ascent,
    }
    return numbers, {"attacked": found.image, "_e one place": found.e}


def _inserted(kind: str, x: Tensor, contrast: float) -> Tensor:
    """A detail in the middle of an image that need not be square."""
    side = min(x.shape)
    top, left = (x.shape[0] - side) // 2, (x.shape[1] - side) // 2
    shape = torch.zeros_like(x)
    shape[top : top + side, left : left + side] = detail(kind, side, contrast).float()
    return shape


def _details(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, _ = bench.truth(image)
    peak, middle = x.max().item(), window_of(x.shape, 0.5)
    numbers: dict[str, Any] = {}
    pictures: dict[str, Tensor] = {}
    for kind in bench.settings.details:
        shape = _inserted(kind, x, 1.0)
        with torch.no_grad():
            contrasts = [c * peak for c in bench.settings.contrasts]
            found, images = detect(subject.reconstruct, bench.sensing, x, shape, contrasts)
        numbers[kind] = [{**asdict(d), "contrast": c} for c, d in zip(bench.settings.contrasts, found, strict=True)]
        # The middle of the image, for the eye: the first two contrasts of the text, the first of the others.
        for k in range(min(2 if kind == "text" else 1, len(images))):
            title = f"{kind}, contrast {bench.settings.contrasts[k]:g}"
            pictures[f"object, {title}"] = (x + contrasts[k] * shape)[middle]
            pictures[title] = images[k][middle]
    return numbers, pictures


def _kernel(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    shape = _inserted("text", x, 0.5 * x.max().item())
    with torch.no_grad():
        found, other, seen = kernel(subject.reconstruct, bench.sensing, x, shape, bench.settings.reference)
        e = _noise_like(bench, y, found.difference / _norm(y))
        change = subject.reconstruct(y + e) - subject.reconstruct(y)
    numbers = {**asdict(found), "noise": _norm(change) / found.difference if found.difference else 0.0}
    return numbers, {"object with a hidden detail": other, "reconstruction of it": seen}


def _noise(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    levels = bench.settings.noise
    with torch.no_grad():
        clean = subject.reconstruct(y)
        images = [subject.reconstruct(y + _noise_like(bench, y, level)) for level in levels]
    numbers = {
        "levels": [0.0, *levels],
        "psnr": [psnr(i, x) for i in (clean, *images)],
        "amplification": [_norm(i - clean) / (level * _norm(y)) for i, level in zip(images, levels, strict=True)],
    }
    return numbers, {f"noise of {levels[-1]:.0%}": images[-1]}


def _scaling(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    _, y = bench.truth(image)
    with torch.no_grad():
        changes = scaled(subject.reconstruct, y, bench.settings.factors)
    return {"factors": list(bench.settings.factors), "change": changes}, {}


def _samples(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    if not bench.sweep:
        return None
    if not model.fits:
        raise BadInput("A model that takes other samples", f"{model.name}, made for one number of them", "Train others")
    x, _ = bench.truth(image)
    values = []
    for sensing in bench.sweep.values():
        reconstruct = guarded(model.build(sensing), tuple(sensing.in_shape))
        with torch.no_grad():
            values.append(psnr(reconstruct(sensing(x)), x))
    return {"rates": list(bench.sweep), "psnr": values}, {}


def _transfer(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    _, y = bench.truth(image)
    numbers = {}
    for (other, at, which), e in bench.found.items():
        if at == image and other != model.name and which == f"{bench.settings.reference:g}":
            e = e.to(y.device)
            empty = Perturbation(e, bench.settings.reference, 0, e, 0, 0, 0, "", 0)
            (found,) = transferred(subject.attacked, bench.sensing, y, [empty], seed=bench.settings.seed)
            numbers[other] = {"amplification": found.amplification, "random": found.noise / _norm(e)}
    return (numbers, {}) if numbers else None


def _certificate(bench: _Bench, subject: _Subject, model: Model, image: str) -> Measured:
    """The bound of the objective, at noise and at every perturbation that was found."""
    _, y = bench.truth(image)
    tried = {"noise": _noise_like(bench, y, bench.settings.reference)}
    for (other, at, which), e in bench.found.items():
        if at == image:
            tried[f"{other}, {which}"] = e.to(y.device)
    numbers = certified(subject.raw, y, tried)
    return None if numbers is None else (numbers, {})


_MEASURES: dict[str, Callable[[_Bench, _Subject, Model, str], Measured]] = {
    "accuracy": _accuracy,
    "worst": _worst,
    "localised": _localised,
    "details": _details,
    "kernel": _kernel,
    "noise": _noise,
    "scaling": _scaling,
    "samples": _samples,
    "anatomy": _accuracy,
    "transfer": _transfer,
    "certificate": _certificate,
}


# --- verdicts ---------------------------------------------------------------------------------------------------------


def judge(model: str, rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """What the rows say about a model, one verdict a test; where a row failed the test is not passed, and says so."""
    verdicts = []
    for test in settings.tests:
        own = [r for r in rows if (r.model, r.test) == (model, test)]
        if not own:
            continue
        failed = [r for r in own if r.failed is not None]
        if len(failed) == len(own):
            verdicts.append(Verdict(model, test, None, None, None, f"Not measured: {failed[0].failed}"))
            continue
        said = _JUDGES[test](model, [r for r in own if r.failed is None], settings)
        if failed:
            text = f"{said.text} {len(failed)} of {len(own)} images could not be measured: {failed[0].failed}"
            said = replace(said, passed=None if said.passed else said.passed, text=text)
        verdicts.append(said)
    return verdicts


def _most(values: Sequence[float | None]) -> float:
    """The largest, infinite where one is not a number."""
    return max((math.inf if v is None or math.isnan(v) else v for v in values), default=0.0)


def _at(rows: Sequence[Row], key: str, settings: Settings) -> list[float | None]:
    k = settings.budgets.index(settings.reference)
    return [r.numbers[key][k] for r in rows]


def _judge_worst(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most(_at(rows, "amplification", s)), s.thresholds.amplification
    random = _most(_at(rows, "amplification random", s))
    text = f"A perturbation of {s.reference:.1%} comes out {value:.1f} times as large; noise of that size {random:.1f}."
    return Verdict(model, "worst", value <= limit, value, limit, text)


def _judge_localised(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["worst"] for r in rows]), s.thresholds.local
    random = _most([r.numbers["random"] for r in rows])
    text = (
        f"A pixel in a window can be moved by {value:.0%} of the image's maximum within {s.reference:.1%}; "
        f"noise moves one by {random:.0%}."
    )
    return Verdict(model, "localised", value <= limit, value, limit, text)


def _judge_details(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    limits = s.thresholds
    seen = [d for r in rows for kind in s.details for d in r.numbers[kind]]
    empty = [r.numbers[kind][0] for r in rows for kind in s.details]
    asked = [d for d in seen if d["contrast"] >= limits.contrast]
    lost = [d for d in asked if not d["index"] >= limits.index]
    invented = [d for d in empty if not d["empty"] < limits.index]
    least = -_most([-d["index"] for d in asked])
    text = (
        f"{len(asked) - len(lost)} of {len(asked)} details of contrast {limits.contrast:.0%} or more are seen"
        f", {len(invented)} of {len(empty)} seen where there is none."
    )
    passed = not lost and not invented if asked else None
    return Verdict(model, "details", passed, least if asked else None, limits.index, text)


def _judge_kernel(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["lipschitz"] for r in rows]), s.thresholds.lipschitz
    text = f"Its Lipschitz constant is at least {value:.1f} near the image."
    if value == 0:
        text = "It does not show a detail that is almost invisible to the measurement: no bound."
    return Verdict(model, "kernel", value <= limit, value, limit, text)


def _judge_transfer(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    found = [(n["amplification"], other) for r in rows for other, n in r.numbers.items()]
    value, limit = _most([v for v, _ in found]), s.thresholds.amplification
    text = f"What was found for other models comes out at most {value:.1f} times as large."
    return Verdict(model, "transfer", value <= limit, value, limit, text)


def _judge_noise(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["amplification"]]), s.thresholds.noise
    text = f"Gaussian noise comes out at most {value:.1f} times as large."
    return Verdict(model, "noise", value <= limit, value, limit, text)


def _judge_scaling(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["change"]]), s.thresholds.scaling
    factors = ", ".join(f"{f:g}" for f in s.factors)
    text = f"With the data times {factors} the image changes by up to {value:.1%} of itself."
    return Verdict(model, "scaling", value <= limit, value, limit, text)


def _judge_samples(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = 0.0, s.thresholds.fall
    for row in rows:
        best = -math.inf
        for number in row.numbers["psnr"]:
            number = -math.inf if math.isnan(number) else number
            if number < best:
                value = max(value, best - number)
            best = max(best, number)
    worse = f"With more samples the PSNR falls by up to {value:.1f} dB."
    if math.isinf(value):
        worse = "With more samples the image is no image any more (not finite)."
    text = worse if value > 0 else "More samples never make it worse."
    return Verdict(model, "samples", value <= limit, value, limit, text)


def _judge_gain(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    pairs = [(r.numbers["psnr"], r.numbers["psnr adjoint"]) for r in rows]
    # No number is worse than all; a perfect image beside a perfect adjoint gains nothing.
    gains = [-math.inf if math.isnan(a) else 0.0 if a == b else a - b for a, b in pairs]
    value, limit = min(gains), s.thresholds.gain
    mean = sum(a for a, _ in pairs) / len(pairs)
    text = f"{mean:.1f} dB on the mean, at least {value:+.1f} dB against the adjoint."
    return Verdict(model, rows[0].test, value >= limit, value, limit, text)


def _judge_certificate(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    beaten = any(r.numbers["beaten"] for r in rows)
    entries = [p for r in rows for p in r.numbers["perturbations"].values()]
    shares = [p["rise"] / p["bound"] if p["bound"] else 0.0 for p in entries]
    text = (
        "A certificate was beaten: this must never happen, please report it."
        if beaten
        else f"None of {len(entries)} perturbations beat the proven bound; the closest came to {max(shares):.0%} of it."
    )
    return Verdict(model, "certificate", not beaten, max(shares), 1.0, text)


_JUDGES: dict[str, Callable[[str, Sequence[Row], Settings], Verdict]] = {
    "accuracy": _judge_gain,
    "worst": _judge_worst,
    "localised": _judge_localised,
    "details": _judge_details,
    "kernel": _judge_kernel,
    "transfer": _judge_transfer,
    "noise": _judge_noise,
    "scaling": _judge_scaling,
    "samples": _judge_samples,
    "anatomy": _judge_gain,
    "certificate": _judge_certificate,
}

"""One sensing operator with all that is put to it: models that are tried once, and parts that are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.attack import Ascent
from firenet.audit.parts import Parts, clean, digest
from firenet.audit.records import SCHEMA, TESTS, Row, Settings, Thresholds, versions
from firenet.errors import BadInput, FirenetError
from firenet.models import Model
from firenet.numerics import real_view
from firenet.operators import LinearOperator

DRAWS = 4
NO_MEMORY = "It needs more memory than there is"
Measured = tuple[dict[str, Any], dict[str, Tensor]] | None
Measure = Callable[["Bench", "Subject", Model, str], Measured]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that has shown that it works: R, guarded, and what is known about it."""

    reconstruct: Callable[[Tensor], Tensor]
    attacked: Callable[[Tensor], Tensor]
    raw: Callable[[Tensor], Tensor]
    ascent: Ascent
    about: Mapping[str, Any]


class Bench:
    """One sensing operator with all that is put to it."""

    def __init__(
        self,
        sensing: LinearOperator,
        images: Mapping[str, Tensor],
        others: Mapping[str, Tensor],
        sweep: Mapping[float, LinearOperator],
        settings: Settings,
        parts: Parts,
        measures: Mapping[str, Measure],
    ) -> None:
        self.sensing, self.sweep, self.settings, self.parts = sensing, sweep, settings, parts
        self.measures = measures
        self.images = {n: x.float() for n, x in {**images, **others}.items()}
        mask = getattr(sensing, "mask", None)
        self.described: dict[str, Any] = {"operator": type(sensing).__name__, "image shape": list(sensing.in_shape)}
        if isinstance(mask, Tensor):
            self.described |= {"rate": mask.float().mean().item(), "mask sha256": digest(mask)}
            self.parts.keep("mask", torch.fft.fftshift(mask).float())
        self.known: dict[str, Mapping[str, Any]] = {}
        self.subjects: dict[str, Subject | str] = {}
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
            measured = self.measures[test](self, subject, model, image)
            if measured is None:
                self.parts.end(key, None, {})
                return None
            numbers, pictures = measured
            arrays = {n: as_array(t) for n, t in pictures.items()}
            self._remember(model, image, test, arrays)
            shown = {n: f"{model.name} {image} {test} {n}" for n in pictures if not n.startswith("_")}
            row = Row(model.name, image, test, numbers, shown, None, time.perf_counter() - start)
        except KeyboardInterrupt:
            self.parts.end(key, None, {})
            raise
        except (Exception, SystemExit) as error:
            row = Row(model.name, image, test, failed=reason(error), seconds=time.perf_counter() - start)
        self.parts.end(key, row, arrays)
        return row

    def _key(self, model: Model, image: str, test: str) -> str:
        settings = asdict(replace(self.settings, thresholds=Thresholds(), tests=TESTS))
        what = [SCHEMA, versions(), model.name, dict(model.origin), image, test, settings]
        swept = [(rate, getattr(s, "mask", None)) for rate, s in self.sweep.items()] if test == "samples" else []
        masks: list[Tensor] = [t for _, t in swept if isinstance(t, Tensor)]
        if test in ("transfer", "certificate"):
            masks += [e for (_, at, _), e in self.found.items() if at == image]
        return digest(what, self.described, self.images[image], *masks)[:32]

    def _remember(self, model: Model, image: str, test: str, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if name.startswith("_e "):
                self.found[model.name, image, name[3:]] = torch.from_numpy(array)
            else:
                self.parts.keep(f"{model.name} {image} {test} {name}", torch.from_numpy(array))

    def _subject(self, model: Model) -> Subject | str:
        """The model, built and tried once; or why it cannot be audited."""
        if model.name not in self.subjects:
            # A model that ends the process when it is first tried must not do so at every --resume.
            key = digest([versions(), model.name, dict(model.origin)], self.described)[:32]
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
                self.subjects[model.name] = reason(error)
                self.known[model.name] = {"failed": self.subjects[model.name]}
            finally:
                self.parts.end(key, None, {})
        return self.subjects[model.name]

    def _tried(self, model: Model, y: Tensor) -> Subject:
        raw = model.build(self.sensing)
        reconstruct = guarded(raw, tuple(self.sensing.in_shape))
        start = time.perf_counter()
        with torch.no_grad():
            first = _first(reconstruct, y, tuple(self.sensing.in_shape))
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
        return Subject(reconstruct, attacked, raw, self.settings.ascent if gradient else "spsa", about)

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


def _first(reconstruct: Callable[[Tensor], Tensor], y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first image of a model, at the door: who takes images and not measurements raises whatever it likes here."""
    try:
        return reconstruct(y)
    except (FirenetError, MemoryError):
        raise
    except Exception as error:
        said = reason(error)
        if said.startswith(NO_MEMORY):
            raise
        dtype = str(y.dtype).removeprefix("torch.")
        raise BadInput(
            f"A function of measurements of shape {tuple(y.shape)} and dtype {dtype} that returns an image of shape "
            f"{shape}",
            f"on these measurements {said}",
            "If it takes an image, begin with one: lambda y: net(sensing.adjoint(y).abs()[None, None])[0, 0]",
        ) from error


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


def reason(error: BaseException) -> str:
    """Why a part failed, in one line."""
    if isinstance(error, FirenetError):
        return clean(str(error))
    said = clean(" ".join(str(error).split()))[:300]
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return f"{NO_MEMORY}: {said}"
    return f"{type(error).__name__}: {said}"


def as_array(t: Tensor) -> np.ndarray:
    array = t.detach().resolve_conj().cpu().numpy()
    return array if array.dtype.kind == "c" else array.astype(np.float32)

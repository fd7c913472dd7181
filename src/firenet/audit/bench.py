"""The bench of an audit: one measurement operator, the models that are tried on it, and the parts that are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.detail import Pair
from firenet.audit.model import Model
from firenet.audit.parts import Parts, digest
from firenet.audit.records import SCHEMA, TESTS, Row, Settings, Thresholds
from firenet.audit.subject import Subject, built, guarded, mean, reason, tried
from firenet.operators.linear import LinearOperator
from firenet.versions import versions

HINTED = ("worst", "localised", "transfer", "certificate")  # tests that use perturbations that were found before
Measured = tuple[dict[str, Any], dict[str, Tensor]] | None
Measure = Callable[["Bench", "Subject", Model, str], Measured]


def environment() -> dict[str, str]:
    """Returns the versions of the libraries and the number of threads, on which results depend."""
    return versions() | {"threads": str(torch.get_num_threads())}


@dataclass(eq=False)
class Bench:
    """One measurement operator, the models that are tried on it, and the parts that are measured.

    A part of an audit is one test of one model on one image.

    Attributes:
        sensing: The measurement operator A.
        images: All images, by name.
        sweep: Measurement operators by sampling rate.
        settings: The settings.
        parts: The store of the finished parts.
        measures: For each test the function that measures it.
        pair: Two images that no method can tell apart, for the test ``kernel``; None if there is no pair.
    """

    sensing: LinearOperator
    images: Mapping[str, Tensor]
    sweep: Mapping[float, LinearOperator]
    settings: Settings
    parts: Parts
    measures: Mapping[str, Measure]
    pair: Pair | None = None

    def __post_init__(self) -> None:
        # Copies: a model that alters its input does not alter the caller's images.
        self.images = {n: x.float().clone() for n, x in self.images.items()}
        mask, shape = getattr(self.sensing, "mask", None), list(self.sensing.in_shape)
        self.described: dict[str, Any] = {"operator": type(self.sensing).__name__, "image shape": shape}
        if isinstance(mask, Tensor):
            self.described |= {"rate": mask.float().mean().item(), "mask sha256": digest(mask)}
            # Only Fourier operators are centred or not; a mask of others is shown as it is.
            corner = getattr(self.sensing, "centred", None) is False
            self.parts.keep("mask", (torch.fft.fftshift(mask) if corner else mask).float())
        self.subjects: dict[str, Subject | str] = {}
        self.found: dict[tuple[str, str, str], Tensor] = {}

    def row(self, model: Model, image: str, test: str) -> Row | None:
        """Returns one part, from the disk or measured now; None if the test does not apply to this model."""
        subject = self._subject(model)
        key = self._key(model, image, test)
        stored = self.parts.done(key)
        if stored is not None:
            known, arrays = stored
            self._remember(model, image, test, arrays)
            return Row(**{**known, "model": model.name, "image": image, "test": test})
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
        """Returns the key of a part: a digest of everything that its results depend on, so not of the thresholds."""
        settings = asdict(replace(self.settings, thresholds=Thresholds(), tests=TESTS))
        what = [SCHEMA, environment(), model.name, dict(model.origin), image, test, settings]
        swept = [(rate, getattr(s, "mask", None)) for rate, s in self.sweep.items()] if test == "samples" else []
        masks: list[Tensor] = [t for _, t in swept if isinstance(t, Tensor)]
        if test == "kernel" and self.pair is not None:
            what += [self.pair.noise, self.pair.distance]
            masks.append(self.pair.difference)
        if test in HINTED:
            masks += [e for (_, at, _), e in self.found.items() if at == image]
        return digest(what, self.described, self.images[image], *masks)[:32]

    def _remember(self, model: Model, image: str, test: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores the arrays of a part: those named "_e ..." are perturbations, the others are pictures."""
        for name, array in arrays.items():
            if name.startswith("_e "):
                self.found[model.name, image, name[3:]] = torch.from_numpy(array)
            else:
                self.parts.keep(f"{model.name} {image} {test} {name}", torch.from_numpy(array))

    def _subject(self, model: Model) -> Subject | str:
        """Returns the model, built and tried once, or why it cannot be audited."""
        if model.name not in self.subjects:
            # The trial is a part, too: a model that ends the process when it is first tried must not do so at every
            # --resume.
            key = digest([environment(), model.name, dict(model.origin)], self.described)[:32]
            stored = self.parts.done(key)
            if stored is not None:
                return self.subjects.setdefault(model.name, stored[0]["failed"])
            self.parts.begin(key)
            try:
                y = self.sensing(next(iter(self.images.values())))
                self.subjects[model.name] = tried(model, self.sensing, y, self.settings)
            except (Exception, SystemExit) as error:
                self.subjects[model.name] = reason(error)
            finally:
                self.parts.end(key, None, {})
        return self.subjects[model.name]

    def again(self, model: Model, row: Row, measures: Mapping[str, Measure]) -> Row:
        """Measures a row again on the model, built again, without a new search, and returns it.

        Args:
            model: The model, which is built again.
            row: The row with the witnesses.
            measures: For each test that searches, by its name, a function that measures the row's witnesses again.
                All other tests are repeated.
        """
        known = self._subject(model)
        if isinstance(known, str):
            return replace(row, failed=known)
        try:
            raw = built(model, self.sensing)
            run = guarded(raw, tuple(self.sensing.in_shape))
            attacked = run if known.about["deterministic"] else mean(run)
            fresh = replace(known, reconstruct=run, attacked=attacked, raw=raw)
            measured = measures.get(row.test, self.measures[row.test])(self, fresh, model, row.image)
        except (Exception, SystemExit) as error:
            return replace(row, failed=reason(error))
        return replace(row, numbers=row.numbers if measured is None else measured[0])

    def about(self, model: Model) -> Mapping[str, Any]:
        """Returns what is known about a model that was tried: how it behaves, or why it failed."""
        subject = self.subjects.get(model.name)
        return {} if subject is None else {"failed": subject} if isinstance(subject, str) else subject.about

    def doubt(self, model: Model) -> str:
        """Returns the reason why a search of the model proves little; an empty text if there is none."""
        subject = self._subject(model)
        return "" if isinstance(subject, str) else subject.doubt

    def truth(self, image: str) -> tuple[Tensor, Tensor]:
        """Returns the image and its measurements."""
        x = self.images[image]
        return x, self.sensing(x)


def as_array(t: Tensor) -> np.ndarray:
    """Returns a tensor as a NumPy array, in single precision if it is real."""
    array = t.detach().resolve_conj().cpu().numpy()
    return array if array.dtype.kind == "c" else array.astype(np.float32)

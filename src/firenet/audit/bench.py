"""One sensing operator with all that is put to it: models that are tried once, and parts that are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.model import Model
from firenet.audit.parts import Parts, digest
from firenet.audit.records import SCHEMA, TESTS, Row, Settings, Thresholds
from firenet.audit.subject import Subject, built, guarded, mean, reason, tried
from firenet.operators.linear import LinearOperator
from firenet.versions import versions

HINTED = ("worst", "localised", "transfer", "certificate")  # they use what was found before
Measured = tuple[dict[str, Any], dict[str, Tensor]] | None
Measure = Callable[["Bench", "Subject", Model, str], Measured]


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
        # Copies: what models do to theirs is not done to the caller's.
        self.images = {n: x.float().clone() for n, x in {**images, **others}.items()}
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
        what = [
            SCHEMA,
            (versions() | {"threads": str(torch.get_num_threads())}),
            model.name,
            dict(model.origin),
            image,
            test,
            settings,
        ]
        swept = [(rate, getattr(s, "mask", None)) for rate, s in self.sweep.items()] if test == "samples" else []
        masks: list[Tensor] = [t for _, t in swept if isinstance(t, Tensor)]
        if test in HINTED:
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
            key = digest(
                [(versions() | {"threads": str(torch.get_num_threads())}), model.name, dict(model.origin)],
                self.described,
            )[:32]
            stored = self.parts.done(key)
            if stored is not None:
                self.subjects[model.name] = stored[0]["failed"]
                self.known[model.name] = {"failed": stored[0]["failed"]}
                return self.subjects[model.name]
            self.parts.begin(key)
            try:
                y = self.sensing(next(iter(self.images.values())))
                made = tried(model, self.sensing, y, self.settings)
                self.known[model.name] = made.about
                self.subjects[model.name] = made
            except (Exception, SystemExit) as error:
                self.subjects[model.name] = reason(error)
                self.known[model.name] = {"failed": self.subjects[model.name]}
            finally:
                self.parts.end(key, None, {})
        return self.subjects[model.name]

    def again(self, model: Model, row: Row, measures: Mapping[str, Measure]) -> Row:
        """The part of a row once more, on a fresh copy of the model: what was found is judged again, not searched for.

        Args:
            model: Built anew.
            row: What was measured.
            measures: How the witnesses of a test are judged again; the test itself is made again for others.
        """
        known = self._subject(model)
        if isinstance(known, str):
            return replace(row, failed=known)
        try:
            raw = built(model, self.sensing)
            run = guarded(raw, tuple(self.sensing.in_shape))
            fresh = replace(
                known, reconstruct=run, attacked=run if known.about["deterministic"] else mean(run), raw=raw
            )
            measured = measures.get(row.test, self.measures[row.test])(self, fresh, model, row.image)
        except (Exception, SystemExit) as error:
            return replace(row, failed=reason(error))
        return replace(row, numbers=row.numbers if measured is None else measured[0])

    def doubt(self, model: Model) -> str:
        """Why nothing that was not found can be believed of a model."""
        subject = self._subject(model)
        return "" if isinstance(subject, str) else subject.doubt

    def truth(self, image: str) -> tuple[Tensor, Tensor]:
        """The image and its measurements."""
        x = self.images[image]
        return x, self.sensing(x)


def as_array(t: Tensor) -> np.ndarray:
    array = t.detach().resolve_conj().cpu().numpy()
    return array if array.dtype.kind == "c" else array.astype(np.float32)

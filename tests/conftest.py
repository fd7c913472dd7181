"""Settings that every test shares."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Their assertions say what was compared, as those of the tests do.
pytest.register_assert_rewrite("laws", "oracles", "cases", "searching", "audits")

# The same examples at every run and no clock: a failure is a fault of the code, not of the day.
settings.register_profile("firenet", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("firenet")

_jitter = contextlib.ExitStack()


def pytest_sessionstart() -> None:
    """Reads what is asked for in the environment.

    With FIRENET_DTYPE=float32 the laws of operators, gaps, certificates and searching schedules are tried in single
    precision, with tolerances from its unit roundoff. With FIRENET_JITTER=<seed> everything, also what modules compute
    when they are imported, runs on an imitated processor whose sums come out in other last digits.
    """
    for name, only in (("FIRENET_DTYPE", "float32"), ("FIRENET_EXTRAS", "none")):
        if os.environ.get(name, only) != only:
            pytest.exit(f"{name} is {only} or absent, not {os.environ[name]!r}", 4)
    if seed := os.environ.get("FIRENET_JITTER"):
        from jitter import Jitter

        _jitter.enter_context(Jitter(int(seed)))


def pytest_sessionfinish() -> None:
    _jitter.close()


@pytest.fixture(autouse=True)
def _denormals() -> Generator[None, None, None]:
    """Some commands make torch round denormal numbers to zero, in their process; here they run in that of the tests."""
    yield
    torch.set_flush_denormal(False)


# --- without extras ---------------------------------------------------------------------------------------------------
#
# With FIRENET_EXTRAS=none what fails for want of a library skips: a test that imports it, and one that firenet, or a
# command of it in this process, has told which extra to install. If an import fails within firenet, that is a fault of
# firenet, which owes its user that sentence. Without the variable nothing skips: `make test` installs all extras, and
# what is missing fails.

WITHOUT_EXTRAS = os.environ.get("FIRENET_EXTRAS") == "none"
_told: list[str] = []  # what firenet has said of missing libraries since the test began


@pytest.fixture(autouse=WITHOUT_EXTRAS)
def _told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from firenet.errors import MissingExtra

    def tell(error: MissingExtra, library: str, extra: str, purpose: str) -> None:
        plain(error, library, extra, purpose)
        _told.append(error.needed)

    plain = MissingExtra.__init__
    monkeypatch.setattr(MissingExtra, "__init__", tell)
    _told.clear()


def missing(error: BaseException | None) -> str | None:
    """What an error says of a missing library, or None."""
    from firenet import __file__ as package
    from firenet.errors import MissingExtra

    while error is not None:
        if isinstance(error, MissingExtra):
            return error.needed
        if isinstance(error, ModuleNotFoundError):
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
            last = next((file for file in reversed(files) if "importlib" not in file), "")
            return None if Path(package).parent in Path(last).parents else f"needs the library {error.name}"
        error = error.__cause__
    return None


def skipped(report: pytest.CollectReport | pytest.TestReport, error: BaseException | None) -> None:
    words = missing(error) or (_told[-1] if _told else "")
    if WITHOUT_EXTRAS and report.failed and words:
        path, line = report.location[:2] if isinstance(report, pytest.TestReport) else (report.nodeid, 0)
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"Skipped: {words}")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    skipped(report, report.call.excinfo and report.call.excinfo.value)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    skipped(report, call.excinfo and call.excinfo.value)
    return report


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Centred k-space of a real slice, 64 x 64, 40 % sampled."""
    # Imported here: a session with another processor begins before the library is loaded.
    import numpy as np
    import torch

    from firenet import SubsampledFourier
    from firenet.images import load_slice
    from firenet.mri.kspace import to_centre
    from firenet.sensing import multilevel

    truth = load_slice()[::4, ::4].to(torch.complex64)
    y = SubsampledFourier(multilevel(truth.shape, 0.4).samples)(truth)
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    np.savez(path, kspace=to_centre(y, 2).numpy())
    return path


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw 16 images instead of 256, which would take longer than their few steps."""
    monkeypatch.setattr("firenet.nets.training._POOL", 16)


@pytest.fixture(params=["torch", "compiled"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that computes what the compiled one can compute."""
    from extras import needs

    if request.param == "compiled":
        needs("numba")
    monkeypatch.setenv("FIRENET_ENGINE", request.param)
    return str(request.param)

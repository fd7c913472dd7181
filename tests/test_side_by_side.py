"""Images side by side: the same results as one after the other, errors and interrupts that end all of them."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import firenet
from cases import small_image
from firenet.scans import reconstruct as scan_reconstruction
from firenet.scans.reconstruct import reconstruct_scan
from firenet.scans.record import scan_record
from firenet.scans.side_by_side import side_by_side
from firenet.scans.source import Source


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def slices(folder: Path, count: int = 5) -> Source:
    """Slices of 32 x 32, the third of which is empty."""
    image, mask = small_image(32).numpy(), firenet.sensing.multilevel((32, 32), 0.5).centred().numpy()
    kspace = np.stack([np.fft.fftshift(np.fft.fft2(np.roll(image, k, 0), norm="ortho")) * mask for k in range(count)])
    kspace[2] = 0
    np.savez(folder / "slices.npz", kspace=kspace.astype(np.complex64), mask=mask)
    return Source(folder / "slices.npz", axes="slice,y,x")


def test_the_same_images_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, told = slices(tmp_path), list[tuple[str, int]]()
    seen: list[int] = []

    def watched(work: Any, items: Any, workers: int, progress: Any) -> Any:
        seen.append(workers)
        return side_by_side(work, items, workers, progress)

    monkeypatch.setattr(scan_reconstruction, "side_by_side", watched)
    filters = list(warnings.filters)
    together = reconstruct_scan(
        source,
        fixed=True,
        reweight=0,
        progress=lambda what, done, most, gap: told.append((what, done)),
        notify=lambda sentence: None,
    )
    assert warnings.filters == filters
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    alone = reconstruct_scan(source, fixed=True, reweight=0, notify=lambda sentence: None)
    assert seen == [2, 1]
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a.image, b.image)
        assert (a.layers, a.part.number) == (b.layers, b.part.number)
    told_before = list(alone[0].scan.warnings)
    first, second = scan_record(alone), scan_record(alone)
    assert first["warnings"] == second["warnings"]  # a record changes nothing
    assert alone[0].scan.warnings == told_before
    numbers = [int(what.split()[1].strip(",")) for what, _ in told if what.startswith("slice")]
    assert numbers == sorted(numbers)
    assert numbers


def test_little_memory_is_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(scan_reconstruction, "side_by_side", lambda work, items, workers, told: seen.append(workers))
    for free in (10**6, 10**12, None):
        monkeypatch.setattr(scan_reconstruction, "available_bytes", lambda free=free: free)
        _ = reconstruct_scan(slices(tmp_path), fixed=True, notify=lambda sentence: None)
    assert seen == [1, 2, 2]


@pytest.mark.parametrize("error", [ValueError("this one"), KeyboardInterrupt()], ids=repr)
def test_an_error_ends_all(error: BaseException) -> None:
    begun: list[int] = []
    threads = threading.active_count()

    def work(item: int, tell: Any) -> int:
        begun.append(item)
        if item == 1:
            raise error
        for k in range(10_000):  # for ever, in effect
            tell(k, 10_000)
            time.sleep(0.01)
        return item

    with pytest.raises(type(error)):
        side_by_side(work, list(range(6)), 2, lambda k: None)
    assert set(begun) <= {0, 1, 2}
    assert threading.active_count() == threads
    assert torch.get_num_threads() == 2


def test_one_worker_is_a_loop() -> None:
    assert side_by_side(lambda item, tell: (item, tell is None), [3, 4], 1, lambda k: None) == [(3, True), (4, True)]
    assert torch.get_num_threads() == 2

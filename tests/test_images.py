"""Images: in [0, 1], reproducible, with details where they should be."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import ImageFont

from firenet.errors import BadInput
from firenet.images import COLIN27, DETAILS, detail, ellipses, load_colin27, load_slice, resampled


@pytest.mark.parametrize("side", [16, 32, 65, 256])
@pytest.mark.parametrize("kind", DETAILS)
def test_details_lie_in_the_middle_and_are_as_high_as_asked(kind: str, side: int) -> None:
    shape = detail(kind, side, 0.25)
    assert shape.shape == (side, side)
    assert shape.max() == pytest.approx(0.25, rel=0.05)
    assert shape.min() == 0
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for axis in (rows, columns):
        assert (axis * shape).sum() / shape.sum() == pytest.approx(side / 2, abs=0.06 * side)
    assert 0 < (shape > 0).double().mean() < 0.3


def test_a_disc_has_the_radius_that_is_said_and_lines_have_their_places() -> None:
    """The disc has a radius of 2 pixels at a side of 56, with a ramp of one pixel; lines are counted one by one."""
    disc = detail("disc", 56, 2.0)
    for line in (disc[28, 28:], disc[28:, 28], disc[28, :29].flip(0), disc[:29, 28].flip(0)):
        assert line[:5].tolist() == [2, 2, 1, 0, 0]
    for side, half, step in ((16, 3, 2), (64, 6, 2), (128, 12, 4)):
        wanted = torch.zeros(side, side, dtype=torch.float64)
        for column in (side // 2 - step, side // 2, side // 2 + step):
            wanted[side // 2 - half : side // 2 + half, column] = 0.5
        assert torch.equal(detail("lines", side, 0.5), wanted)


@pytest.mark.parametrize(("side", "lines", "size"), [(16, 1, 7), (63, 1, 7), (64, 2, 7), (256, 2, 16)])
def test_the_text_has_as_many_lines_as_fit(side: int, lines: int, size: int) -> None:
    """A line of capitals has about 0.73 of the size of the font, and the lines are 1.25 sizes apart."""
    dark = (detail("text", side, 1.0) > 0.5).any(1).int()
    edges = torch.diff(dark, prepend=torch.zeros(1), append=torch.zeros(1))
    first, end = (edges.eq(sign).nonzero().flatten() for sign in (1, -1))
    assert len(first) == lines
    assert (end - first).tolist() == pytest.approx([0.73 * size] * lines, abs=1)
    assert torch.diff(first).tolist() == pytest.approx([1.25 * size] * (lines - 1), abs=1)
    assert int(first[0] + end[-1]) / 2 == pytest.approx(side / 2, abs=1)
    if side == 256:
        assert detail("text", side, 1.0).max() == 1
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
        font = ImageFont.truetype(str(path), size)
        for begin, stop, text in zip(first.tolist(), end.tolist(), ("CAN U", "SEE IT?"), strict=True):
            columns = (detail("text", side, 1.0)[begin:stop] > 0.5).any(0).nonzero().flatten()
            assert int(columns[-1] - columns[0] + 1) == pytest.approx(font.getlength(text), abs=0.25 * size)


def test_details_that_there_are_not() -> None:
    with pytest.raises(BadInput, match="detail"):
        detail("nothing", 64, 1.0)
    with pytest.raises(BadInput, match="16"):
        detail("disc", 15, 1.0)


def test_ellipses_come_from_their_generator_alone() -> None:
    state = torch.random.get_rng_state()
    a, b = (ellipses(32, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, ellipses(32, torch.Generator().manual_seed(6)))
    assert (a.min(), a.max()) == (0, 1)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("side", [128, 33, 1, 256])
def test_resampling_keeps_the_low_frequencies(side: int) -> None:
    image = load_slice()[None]
    small = resampled(image, side)
    assert small.shape == (1, side, side)
    assert small.max() == pytest.approx(1)
    if side == 256:
        assert torch.allclose(small, image, atol=1e-5)
    if side == 128:
        # the middle of k-space is the same up to the scale and the modulus
        blocks = image[0].view(128, 2, 128, 2).mean((1, 3))
        assert np.corrcoef(small[0].flatten(), blocks.flatten())[0, 1] > 0.99
    with pytest.raises(BadInput, match="at least 300"):
        resampled(image, 300)
    for none in (0, -1):
        with pytest.raises(BadInput, match="A side of at least 1"):
            resampled(image, none)


def test_colin27_is_asked_for_where_it_is_absent(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mricron-data"):
        load_colin27([90], tmp_path / "none.nii.gz")


@pytest.mark.skipif(not COLIN27.exists(), reason=f"no {COLIN27}: apt-get install mricron-data")
def test_colin27_slices() -> None:
    planes = load_colin27([90, 110])
    assert planes.shape == (2, 256, 256)
    assert planes.amax((1, 2)).tolist() == [1, 1]
    assert (planes[:, :37] == 0).all()
    with pytest.raises(BadInput, match="slices"):
        load_colin27([181])

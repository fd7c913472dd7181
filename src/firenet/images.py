"""Images for training and tests: real slices, random ellipses, and details to insert into them.

Every image is a magnitude: k-space computed from it is simulated, without coil phase and without measured noise.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.optional import optional

COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")
DETAILS = ("text", "disc", "lines")
TEXT = "CAN U SEE IT?"


def load_slice() -> Tensor:
    """Returns the MRI head slice s1045 that is distributed with matplotlib, (256, 256), scaled to [0, 1]."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "s1045.ima.gz"
    with gzip.open(path) as file:
        image = np.frombuffer(file.read(), dtype=">u2").reshape(256, 256).astype(np.float32)
    return torch.from_numpy(image / image.max())


def load_colin27(slices: Sequence[int], path: Path = COLIN27) -> Tensor:
    """Returns axial slices of the Colin27 brain (one person, the mean of 27 scans), (number, 256, 256), each scaled to
    [0, 1].

    Args:
        slices: z, from 0 to 180, in mm from the lowest.
        path: The file of the volume; by default where Debian's package mricron-data installs it.

    Raises:
        BadInput: If there is no such file, or its volume has another shape or no such slice.
        MissingExtra: Without nibabel.
    """
    if not path.exists():
        do = "apt-get install mricron-data, or train on ellipses alone"
        raise BadInput("The Colin27 volume", f"no {path}", do)
    nibabel = optional("nibabel", "images", "Reading the Colin27 volume")
    volume = np.asarray(nibabel.load(path).dataobj)
    if volume.shape != (181, 217, 181) or not all(0 <= z < 181 for z in slices):
        got = f"shape {volume.shape}, slices {list(slices)}"
        raise BadInput("A volume of shape (181, 217, 181) and slices of it", got, "Slices are counted from 0")
    planes = np.zeros((len(slices), 256, 256), dtype=np.float32)
    for k, z in enumerate(slices):
        planes[k, 37:218, 19:236] = volume[:, :, z] / max(volume[:, :, z].max(), 1)
    return torch.from_numpy(planes)


def resampled(images: Tensor, side: int) -> Tensor:
    """Computes images (..., n, n) at a lower resolution: the magnitude of the image of the middle of their k-space,
    scaled to [0, 1]."""
    n = images.shape[-1]
    if side < 1:
        raise BadInput("A side of at least 1", f"{side}", "Choose the number of pixels of a side")
    if images.shape[-2] != n or side > n:
        raise BadInput(f"Square images of sides of at least {side}", f"{tuple(images.shape)}", "Crop or pad them")
    k = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(images, dim=(-2, -1))), dim=(-2, -1))
    low = n // 2 - side // 2
    k = k[..., low : low + side, low : low + side]
    small = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, dim=(-2, -1))), dim=(-2, -1)).abs()
    return (small / small.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-12)).to(images.dtype)


def ellipses(side: int, generator: torch.Generator) -> Tensor:
    """Draws an image of 20 to 44 shaded ellipses, (side, side), scaled to [0, 1], as in the training data of
    Colbrook, Antun, Hansen (PNAS 2022).

    The half axes are from 0.03 to 0.25 of the side, the grey values from 0.3 to 1, with linear shading of up to 0.9
    times the grey value.
    """

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    number = int(torch.randint(20, 45, (1,), generator=generator))
    grid = (torch.arange(side) + 0.5) / side
    image = torch.zeros(side, side)
    for _ in range(number):
        row, column = (draw(2) * 0.7 + 0.15).tolist()
        a, b = (0.03 + 0.22 * draw(2)).tolist()
        turn, direction, bias, shade = (draw(4) * torch.tensor([math.pi, 2 * math.pi, 0.7, 0.9])).tolist()
        r, c = grid[:, None] - row, grid[None, :] - column
        u = (r * math.cos(turn) + c * math.sin(turn)) / a
        v = (c * math.cos(turn) - r * math.sin(turn)) / b
        slope = (u * math.cos(direction) + v * math.sin(direction)) * shade
        image = torch.where(u * u + v * v <= 1, (0.3 + bias) * (1 + slope), image)
    return image.clamp(min=0) / image.max().clamp(min=1e-6)


def detail(kind: str, side: int, contrast: float) -> Tensor:
    """Returns an image (side, side) of a detail on a background of zero.

    Args:
        kind: ``text``: "CAN U SEE IT?" in bold (below 64 pixels only "CAN"); ``disc``: a disc like a lesion, with a
            diameter of a fourteenth of the side; ``lines``: three parallel lines, one pixel wide.
        side: The side of the image.
        contrast: The value of the detail, in the unit of the image.
    """
    if kind not in DETAILS or side < 16:
        raise BadInput(f"A detail: {', '.join(DETAILS)}, and a side of at least 16", f"{kind!r}, {side}", "Choose one")
    if kind == "text":
        shape = _text(side)
    elif kind == "disc":
        grid = torch.arange(side, dtype=torch.float64)
        distance = torch.hypot(grid[:, None] - 0.5 * side, grid[None, :] - 0.5 * side)
        shape = (side / 28 + 0.5 - distance).clamp(0, 1)
    else:
        shape = torch.zeros(side, side, dtype=torch.float64)
        middle, half, step = side // 2, max(side // 10, 3), max(side // 32, 2)
        for k in (-1, 0, 1):
            shape[middle - half : middle + half, middle + k * step] = 1
    return contrast * shape


def _text(side: int) -> Tensor:
    """Renders the text with Pillow in a font of matplotlib, over two fifths of the side."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font_file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    words = TEXT.split(" ", 2)
    lines = [" ".join(words[:2]), words[2]] if side >= 64 else words[:1]
    size = max(round(side / 16), 7)
    font = ImageFont.truetype(str(font_file), size)
    picture = Image.new("L", (side, side))
    pen = ImageDraw.Draw(picture)
    for k, line in enumerate(lines):
        height = side / 2 + (k - (len(lines) - 1) / 2) * 1.25 * size
        pen.text((side / 2, height), line, fill=255, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(picture, dtype=np.float64) / 255)

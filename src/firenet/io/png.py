"""PNG: grey pictures. The values are those of the pixels: no gamma, no colour profile."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np

from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.io.stored import Stored, check_claim, magnitude, one_line


def read_png(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads a grey PNG image: 1 bit as bool, 16 bits as they are, others as 8 bits with white at 255."""
    from PIL import Image  # needs no extra: matplotlib depends on it

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()  # the checksums, which loading does not check
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                do = 'Convert it to grey: Image.open(path).convert("L") in Pillow'
                raise BadInput(f"A grey PNG image in {path}", f"the mode {image.mode}", do)
            transparent = "transparency" in image.info
            if transparent or getattr(image, "n_frames", 1) > 1:
                do = "Save one opaque picture: remove transparency, take one frame"
                got = "one with transparent pixels" if transparent else "one with frames"
                raise BadInput(f"One opaque PNG image in {path}", got, do)
            dtype = np.dtype({"1": "?", "L": "u1", "I;16": "u2"}.get(image.mode, "i4"))
            check_claim((image.height, image.width), dtype, path.stat().st_size, str(path))
            return Stored(np.asarray(image), str(path))


def write_png(path: Path, image: np.ndarray, description: str = "") -> None:
    """Writes the magnitude in 8 bits, white at its 99.5th percentile; a stack becomes one grid of tiles."""
    from PIL import Image, PngImagePlugin

    if image.ndim < 2:
        raise BadInput("An image of two or more axes for PNG", f"the shape {image.shape}", "Write it as .npy")
    tiles = magnitude(image).reshape(-1, *image.shape[-2:])
    white = float(np.percentile(tiles, 99.5)) or float(tiles.max()) or 1.0
    columns = math.isqrt(len(tiles) - 1) + 1
    rows = -(-len(tiles) // columns)
    height, width = image.shape[-2:]
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[: len(tiles)] = np.round(255 * np.clip(tiles / white, 0, 1))
    picture = grid.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    with replacing(path) as (temporary,):
        said = PngImagePlugin.PngInfo()
        if description:
            said.add_text("Description", one_line(description))
        Image.fromarray(picture).save(temporary, format="PNG", pnginfo=said)

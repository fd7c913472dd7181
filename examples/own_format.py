"""A file format of your own: k-space as text, one complex number a line, after a line with the shape."""

from pathlib import Path

import numpy as np

from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.io.stored import Stored, check_claim, shown


def read_text(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads one array of complex numbers.

    What the header claims is compared with the size of the file before any memory is taken.

    Raises:
        BadInput: For a header that is no shape, a claim that the file does not keep, or a line that is no number.
    """
    size = path.stat().st_size
    with path.open(encoding="ascii", errors="replace") as file:
        head = file.readline(1000)
        try:
            shape = tuple(int(word) for word in head.split())
        except ValueError:
            do = "Write the shape into the first line, for example: 256 256"
            raise BadInput(f"{path}: a line with the shape", repr(shown(head)), do) from None
        check_claim(shape, np.dtype(np.complex64), size, str(path))
        try:
            numbers = [complex(line.strip()) for line in file if line.strip()]
            array = np.array(numbers, np.complex64).reshape(shape)
        except ValueError as error:
            got, do = shown(error), "Write one number a line, as 1.5-2j"
            raise BadInput(f"{path}: as many complex numbers as its shape says", got, do) from None
    return Stored(array, str(path))


def write_text(path: Path, array: np.ndarray) -> None:
    """Writes an array of complex numbers, whole or not at all."""
    lines = [" ".join(map(str, array.shape)), *(f"{complex(v):.9g}" for v in array.ravel())]
    with replacing(path) as (temporary,):
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def main(folder: Path) -> Stored:
    """Writes an array and reads it again."""
    path = folder / "kspace.txt"
    write_text(path, np.array([[1 + 2j, 0.5], [-1j, 3]]))
    return read_text(path, None, "kspace")

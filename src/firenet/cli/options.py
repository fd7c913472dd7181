"""The options that commands share, and the functions that read their values before any file is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Argument, Option

from firenet.errors import BadInput

# --- all commands -----------------------------------------------------------------------------------------------------

Json = Annotated[bool, Option("--json", help="Print the record as one JSON object instead of text.")]
Threads = Annotated[int | None, Option(help="The number of CPU threads to use. Default: all.")]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace the files beside OUT even where firenet did not write them.")
]
Rate = Annotated[float, Option(help="The share of k-space to sample.")]
# Of a mask that is drawn only on request.
DrawnRate = Annotated[float | None, Option(help="The share of k-space to sample. Default: 0.25.")]
Seed = Annotated[int, Option(help="The seed of all random numbers.")]
# Of an operator, which is a matrix, or a mask with a wavelet.
Transform = Annotated[str | None, Option(help="The measurements of a mask: fourier or walsh. Default: fourier.")]
Share = Annotated[
    float | None, Option(help="The share of the energy of --image that its large coefficients have. Default: 0.999.")
]

# --- scans: recon, certify, export ------------------------------------------------------------------------------------

Data = Annotated[
    Path,
    Argument(
        help="The file of measurements: k-space as npy, npz, HDF5 (fastMRI), ISMRMRD (also radial and spiral) or BART "
        "cfl; projections in the Data Exchange layout or as npz; Walsh-Hadamard measurements as npz.",
        show_default=False,
    ),
]
MaskFile = Annotated[
    Path | None, Option(help="The file of the sampling mask. Default: a sample was measured where it is not zero.")
]
Maps = Annotated[
    str | None, Option(help="The file of the coil maps, or 'auto' to estimate them from the data (ESPIRiT).")
]
Sparsify = Annotated[
    str | None,
    Option(
        help="The sparsifying transform: undecimated:WAVELET[:LEVELS], orthonormal:WAVELET[:LEVELS], tv, or a sum such "
        "as undecimated:sym4:3+tv. Default: undecimated:haar:1+sym4:3, or orthonormal:db4 for volumes.",
    ),
]
WaveletName = Annotated[
    str | None,
    Option(
        help="Short for --sparsify orthonormal:WAVELET: haar, db1 to db10, sym2 to sym10, or coif1 to coif5.",
    ),
]
_LAM = (
    "The regularisation parameter, which has no unit. Default: 1.45 over the square root of the number of coefficients "
    "(half of that with coil maps), 0.001 with an orthonormal transform."
)
Lam = Annotated[float | None, Option(help=_LAM)]
NoiseLevel = Annotated[
    str | None,
    Option(
        help="Fit the data up to this 2-norm of the noise instead of choosing lambda. It is a number, or a share of "
        "the norm of the data such as 5%. Exit code 3 if no such image is found.",
    ),
]
Slice = Annotated[
    int | None, Option("--slice", help="Take only the slice of this number, counted from 0. Default: all slices.")
]
Axes = Annotated[str | None, Option(help="The names of the stored axes in their order, for example slice,coil,y,x.")]
Key = Annotated[str | None, Option(help="The name of the array in an npz or HDF5 file.")]
CornerDC = Annotated[
    bool,
    Option(
        "--corner-dc",
        help="Zero frequency lies in the corner and not in the middle: k-space is fft2(image). If centred data were "
        "only shifted, ifftshift(k-space), also give --image-origin middle.",
    ),
]
ImageOrigin = Annotated[
    str | None,
    Option(
        "--image-origin",
        help="The pixel that has phase zero at every frequency; use this option if the image comes out split. It is "
        "middle, as for scanners and BART, k-space = fftshift(fft2(ifftshift(image))); or corner, as for numpy's plain "
        "fft2(image). Default: middle, or corner with --corner-dc.",
    ),
]
Oversampling = Annotated[
    bool,
    Option("--remove-oversampling", help="Crop the readout by the file's oversampling factor, or by 2 if it has none."),
]
NoiseFile = Annotated[
    Path | None, Option(help="A file of noise samples, shape (coils, n), with which the coils are prewhitened.")
]
Device = Annotated[str, Option(help="The device to compute on: cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, Option(help="The precision: complex64 or complex128, for real data float32 or float64.")]
Sides = Annotated[
    str | None,
    Option(
        "--shape",
        help="The sides of the image, for example 256,256: for non-Cartesian k-space and single-pixel cameras whose "
        "file does not say.",
    ),
]
RotationAxis = Annotated[
    float | None,
    Option(
        help="Tomograms: the detector coordinate of the rotation axis, in stored cells counted from 0. Default: found."
    ),
]
Bin = Annotated[int, Option(help="Tomograms: take means of so many neighbouring detector cells.")]
Every = Annotated[int, Option(help="Tomograms: use one of so many views.")]
Order = Annotated[
    str | None,
    Option(
        help="Single-pixel cameras: the order of the patterns, sequency, natural or dyadic, with :flattened if it is "
        "that of the flattened image. Default: found."
    ),
]
ReadingKind = Annotated[
    str | None,
    Option(
        "--readings",
        help="Single-pixel cameras: signed (patterns of -1 and 1), binary (0 and 1 alone), or complementary pairs, "
        "stored interleaved or as halves. Default: found.",
    ),
]
Quiet = Annotated[bool, Option("--quiet", help="Print only warnings and errors: no progress, no table.")]
Formula = Annotated[bool, Option("--formula", help="Also print the optimisation problem that was solved.")]

# --- audits -----------------------------------------------------------------------------------------------------------

Report = Annotated[
    Path, Option("--out", "-o", help="The report (.html). The record and the witnesses are put beside it.")
]
Resume = Annotated[bool, Option("--resume", help="Continue an audit from its finished parts in OUT.parts.")]
Retry = Annotated[bool, Option("--retry", help="With --resume: measure again the parts that failed.")]
Strict = Annotated[bool, Option("--strict", help="Exit code 3 if a test failed or is undecided.")]

# --- barriers ---------------------------------------------------------------------------------------------------------

Digits = Annotated[int, Option("--digits", "-k", help="The number K of correct digits that are asked for.")]
Kind = Annotated[str, Option("--problem", help="P1 (noise level), P2 (LASSO) or P3 (square-root LASSO).")]
Parameter = Annotated[str, Option(help="A fraction such as 1/2: lambda in (0, 1], or for P1 epsilon in (0, 1/2].")]
Columns = Annotated[
    int, Option(help="The number N - m + 1 of columns that compete for the minimiser's support, of an m x N matrix.")
]
Tail = Annotated[int, Option(help="The number m - 1 of rows below the first, of an m x N matrix.")]
Reads = Annotated[int, Option(min=1, help="The number of reads (calls of sample) that an algorithm is granted.")]


def set_threads(threads: int | None) -> None:
    """Sets the number of threads that torch uses; None changes nothing.

    Raises:
        BadInput: For less than one thread.
    """
    if threads is None:
        return
    if threads < 1:
        raise BadInput("At least one thread", f"{threads}", "Leave --threads out for all of them")
    import torch

    torch.set_num_threads(threads)


def transform_of(sparsify: str | None, wavelet: str | None) -> str | None:
    """Returns the transform as a value of --sparsify, or None for the default.

    Raises:
        BadInput: If both options are given.
    """
    if sparsify is not None and wavelet is not None:
        do = "--wavelet db4 is short for --sparsify orthonormal:db4"
        raise BadInput("One of --sparsify and --wavelet", "both", do)
    return sparsify if wavelet is None else f"orthonormal:{wavelet}"


def refuse_unused(where: str, unused: Mapping[str, object]) -> None:
    """Refuses options that would be ignored.

    Args:
        where: For example "with --lines".
        unused: The value of each option that does not count there; None where it was not given.

    Raises:
        BadInput: If one of them was given.
    """
    given = [name for name, value in unused.items() if value is not None]
    if given:
        raise BadInput(f"Only options that count {where}", " and ".join(given), "Leave them out")


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Returns numbers that are separated by commas.

    Raises:
        BadInput: For text that is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        do = "For example 0.002,0.01,0.05"
        raise BadInput(f"Numbers separated by commas for {option}", repr(text), do) from None


# How a scan is read: the fields of `Source`, in the order in which help lists them.
_SOURCE: dict[str, tuple[Any, Any]] = {
    "data": (Data, inspect.Parameter.empty),
    "mask": (MaskFile, None),
    "maps": (Maps, None),
    "only": (Slice, None),
    "axes": (Axes, None),
    "key": (Key, None),
    "corner_dc": (CornerDC, False),
    "origin": (ImageOrigin, None),
    "remove_oversampling": (Oversampling, False),
    "noise": (NoiseFile, None),
    "device": (Device, "cpu"),
    "dtype": (Dtype, "complex64"),
    "shape": (Sides, None),
    "rotation_axis": (RotationAxis, None),
    "bin": (Bin, 1),
    "every": (Every, 1),
    "order": (Order, None),
    "readings": (ReadingKind, None),
}


def with_source(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options for reading a scan; the command gets them as the :class:`.Source` ``source``."""
    hints = get_type_hints(command, localns={"Source": Any}, include_extras=True)
    own = {n: (hints[n], p.default) for n, p in inspect.signature(command).parameters.items() if n != "source"}
    listed = {"data": _SOURCE["data"], **own, **_SOURCE}

    @wraps(command)
    def run(**given: Any) -> None:
        from firenet.scans.source import Source

        command(source=Source(**{name: given.pop(name) for name in _SOURCE}), **given)

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(n, kind, default=d, annotation=a) for n, (a, d) in listed.items()]
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {name: annotation for name, (annotation, _) in listed.items()}
    return run

"""The options that commands share, and what checks them before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from firenet.errors import BadInput

if TYPE_CHECKING:
    pass


# --- recon and certify ------------------------------------------------------------------------------------------------

Data = Annotated[Path, typer.Argument(help="k-space: npy, npz, HDF5 (fastMRI), ISMRMRD, BART cfl.", show_default=False)]
MaskFile = Annotated[Path | None, typer.Option("--mask", help="Sampling mask; default: where the data are not zero.")]
Maps = Annotated[str | None, typer.Option("--maps", help="Coil maps: a file, or 'auto' to estimate them (ESPIRiT).")]
Sparsify = Annotated[
    str | None,
    typer.Option(
        "--sparsify",
        help="undecimated:WAVELET[:LEVELS], orthonormal:WAVELET[:LEVELS], tv, or a sum such as "
        "undecimated:sym4:3+tv. Default: undecimated:haar:1+sym4:3; volumes orthonormal:db4.",
    ),
]
WaveletName = Annotated[
    str | None, typer.Option("--wavelet", help="Short for orthonormal: haar, db1-db10, sym2-sym10, coif1-coif5.")
]
LAM = "Regularisation parameter, no unit. Default: 4/3 over the root of the number of coefficients; orthonormal 0.001."
Lam = Annotated[float | None, typer.Option("--lam", help=LAM)]
LamOrAuto = Annotated[
    str | None, typer.Option("--lam", help=LAM + " auto: by samples held out, with a plot beside the image.")
]
NoiseLevel = Annotated[
    str | None,
    typer.Option(
        "--noise-level",
        help="Fit the data up to this 2-norm of the noise, a number or a share of the data's such as 5%, instead of "
        "choosing lambda; exit code 3 if no such image is found.",
    ),
]
Slice = Annotated[
    int | None, typer.Option("--slice", help="Take the slice of this number, counted from 0; default: all, as a batch.")
]
Axes = Annotated[str | None, typer.Option("--axes", help="What the stored axes are, e.g. slice,coil,y,x.")]
Key = Annotated[str | None, typer.Option("--key", help="Name of the array in an npz or HDF5 file.")]
CornerDC = Annotated[
    bool,
    typer.Option(
        "--corner-dc",
        help="Zero frequency lies in the corner, not in the middle: k-space is fft2(image). "
        "Where centred data were only moved there, ifftshift(k-space), add --image-origin middle.",
    ),
]
ImageOrigin = Annotated[
    str | None,
    typer.Option(
        "--image-origin",
        help="Where the image comes out split: the pixel that has phase zero. middle, as scanners and BART have it, "
        "k-space = fftshift(fft2(ifftshift(image))); or corner, as numpy's plain fft2(image) has it. "
        "Default: middle, with --corner-dc corner.",
    ),
]
MaskCorner = Annotated[bool, typer.Option("--corner-dc", help="Write zero frequency in the corner, not in the middle.")]
Oversampling = Annotated[
    bool, typer.Option("--remove-oversampling", help="Crop readout oversampling (2x unless the file knows better).")
]
NoiseFile = Annotated[
    Path | None, typer.Option("--noise", help="Noise samples (coils, n) to prewhiten the coils with.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option("--dtype", help="complex64 or complex128.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of the CPU to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings and errors alone; no progress, no table.")]
Formula = Annotated[bool, typer.Option("--formula", help="Print the optimisation problem that was solved, too.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what lies beside OUT also where firenet did not write it.")
]


def set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise BadInput("At least one thread", f"{threads}", "Leave --threads out for all of them")
    import torch

    torch.set_num_threads(threads)


def parse_lam(given: str | None) -> float | Literal["auto"] | None:
    """Returns lambda as a number, the word auto, or None."""
    if given is None or given == "auto":
        return given
    try:
        return float(given)
    except ValueError:
        raise BadInput("--lam: a number, or auto", repr(given), "For example --lam 1e-3") from None


def transform_of(sparsify: str | None, wavelet: str | None) -> str | None:
    """Returns the transform in the words of --sparsify, None for the default."""
    if sparsify is not None and wavelet is not None:
        do = "--wavelet db4 is short for --sparsify orthonormal:db4"
        raise BadInput("One of --sparsify and --wavelet", "both", do)
    return sparsify if wavelet is None else f"orthonormal:{wavelet}"

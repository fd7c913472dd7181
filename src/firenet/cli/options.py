"""The options that commands share, and what checks them before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet.cli import scans
from firenet.errors import BadInput

if TYPE_CHECKING:
    import torch


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
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what lies beside OUT also where firenet did not write it.")
]


def schedule_for(name: str, layers: int, tolerance: float | None) -> Callable[[torch.Tensor], Any]:
    """What makes the schedule for given measurements."""
    from firenet.mri.reconstruct import default_schedule, paper_schedule
    from firenet.solver.radial import RadialSearch
    from firenet.solver.schedules import FixedSteps

    adaptive = default_schedule(tolerance, layers)
    made: dict[str, Callable[[torch.Tensor], Any]] = {
        "adaptive": lambda y: adaptive,
        "radial": lambda y: RadialSearch(adaptive.tolerance, layers),
        "paper": lambda y: paper_schedule(layers, y),
        "fixed": lambda y: FixedSteps(layers),
    }
    if name not in made:
        raise BadInput(f"A schedule: {', '.join(made)}", name, "adaptive needs no choice of steps")
    return made[name]


def set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise BadInput("At least one thread", f"{threads}", "Leave --threads out for all of them")
    import torch

    torch.set_num_threads(threads)


def parse_noise_level(noise_level: str | None, lam: float | str | None) -> scans.Level:
    """What makes the noise level for given measurements; refuses one beside a lambda."""
    if noise_level is not None and lam is not None:
        raise BadInput("One of --lam and --noise-level", "both", "With a noise level there is no lambda")
    return scans.noise_level(noise_level)


def check_limits(layers: int, tolerance: float | None, reweight: int | None = None) -> None:
    """Refuses limits that mean nothing, before anything is read."""
    if layers < 1:
        raise BadInput("--layers: at least one layer", f"{layers}", "2000 are the default of recon; most need fewer")
    if tolerance is not None and not 0 < tolerance < 1:
        raise BadInput("--tolerance: a relative gap between 0 and 1", f"{tolerance}", "1e-2 is a picture, 1e-4 a proof")
    if reweight is not None and reweight < 0:
        raise BadInput("--reweight: a number of rounds, zero or more", f"{reweight}", "1 or 2 are usual")
    if reweight is not None and layers <= reweight:
        got = f"--layers {layers} for {reweight + 1} rounds, the first one among them"
        raise BadInput("At least one layer for every round", got, "Allow more layers, or fewer rounds")


def parse_lam(given: str | None) -> tuple[bool, float | None]:
    """Whether lambda is to be chosen, and the number where it is not."""
    if given is None or given == "auto":
        return given == "auto", None
    try:
        return False, float(given)
    except ValueError:
        raise BadInput("--lam: a number, or auto", repr(given), "For example --lam 1e-3") from None


def check_problem(sparsify: str | None, wavelet: str | None, lam: float | None) -> str | None:
    """The transform, None for the default; refuses a problem that cannot be posed before anything is read."""
    from firenet.problems.penalty import check_lam
    from firenet.transforms.spec import transform

    if sparsify is not None and wavelet is not None:
        raise BadInput(
            "One of --sparsify and --wavelet", "both", "--wavelet db4 is short for --sparsify orthonormal:db4"
        )
    spec = f"orthonormal:{wavelet}" if wavelet is not None else sparsify
    transform(spec, (2**20,))
    check_lam(1.0 if lam is None else lam)
    return spec

"""``firenet doctor``: what is installed, what is missing, and what this machine can do."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from firenet.cli import console, options
from firenet.errors import BadInput
from firenet.io.stored import memory_bytes
from firenet.versions import versions

# Each extra, and for each of its libraries what it is needed for.
_EXTRAS = {
    "mri": {"h5py": "HDF5 files (fastMRI, ISMRMRD, Data Exchange)"},
    "nufft": {"finufft": "non-Cartesian MRI"},
    "scipy": {"scipy": "fast products of sparse matrices (tomography)"},
    "images": {"nibabel": "NIfTI files", "pydicom": "DICOM files"},
    "export": {"onnx": "ONNX files", "onnxscript": "ONNX files", "onnxruntime": "checking ONNX files"},
    "audit": {
        "firenet-models": "trained networks",
        "safetensors": "trained networks",
        "jinja2": "the audit's report",
        "scikit-image": "structural similarity",
    },
    "deepinv": {"deepinv": "models of deepinv"},
    "astra": {"astra-toolbox": "projectors of ASTRA"},
    "mrpro": {"mrpro": "operators of MRpro"},
    "verified": {"python-flint": "verified certificates of dense problems"},
    "fast": {"numba": "compiled layers"},
    "barriers": dict.fromkeys(("cvxpy", "clarabel", "scs", "scikit-learn"), "solvers for the adversary"),
}


@console.reports
def doctor(
    file: Annotated[
        Path | None,
        Option(
            help="A file of measurements: show what is in it and how to reconstruct it, instead.", show_default=False
        ),
    ] = None,
    axes: options.Axes = None,
    key: options.Key = None,
    as_json: options.Json = False,
) -> None:
    """Show which libraries are installed, how to install the missing ones, and what this machine can do.

    With --file, show what a file of measurements has: axes, where zero frequency lies, mask, trajectory, coils, voxel
    size, and the command that reconstructs it.

    Examples:
      firenet doctor
      firenet doctor --json
      firenet doctor --file scan.h5
    """
    if file is not None:
        _describe(file, axes, key, as_json)
        return
    if axes is not None or key is not None:
        raise BadInput("A file for --axes and --key", "none", "Add --file FILE")
    with console.busy("loading torch"):
        import torch

    extras: dict[str, dict[str, str | None]] = {}
    for extra, libraries in _EXTRAS.items():
        for library, purpose in libraries.items():
            extras[library] = {"version": _version(library), "extra": extra, "for": purpose}
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    record: dict[str, Any] = {
        "versions": versions() | {library: _version(library) for library in ("typer", "rich", "matplotlib")},
        "extras": extras,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "memory_bytes": memory_bytes(),
        "executable": sys.executable,
    }
    missing = sorted({str(e["extra"]) for e in extras.values() if e["version"] is None}, key=list(_EXTRAS).index)
    record["to_install"] = {extra: _command(extra) for extra in missing}
    if as_json:
        console.print_json(record)
        return
    rows = [[name, version or "missing", "-", "always"] for name, version in record["versions"].items()]
    rows += [[name, e["version"] or "missing", str(e["extra"]), str(e["for"])] for name, e in extras.items()]
    console.table("firenet doctor", ["library", "version", "extra", "needed for"], rows)
    for extra, command in record["to_install"].items():
        console.say(f"the extra {extra} is incomplete; to install it: {command}")
    memory = "unknown" if record["memory_bytes"] is None else f"{record['memory_bytes'] / 2**30:.1f} GiB"
    console.say(f"threads: {record['threads']} of {record['cores']} cores; memory: {memory}")
    console.say(f"GPU: {', '.join(gpus) or 'none'}")


def _describe(file: Path, axes: str | None, key: str | None, as_json: bool) -> None:
    """Prints what a file has."""
    with console.busy("reading"):
        from firenet.scans.describe import describe_file

        names = None if axes is None else [a.strip() for a in axes.split(",")]
        found = describe_file(file, axes=names, key=key)
    if as_json:
        console.print_json(found.record())
        return
    console.table(f"{found.source}: {found.kind}", ["what", "value"], [list(fact) for fact in found.facts.items()])
    for note in found.notes:
        console.say(f"note: {note}")
    console.say(f"to reconstruct it: {found.command}")


def _version(library: str) -> str | None:
    """Returns the version of an installed library, or None if it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _command(extra: str) -> str:
    """Returns the command that installs an extra into this environment.

    If firenet runs from a checkout, the command installs from there; otherwise it adds to the installed package.
    """
    checkout = Path(__file__).resolve().parents[3]
    what = ["-e", f"{'.' if checkout == Path.cwd() else checkout}[{extra}]"]
    if not (checkout / "pyproject.toml").exists():
        what = [f"firenet[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *what])

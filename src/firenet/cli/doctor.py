"""``firenet doctor`` and ``firenet bench``: what this machine has, and how fast it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firenet.cli import console
from firenet.cli.options import Json
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    pass


# --- bench ------------------------------------------------------------------------------------------------------------


@console.reports
def bench(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Small problems and few methods: minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare with SigPy, deepinv, PyProximal, BART and cvxpy: time to a given accuracy. Needs a checkout.

    Further options go to benchmarks/run.py, e.g. --only exact-256 --cap 20. Peers live in an environment of their own,
    which `make bench` makes.
    """
    import subprocess

    script = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
    if not script.exists():
        raise BadInput("A checkout of the repository", f"an installation without {script.name}", "Clone it; make bench")
    own = script.parent / ".venv" / "bin" / "python"
    options = [*(["--quick"] if quick else []), *(["--json"] if as_json else []), *context.args]
    run = subprocess.run([str(own if own.exists() else sys.executable), str(script), *options], check=False)
    if run.returncode:
        raise typer.Exit(run.returncode)


# --- doctor -----------------------------------------------------------------------------------------------------------

_EXTRAS = {
    "h5py": ("mri", "HDF5 files (fastMRI, ISMRMRD)"),
    "onnx": ("export", "ONNX files"),
    "onnxscript": ("export", "ONNX files"),
    "onnxruntime": ("export", "checking ONNX files"),
    "nibabel": ("images", "NIfTI files"),
    "pydicom": ("images", "DICOM files"),
    "safetensors": ("audit", "trained networks"),
    "jinja2": ("audit", "the audit's report"),
    "scikit-image": ("audit", "structural similarity"),
    "deepinv": ("deepinv", "models of deepinv"),
    "cvxpy": ("barriers", "solvers for the adversary"),
    "scikit-learn": ("barriers", "solvers for the adversary"),
}


@console.reports
def doctor(as_json: Json = False) -> None:
    """Show what is installed and what this machine can do."""
    from importlib import metadata

    import torch

    extras = {}
    for library, (extra, purpose) in _EXTRAS.items():
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            version = None
        extras[library] = {"version": version, "extra": extra, "for": purpose}
    gpus = (
        [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    record = {
        "versions": versions(),
        "extras": extras,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "executable": sys.executable,
    }
    if as_json:
        console.print_json(record)
        return
    rows = [[name, version, "", ""] for name, version in record["versions"].items()]
    for library, e in extras.items():
        rows.append(
            [
                library,
                e["version"] or "missing",
                e["for"],
                "" if e["version"] else f"pip install 'firenet[{e['extra']}]'",
            ]
        )
    console.table("firenet doctor", ["library", "version", "for", "to install"], rows)
    console.say(f"threads: {record['threads']} of {record['cores']} cores; GPU: {', '.join(gpus) or 'none'}")

"""A missing library of an extra: the error says what needs it and which extra brings it, at every door."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from firenet import Firenet, Matrix, certify
from firenet.audit import measures
from firenet.audit.report import render
from firenet.errors import MissingExtra
from firenet.export.onnx_file import export_onnx
from firenet.images import load_colin27
from firenet.interop import from_astra, to_mrpro
from firenet.io.files import check_output, read_array, write_image
from firenet.io.tensors import read_weights
from firenet.models.deepinv import deepinv_reconstruct
from firenet.models.load import load_model
from firenet.nets.training import weights_of
from firenet.paper import contestants
from firenet.sensing import SubsampledFourier
from firenet.solver import FixedSteps


def file(folder: Path, name: str, head: bytes = b"") -> Path:
    (folder / name).write_bytes(head)
    return folder / name


def network() -> Firenet:
    return Firenet(Matrix(ONES), lam=0.1, schedule=FixedSteps(1))


ONES = torch.ones(8, 8)
BEAMS = {"type": "parallel", "DetectorCount": 3, "ProjectionAngles": [0.0]}
HDF5, DICOM = b"\x89HDF\r\n\x1a\n", bytes(128) + b"DICM"
NIFTI = struct.pack("<i340x4s4x", 348, b"n+1")
# Library, extra, libraries that are looked for before it, and what needs it.
DOORS: list[tuple[str, str, tuple[str, ...], Callable[[Path], Any]]] = [
    ("h5py", "mri", (), lambda f: read_array(file(f, "a.h5", HDF5))),
    ("nibabel", "images", (), lambda f: read_array(file(f, "a.nii", NIFTI))),
    ("nibabel", "images", (), lambda f: check_output(f / "b.nii")),
    ("nibabel", "images", (), lambda f: write_image(f / "b.nii", np.ones((3, 4)))),
    ("nibabel", "images", (), lambda f: load_colin27([90], file(f, "a.nii.gz"))),
    ("pydicom", "images", (), lambda f: read_array(file(f, "a.dcm", DICOM))),
    ("onnx", "export", (), lambda f: load_model(str(file(f, "a.onnx")))),
    ("onnxruntime", "export", ("onnx",), lambda f: load_model(str(file(f, "a.onnx")))),
    ("onnx", "export", (), lambda f: export_onnx(network(), f / "b.onnx")),
    ("onnxscript", "export", ("onnx",), lambda f: export_onnx(network(), f / "b.onnx")),
    ("onnxruntime", "export", ("onnx", "onnxscript"), lambda f: export_onnx(network(), f / "b.onnx")),
    ("safetensors", "audit", (), lambda f: read_weights(file(f, "a.safetensors"))),
    ("firenet_models", "audit", (), lambda _: weights_of("unet")),
    ("skimage", "audit", (), lambda _: measures._ssim(ONES, ONES)),
    ("jinja2", "audit", (), lambda _: render([], command="", title="")),
    ("flint", "verified", (), lambda _: certify(network().problem, ONES[0], ONES[0], budget=0, verified=True)),
    ("deepinv", "deepinv", (), lambda _: deepinv_reconstruct(None, SubsampledFourier(ONES > 0))),
    ("astra", "astra", (), lambda _: from_astra(BEAMS, {"GridRowCount": 2, "GridColCount": 2})),
    ("mrpro", "mrpro", (), lambda _: to_mrpro(Matrix(ONES))),
    ("cvxpy", "barriers", (), lambda _: contestants._cvxpy(Mock(), "SCS")),
    ("sklearn", "barriers", (), lambda _: contestants.lasso(Mock())),
]


@pytest.mark.parametrize(("library", "extra", "before", "call"), DOORS, ids=[door[0] for door in DOORS])
def test_a_missing_library_says_which_extra_brings_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    extra: str,
    before: tuple[str, ...],
    call: Callable[[Path], Any],
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == library] or [library]:
        monkeypatch.setitem(sys.modules, module, None)
    for other in before:  # there, also in an environment without extras
        monkeypatch.setitem(sys.modules, other, Mock(__version__="1"))
    with pytest.raises(MissingExtra, match=rf"needs the library {library}\..*firenet\[{extra}\]"):
        call(tmp_path)
    assert not list(tmp_path.glob("b.*"))  # it is said before anything is written

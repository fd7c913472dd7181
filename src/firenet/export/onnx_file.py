"""The network as an ONNX file, for other runtimes.

:func:`export_onnx` writes the network in real numbers (:class:`.RealPacked`). Before the file is put in place, its
results in onnxruntime are compared with those of the network.
"""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.export.real_valued import Fourier, RealPacked, check_dtype, supported
from firenet.io.safely import check_room, replacing
from firenet.network import Firenet
from firenet.numerics import check_seed, real_view
from firenet.optional import optional

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_OPSETS = range(18, 24)


def export_onnx(
    net: Firenet,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    fourier: Fourier | None = None,
    measurements: Tensor | None = None,
    check: bool = True,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes a network of fixed steps as an ONNX file, after a comparison of the file's images with the network's.

    The file has one input, ``measurements`` of shape (batch, \\*sensing.out_shape, 2), and one output, ``image`` of
    shape (batch, \\*sensing.in_shape, 2), for Walsh samples without the 2; see :class:`RealPacked`. It contains the
    layers one after the other. For 64 x 64 and db4 a layer has some 80 nodes, and torch takes some 0.6 s of one core to
    export it.

    The measurements for the comparison are random numbers as large as the steps expect, zeros and, if given,
    ``measurements``. From each of them onnxruntime computes an image a, and ``net`` in double precision an image b. The
    difference is :math:`\\|a-b\\|_2/\\|b\\|_2`, or :math:`\\|a\\|_2` if b is zero. It may exceed ``tolerance`` only by
    the rounding of :class:`RealPacked` itself in ``dtype``, which is measured in the same way without onnxruntime; and
    the difference must not exceed ten times ``tolerance``. In float32 difference and rounding are some 1e-6, for 50
    layers and for 130; in float64 some 1e-14.

    Args:
        net: As for :class:`RealPacked`: ``net.following(solution.schedule.frozen())``.
        path: The file, whose name ends in ``.onnx``. It is written completely or not at all.
        opset: 18 to 23; None is the choice of torch.
        batch: The size of the batch, fixed in the file.
        dtype: The dtype of all numbers, float32 or float64.
        fourier: As for :class:`RealPacked`; None is ``fft`` if all sides are powers of two, otherwise ``matrix``: for
            other sides the DFT of onnxruntime 1.32 has errors of up to 5e-5 in float32, its inverse of up to 1e-7 in
            float64.
        measurements: Measurements to include in the comparison, (\\*sensing.out_shape), as ``net`` takes them.
        check: Whether to compare.
        tolerance: See above.
        seed: Seed of the random measurements.

    Returns:
        A record of the file and the comparison, ready for JSON.

    Raises:
        BadInput: As :class:`RealPacked`; for a path that cannot be written; if a difference is too large, in which case
            nothing is written.
        MissingExtra: Without onnx, onnxscript or onnxruntime.
    """
    if batch < 1 or not 0 < tolerance < 1:
        got = f"batch={batch}, tolerance={tolerance}"
        raise BadInput("A batch of at least one and a tolerance between 0 and 1", got, "The defaults are 1 and 1e-6")
    if opset is not None and opset not in _OPSETS:
        raise BadInput(f"An opset from {_OPSETS[0]} to {_OPSETS[-1]}", f"{opset}", "Leave it out")
    check_dtype(dtype)
    check_seed(seed)
    path = Path(path)
    libraries = check_export(path)
    if fourier is None:
        fourier = "matrix" if any(n & (n - 1) for n in net.sensing.in_shape) else "fft"
    module = RealPacked(net, fourier=fourier, dtype=dtype).cpu()
    cases = _cases(net, module, batch, measurements, seed) if check else {}
    start = time.perf_counter()
    program = _translate(module, batch, opset)
    seconds = time.perf_counter() - start
    model = program.model_proto.SerializeToString()
    difference, rounding = _compared(net, module, model, cases, tolerance) if check else ({}, {})
    with replacing(path) as (temporary,):
        temporary.write_bytes(model)
    return {
        "file": str(path),
        "bytes": len(model),
        "layers": module.layers,
        "runs": len(module.runs),
        "nodes": len(program.model.graph),
        "opset": program.model.opset_imports[""],
        "dtype": str(dtype).removeprefix("torch."),
        "fourier": module.fourier,
        "input": [batch, *module.out_shape, *module._pair],
        "output": [batch, *module.in_shape, *module._pair],
        "seed": seed,
        "tolerance": tolerance,
        "difference": difference,
        "rounding": rounding,
        "seconds": seconds,
        "versions": {"torch": torch.__version__, **libraries},
    }


def _compared(
    net: Firenet, module: RealPacked, model: bytes, cases: dict[str, Tensor], tolerance: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns for each case the relative differences of the file's and of the module's images to those of the network.

    Raises:
        BadInput: If a difference is too large.
    """
    run, device, dtype = _session(model), supported(net).mask.device, module.mask.dtype
    difference: dict[str, float] = {}
    rounding: dict[str, float] = {}
    for name, y in cases.items():
        wanted = real_view(net(y.to(device)).detach().cpu())
        packed = real_view(y).to(dtype)
        difference[name] = _distance(run(packed), wanted)
        with torch.no_grad():
            rounding[name] = _distance(module(packed), wanted)
    for name, d in difference.items():
        if not d <= min(tolerance + rounding[name], 10 * tolerance):
            got = f"{d:.1e} for {name} measurements, of which rounding is {rounding[name]:.1e}"
            do = "Use dtype=torch.float64" if dtype == torch.float32 else "Use fourier='matrix', another opset"
            raise BadInput(f"A relative difference to the network of at most {tolerance:g}", got, do)
    return difference, rounding


def check_export(path: Path) -> dict[str, str]:
    """Returns the versions of the libraries, after a check that an ONNX file can be written here.

    Raises:
        BadInput: If the path does not end in ``.onnx``, its folder does not exist, or it cannot be written to.
        MissingExtra: Without onnx, onnxscript or onnxruntime.
    """
    if path.suffix.lower() != ".onnx":
        raise BadInput("An output file that ends in .onnx", str(path), "Rename the output")
    check_room(path)
    return {name: _library(name).__version__ for name in _LIBRARIES}


def _library(name: str) -> ModuleType:
    return optional(name, "export", "Writing ONNX")


def _cases(net: Firenet, module: RealPacked, batch: int, measurements: Tensor | None, seed: int) -> dict[str, Tensor]:
    """Returns the measurements for the comparison by name, in double precision."""
    dtype = torch.complex128 if module.pairs else torch.float64
    shape = (batch, *module.out_shape)
    random = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    # A controller starts at tau = |y| / |A|^2, which gives the size of its measurements. Outside the mask there is
    # noise, too, which the network must ignore.
    norm = torch.linalg.vector_norm(net.sensing.restrict(random.to(supported(net).mask.device))).item() / batch**0.5
    random *= module.runs[0].tau * net.operator.norm_bound.value**2 / norm
    cases = {"random": random, "zero": torch.zeros_like(random)}
    if measurements is not None:
        if tuple(measurements.shape) != module.out_shape or measurements.is_complex() != module.pairs:
            kind = "complex" if module.pairs else "real"
            got = f"{measurements.dtype} of shape {tuple(measurements.shape)}"
            raise BadInput(f"Measurements of shape {module.out_shape}, {kind}", got, "Give data of one image")
        cases["given"] = measurements.detach().cpu().to(dtype).expand(shape)
    return cases


def _distance(x: Tensor, wanted: Tensor) -> float:
    """Computes the relative distance, or the norm of x if the reference is zero; infinite for NaN."""
    size = torch.linalg.vector_norm(wanted).item()
    distance = torch.linalg.vector_norm(x.double() - wanted).item() / (size or 1.0)
    return distance if math.isfinite(distance) else math.inf


def _translate(module: RealPacked, batch: int, opset: int | None) -> Any:
    """Translates the module to an ``ONNXProgram``."""
    common, optimizer = (_library(name) for name in ("onnx_ir.passes.common", "onnxscript.optimizer"))
    y = torch.zeros(batch, *module.out_shape, *module._pair, dtype=module.mask.dtype)
    with _quiet():
        # No optimisation: torch's optimiser tries patterns that no layer has, which takes several times as long as all
        # the rest.
        names: dict[str, Any] = {"input_names": ["measurements"], "output_names": ["image"], "opset_version": opset}
        plain = {"dynamo": True, "optimize": False, "verbose": False, "external_data": False}
        program = torch.onnx.export(module, (y,), **plain, **names)
    assert program is not None
    optimizer.fold_constants_ir(program.model)
    optimizer.remove_unused_nodes(program.model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(program.model)
    common.DeduplicateInitializersPass()(program.model)
    # The metadata of every node has its source line, with the paths of this machine.
    common.ClearMetadataAndDocStringPass()(program.model)
    program.model.doc_string = f"FIRENET, {module.layers} layers; complex numbers are pairs on the last axis"
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses messages of torch about itself during the export."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with warnings.catch_warnings():
            # torch.export calls a deprecated function of its own.
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)


def _session(model: bytes) -> Any:
    """Returns a function from measurements to images that runs the model in onnxruntime on the CPU."""
    onnxruntime = _library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(y: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"measurements": y.contiguous().numpy()})[0])

    return run

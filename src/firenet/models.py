"""Reconstructions from elsewhere: a function, an ONNX file, weights, deepinv, a compiled file.

What becomes of all of them is a :class:`Model`: a name, and how to build R for given sensing. Files are data: none is
unpickled. TorchScript and ``.pt2`` files can run code while they are loaded; they are opened only with ``trust=True``,
in a process of their own (:mod:`firenet.outside`), which keeps a crash from this one but is no sandbox.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from firenet.archives import arrays_in, bytes_of
from firenet.baselines import Cascade
from firenet.certificate import certify
from firenet.errors import BadInput, FirenetError
from firenet.files import sha256
from firenet.formats import existing, named, optional
from firenet.network import Firenet, Solution
from firenet.numerics import norms, real_view
from firenet.operators import LinearOperator
from firenet.outside import Outside
from firenet.problems import Norm
from firenet.recon import default_schedule, network, to_centre
from firenet.restarts import PaperSchedule
from firenet.sensing import SubsampledFourier
from firenet.stabilised import Stabilised
from firenet.tensors import read_safetensors, read_weights
from firenet.training import SHIPPED, load, shipped, weights_of

Reconstruct = Callable[[Tensor], Tensor]
RESTARTS, LAYERS = 6, 10
# One level, four bands: an attack through sixty layers takes a minute and not five, and the default of `firenet recon`,
# 14 bands, is some 0.3 to 1 dB more accurate.
FRAME = "undecimated:db2:1"
BUILT_IN = (*SHIPPED, "d5c5", "zero-filled", "firenet", "firenet:adaptive", *(f"stabilised:{name}" for name in SHIPPED))


@dataclass(frozen=True, eq=False)
class Model:
    """A reconstruction that can be audited.

    Attributes:
        name: What it is called in tables.
        build: Sensing to R, measurements to an image.
        origin: Where it comes from, for the record: a file and its SHA-256, a module, a library.
        fits: Whether R can be built for other samples than the first ones.
    """

    name: str
    build: Callable[[LinearOperator], Reconstruct]
    origin: Mapping[str, Any] = field(default_factory=dict)
    fits: bool = True


def of(name: str, reconstruct: Reconstruct, identity: str | None = None) -> Model:
    """A function as it is, for the samples it was made for.

    Args:
        name: What it is called.
        reconstruct: R.
        identity: What tells it from another one of this name, so that a later audit may take its finished parts; None
            is a new one for every call: a function does not show what it computes.
    """
    origin: dict[str, Any] = {"kind": type(reconstruct).__name__, "identity": identity or uuid4().hex}
    if isinstance(reconstruct, nn.Module):
        origin["sha256"] = fingerprint(reconstruct)
    return Model(name, lambda sensing: reconstruct, origin, fits=False)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of a module's weights."""
    digest = hashlib.sha256()
    for name, t in module.state_dict().items():
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(real_view(t.detach().cpu()).reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def firenet_model(
    sparsify: str | None = FRAME, restarts: int = RESTARTS, layers: int = LAYERS, name: str = "FIRENET"
) -> Model:
    """The FIRENET to compare with: a transform of few bands (None is that of ``firenet recon``) and the paper's
    schedule, so many restarts of so many layers.

    The schedule is fixed, so what is attacked is one feed-forward network; its steps are in the unit of the data.
    """

    def build(sensing: LinearOperator) -> Firenet:
        mask, maps = _fourier(sensing)
        return network(mask, maps, sparsify=sparsify, schedule=PaperSchedule(outer=restarts, inner=layers))

    return Model(name, build, {"kind": "FIRENET", "sparsify": sparsify, "restarts": restarts, "layers": layers})


def adaptive_model(
    sparsify: str | None = FRAME, layers: int = RESTARTS * LAYERS, name: str = "FIRENET adaptive"
) -> Model:
    """The same with the schedule of ``firenet recon``, which finds its steps for every image, of so many layers."""

    def build(sensing: LinearOperator) -> Firenet:
        mask, maps = _fourier(sensing)
        return network(mask, maps, sparsify=sparsify, schedule=default_schedule(None, layers))

    return Model(name, build, {"kind": "FIRENET, adaptive", "sparsify": sparsify, "layers": layers})


def stabilised_model(
    inner: Model,
    sparsify: str | None = FRAME,
    restarts: int = RESTARTS,
    layers: int = LAYERS,
    name: str | None = None,
) -> Model:
    """:class:`Stabilised`: :func:`firenet_model` behind another model."""
    outer = firenet_model(sparsify, restarts, layers)

    def build(sensing: LinearOperator) -> Stabilised:
        return Stabilised(inner.build(sensing), cast("Firenet", outer.build(sensing)))

    origin = {"kind": "Stabilised", "FIRENET": outer.origin, "inner": inner.origin}
    return Model(name or f"Stabilised {inner.name}", build, origin, inner.fits)


def cascade_model(path: Path | None = None, name: str = "D5-C5") -> Model:
    """D5-C5, a network that others have trained (Schlemper et al. 2018).

    Args:
        path: Its fifty weights as safetensors, in the order of their names, or an npz of ``arr_0`` to ``arr_49``, as
            they were published; None is the file of the distribution firenet-models.
        name: What it is called.
    """
    path = weights_of("d5c5") if path is None else path
    if path.suffix == ".safetensors":
        tensors, about = read_safetensors(path)
        weights = [tensors[key] for key in sorted(tensors)]
    else:
        data, about = bytes_of(path), {}
        stored = arrays_in(io.BytesIO(data), len(data), str(path))
        names = [f"arr_{k}" for k in range(50)]
        if not set(names) <= stored.keys():
            raise BadInput("Fifty arrays, arr_0 to arr_49", f"{len(stored)} in {path}", "Take the weights of D5-C5")
        weights = [torch.from_numpy(stored[name]) for name in names]

    def build(sensing: LinearOperator) -> Cascade:
        if not isinstance(sensing, SubsampledFourier):
            raise BadInput("Fourier sensing of one channel", type(sensing).__name__, "Take one coil")
        return Cascade(sensing, weights)

    return Model(name, build, {"kind": "D5-C5", **about, "file": path.name, "sha256": sha256(path)})


def certified(reconstruct: Any, y: Tensor, perturbations: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """What is proven about a FIRENET under perturbation, checked: for every e

    .. math:: F_y(R(y+e))-\\min F_y\\le\\mathrm{gap}(y+e)+2\\|e\\|_2,

    since data that differ by e change the objective (P3) of any point by at most :math:`\\|e\\|_2`. Of the left side
    the lower bound :math:`F_y(R(y+e))-F_y(R(y))` is known; ``beaten`` says whether it is above the right one by more
    than the bounds of their rounding.

    Args:
        reconstruct: A :class:`Firenet` of (P3), or :class:`Stabilised` with one; for others None is returned.
        y: Measurements.
        perturbations: By name.
    """
    net = reconstruct.firenet if isinstance(reconstruct, Stabilised) else reconstruct
    if not isinstance(net, Firenet) or not isinstance(net.fidelity, Norm):
        return None

    def solved(data: Tensor) -> Solution:
        return net.solve(data, x0=reconstruct.network(data) if isinstance(reconstruct, Stabilised) else None)

    before, entries = solved(y), {}
    for name, e in perturbations.items():
        data = y + e
        after = solved(data)
        again = certify(net.problem, after.coefficients, y, budget=0)
        rise = again.objective.item() - before.objective.item()
        bound = after.gap.item() + 2 * norms(data.to(torch.complex128) - y, e.ndim).item()
        slack = (before.rounding + after.rounding + again.rounding).item()
        entries[name] = {"rise": rise, "bound": bound, "beaten": not rise <= bound + slack}
    return {
        "objective": before.objective.item(),
        "relative gap": before.relative_gap.item(),
        "layers": int(before.layers),
        "perturbations": entries,
        "beaten": any(entry["beaten"] for entry in entries.values()),
    }


def _fourier(sensing: LinearOperator) -> tuple[Tensor, Tensor | None]:
    mask, maps = getattr(sensing, "mask", None), getattr(sensing, "maps", None)
    if not isinstance(mask, Tensor):
        do = "Give a factory that builds a Firenet for your operator"
        raise BadInput("Fourier sensing with a mask", type(sensing).__name__, do)
    return mask, maps


def load_model(
    text: str,
    *,
    weights: Path | None = None,
    trust: bool = False,
    sparsify: str | None = FRAME,
    name: str | None = None,
) -> Model:
    """A model that a word, a file or a function stands for.

    Args:
        text: One of ``BUILT_IN``; ``module:factory``, a function of the sensing operator that returns R; a file
            ``.onnx``, ``.safetensors`` (of ``firenet train``), ``.pt``, ``.pth``, ``.pt2``.
        weights: For a factory: a file of safetensors, or of tensors that ``torch.save`` wrote, for the nn.Module that
            it returns.
        sparsify: The transform of FIRENETs, as :func:`firenet.recon.transform` has it.
        trust: Open TorchScript and ``.pt2``, which can run code when they are loaded.
        name: What it is called; None is made of text.

    Raises:
        BadInput: For what is refused, and why.
        MissingExtra: Where a library is missing.
    """
    if weights is not None and (text in BUILT_IN or ":" not in text):
        raise BadInput("A factory, module:factory, for --weights", repr(text), "A file has its own weights")
    if text in SHIPPED:
        net, recipe = shipped(text)
        origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": fingerprint(net)}
        return Model(name or text, lambda sensing: shipped(text, sensing)[0], origin, fits=recipe.network == "unet")
    if text == "d5c5":
        return cascade_model(name=name or "D5-C5")
    if text == "zero-filled":
        return Model(name or text, lambda sensing: sensing.adjoint, {"kind": "adjoint"})
    if text == "firenet":
        return firenet_model(sparsify, name=name or "FIRENET")
    if text == "firenet:adaptive":
        return adaptive_model(sparsify, name=name or "FIRENET adaptive")
    if text.startswith("stabilised:") and text in BUILT_IN:
        return stabilised_model(load_model(text.partition(":")[2]), sparsify, name=name)
    path = Path(text)
    if path.suffix.lower() in _READERS and (path.exists() or ":" not in text):
        existing(path)
        return _READERS[path.suffix.lower()](path, name or path.name, trust)
    if ":" in text:
        return _from_factory(text, weights, name or text)
    needed = f"A model: {', '.join(BUILT_IN)}, module:factory, or a file {', '.join(_READERS)}"
    raise BadInput(needed, repr(text), "See firenet audit run --help")


# --- module:factory ---------------------------------------------------------------------------------------------------


def _from_factory(text: str, weights: Path | None, name: str) -> Model:
    factory = named(text, "factory")
    if not callable(factory):
        do = "A function of the sensing operator that returns a function of measurements"
        raise BadInput("A factory", f"{text!r} is a {type(factory).__name__}", do)
    stored = None if weights is None else read_weights(weights)

    def build(sensing: LinearOperator) -> Reconstruct:
        made = factory(sensing)
        if not callable(made):
            do = "Return a function of measurements"
            raise BadInput("A factory that returns a function", type(made).__name__, do)
        if stored is not None:
            if not isinstance(made, nn.Module):
                raise BadInput("A factory of an nn.Module for weights", type(made).__name__, "Leave --weights out")
            try:
                made.load_state_dict(stored)
            except RuntimeError as error:
                said = str(error).splitlines()[-1].strip()
                do = "Check that factory and weights belong together"
                raise BadInput("Weights that fit the module", said, do) from None
        if isinstance(made, nn.Module):
            made.eval().requires_grad_(False)
        return deepinv_reconstruct(made, sensing) if _is_deepinv(made) else cast("Reconstruct", made)

    origin = {"kind": "factory", "factory": text}
    source = getattr(sys.modules.get(text.partition(":")[0]), "__file__", None)
    if source and Path(source).is_file():
        origin |= {"source sha256": sha256(source)}
    if weights is not None:
        origin |= {"weights": str(weights), "sha256": sha256(weights)}
    return Model(name, build, origin)


# --- files ------------------------------------------------------------------------------------------------------------


def _from_safetensors(path: Path, name: str, trust: bool) -> Model:
    _, recipe = load(path)
    origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": sha256(path)}
    return Model(name, lambda sensing: load(path, sensing)[0], origin, fits=recipe.network == "unet")


def _from_torch(path: Path, name: str, trust: bool) -> Model:
    """TorchScript and exported programs; what is only weights needs a factory."""
    compiled = path.suffix.lower() == ".pt2" or _is_torchscript(path)
    if not compiled:
        read_weights(path)  # refuses a pickle with its reason
        do = f"Give its factory: --model module:factory --weights {path.name}"
        raise BadInput("A model", f"{path}, which holds weights and no network", do)
    if not trust:
        kind = "An exported program (.pt2)" if path.suffix.lower() == ".pt2" else "A TorchScript file"
        do = (
            "--trust-model opens it in a process of its own, which is no sandbox: only if you trust who made it. "
            "Or take its weights as safetensors and a factory, or ONNX"
        )
        raise BadInput("A file that cannot run code while it is loaded", f"{path}. {kind} can", do)
    outside = Outside(path)
    origin = {"kind": "trusted file, in a process of its own", "file": str(path), "sha256": sha256(path)}
    return Model(name, lambda sensing: _tried(outside, sensing, path), origin)


def _is_torchscript(path: Path) -> bool:
    """An archive with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged archive raises anything, UnicodeDecodeError and NotImplementedError included
        return False
    return any(n.endswith("constants.pkl") or "/code/" in n or n.endswith("archive_format") for n in names)


def _tried(outside: Outside, sensing: LinearOperator, path: Path) -> Reconstruct:
    """A compiled file does not say what it takes: the first layout that gives an image is the one."""
    image = tuple(sensing.in_shape)
    layouts: list[Callable[[Tensor], Tensor]] = [
        lambda y: y,
        lambda y: y[None],
        lambda y: torch.view_as_real(y.resolve_conj()),
        lambda y: torch.view_as_real(y.resolve_conj())[None],
        lambda y: torch.view_as_real(y.resolve_conj()).movedim(-1, 0).contiguous(),
        lambda y: torch.view_as_real(y.resolve_conj()).movedim(-1, 0)[None].contiguous(),
    ]
    said, y = [], torch.zeros(sensing.out_shape, dtype=torch.complex64)
    for layout in layouts:
        try:
            taken(outside(layout(y)), image)
        except FirenetError as error:
            said.append(str(error))
            continue
        return lambda y, layout=layout: taken(outside(layout(y)), image)
    do = "It must take measurements, complex or as pairs of reals, on the grid of the mask"
    raise BadInput(f"A model of measurements of shape {tuple(sensing.out_shape)}", f"{path}: {said[0]}", do)


def _from_onnx(path: Path, name: str, trust: bool) -> Model:
    onnx = optional("onnx", "export", "Reading ONNX files")
    runtime = optional("onnxruntime", "export", "Running ONNX files")
    data = bytes_of(path)
    try:
        graph = onnx.load_model_from_string(data)
    except Exception as error:
        raise BadInput("An ONNX file", f"{path}: {_first_line(error)}", "Export it again") from None
    external = _external(graph, path)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        # What was checked is what is run; only external data need the path. A fallback would print on stdout.
        what = str(path) if external else data
        providers = ["CPUExecutionProvider"]
        session = runtime.InferenceSession(what, options, providers=providers, enable_fallback=0)
    except Exception as error:
        got = f"{path}: {_first_line(error)}"
        raise BadInput("An ONNX file that onnxruntime can run", got, "Export it again") from None
    inputs = session.get_inputs()
    if len(inputs) != 1:
        do = "Export R as a function of the measurements alone"
        raise BadInput("An ONNX model of one input", f"{[i.name for i in inputs]}", do)
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}.get(inputs[0].type)
    if kind is None:
        do = "Export it for real numbers, real and imaginary part on an axis of length 2"
        raise BadInput("An input of float32 or float64", inputs[0].type, do)

    def build(sensing: LinearOperator) -> Reconstruct:
        place, take = _layout([*inputs[0].shape], sensing, path)

        def reconstruct(y: Tensor) -> Tensor:
            array = place(y.detach().cpu()).numpy().astype(kind, copy=False)
            try:
                (image, *_) = session.run(None, {inputs[0].name: np.ascontiguousarray(array)})
            except Exception as error:
                got = f"{path}: {_first_line(error)}"
                raise BadInput("An ONNX file that onnxruntime can run", got, "Export it again") from None
            return take(torch.from_numpy(np.asarray(image))).to(y.device)

        return reconstruct

    beside = {entry: sha256(path.parent / entry) for entry in external}
    origin = {"kind": "ONNX", "file": str(path), "sha256": sha256(path), "external data": beside}
    return Model(name, build, origin)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _external(graph: Any, path: Path) -> list[str]:
    """The files beside the model that its numbers lie in, wherever in the model they are named: in initializers, sparse
    ones, attributes, branches and functions. They must lie in its folder: a path could name any file of this machine.
    """
    folder, found = path.resolve().parent, []
    for tensor in _tensors(graph):
        for entry in tensor.external_data:
            if entry.key != "location":
                continue
            target = (folder / entry.value).resolve()
            if Path(entry.value).is_absolute() or not target.is_relative_to(folder) or not target.is_file():
                do = "Put the data into the model's folder, or save the model in one file"
                raise BadInput("External data in the model's folder", f"{entry.value!r} in {path}", do)
            found.append(entry.value)
    return sorted(set(found))


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors of a protobuf message, at any depth."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if descriptor.is_repeated else [value]:
                yield from _tensors(inner)


def _layout(
    shape: Sequence[Any], sensing: LinearOperator, path: Path
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """How measurements are laid for an input of this shape, and how an image is taken out."""
    grid, image = tuple(sensing.out_shape), tuple(sensing.in_shape)
    wanted = [(*grid, 2), (1, *grid, 2), (2, *grid), (1, 2, *grid)]
    fits = [w for w in wanted if len(w) == len(shape) and all(_same(s, n) for s, n in zip(shape, w, strict=True))]
    if not fits:
        needed = f"An input of shape {' or '.join(map(str, wanted))}"
        raise BadInput(needed, f"{list(shape)} in {path}", "Audit it with measurements of its own shape")
    if len(fits) > 1:
        needed = "An input whose shape says where real and imaginary part lie"
        raise BadInput(needed, f"{list(shape)} in {path}", "Export it with fixed sizes")
    chosen = fits[0]
    last = chosen[-1] == 2 and chosen[-1 - len(grid) : -1] == grid

    def place(y: Tensor) -> Tensor:
        pairs = torch.view_as_real(y.resolve_conj())
        return (pairs if last else pairs.movedim(-1, 0)).reshape(chosen)

    return place, lambda out: taken(out, image)


def taken(out: Tensor, image: tuple[int, ...]) -> Tensor:
    """An image out of what a network in real numbers returns: itself, or pairs on the last or the first axis."""

    def is_one(shape: tuple[int, ...]) -> bool:
        """These axes, and before them only such of length one."""
        before = out.ndim - len(shape)
        return before >= 0 and tuple(out.shape) == (*(1,) * before, *shape)

    if is_one(image):
        return out.reshape(image)
    if is_one((*image, 2)) and not out.is_complex():
        return torch.view_as_complex(out.reshape(*image, 2).contiguous())
    if is_one((2, *image)) and not out.is_complex():
        return torch.view_as_complex(out.reshape(2, *image).movedim(0, -1).contiguous())
    do = "One image, real, or real and imaginary part on the last or the first axis"
    raise BadInput(f"An image of shape {image}", f"{tuple(out.shape)}", do)


def _same(stored: Any, wanted: int) -> bool:
    return not isinstance(stored, int) or stored == wanted


_READERS: dict[str, Callable[[Path, str, bool], Model]] = {
    ".onnx": _from_onnx,
    ".safetensors": _from_safetensors,
    ".pt": _from_torch,
    ".pth": _from_torch,
    ".pt2": _from_torch,
}


# --- deepinv ----------------------------------------------------------------------------------------------------------


def _is_deepinv(made: Any) -> bool:
    module = sys.modules.get("deepinv.models")
    return module is not None and isinstance(made, getattr(module, "Reconstructor", ()))


def deepinv_reconstruct(reconstructor: Any, sensing: LinearOperator, physics: Any = None) -> Reconstruct:
    """A deepinv ``Reconstructor`` as a function of our measurements.

    deepinv has centred k-space of a centred image, (1, 2, rows, columns), real and imaginary part on the second axis.

    Args:
        reconstructor: Called as ``reconstructor(y, physics)``.
        sensing: One channel.
        physics: deepinv's; None is ``deepinv.physics.MRI`` with the same mask.
    """
    if not isinstance(sensing, SubsampledFourier) or len(sensing.in_shape) != 2:
        raise BadInput(
            "Single-channel Fourier sensing of two axes for deepinv", type(sensing).__name__, "Take one coil"
        )
    if physics is None:
        deepinv = optional("deepinv", "deepinv", "A deepinv Reconstructor")
        mask = torch.fft.fftshift(sensing.mask).float()[None, None]
        physics = deepinv.physics.MRI(mask=mask, img_size=(1, 2, *sensing.in_shape))

    def reconstruct(y: Tensor) -> Tensor:
        k = torch.view_as_real(to_centre(sensing.restrict(y), 2)).movedim(-1, 0)[None]
        return taken(reconstructor(k, physics), tuple(sensing.in_shape))

    return reconstruct

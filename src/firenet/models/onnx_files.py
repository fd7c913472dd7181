"""Models from ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.model import Model, Reconstruct
from firenet.errors import BadInput
from firenet.io.archives import bytes_of
from firenet.io.files import sha256
from firenet.operators.linear import LinearOperator
from firenet.optional import optional


def from_onnx(path: Path, name: str) -> Model:
    """Returns the model of an ONNX file with one real input: the measurements, with real and imaginary part on an axis
    of length 2, the last one or the first one after the batch axis.

    Args:
        path: The file. External data (tensors stored in other files) must lie in its folder.
        name: The name in tables.

    Raises:
        BadInput: If the file cannot be read or run, or its input is of another kind; from the model's ``build``, if the
            input has another shape.
        MissingExtra: If onnx or onnxruntime is missing.
    """
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
        # The bytes that were checked are the bytes that run; only external data need the path. Without fallback: it
        # would print on stdout.
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
        do = "Export it for real numbers, with real and imaginary part on an axis of length 2"
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
    """Returns the names of the external files that hold tensors of the model.

    They are named in initializers, sparse initializers, attributes, branches and functions. The files must lie in the
    model's folder, since a path could name any file of this machine.
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
    """Yields all tensors of a protobuf message, at any depth."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if descriptor.is_repeated else [value]:
                yield from _tensors(inner)


def _layout(
    shape: Sequence[Any], sensing: LinearOperator, path: Path
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Returns a function that arranges measurements for an input of this shape, and one that extracts the image."""
    grid, image = tuple(sensing.out_shape), tuple(sensing.in_shape)
    wanted = [(*grid, 2), (1, *grid, 2), (2, *grid), (1, 2, *grid)]
    fixed = [(k, size) for k, size in enumerate(shape) if isinstance(size, int)]  # others are names of variable sizes
    fits = [w for w in wanted if len(w) == len(shape) and all(w[k] == size for k, size in fixed)]
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
    """Returns the image from a network's output: the output itself, or the complex image whose real and imaginary part
    lie on the last or the first axis of the output.

    Raises:
        BadInput: If there is no image of this shape.
    """

    def is_one(shape: tuple[int, ...]) -> bool:
        """Returns whether the output has this shape, apart from leading axes of length one."""
        before = out.ndim - len(shape)
        return before >= 0 and tuple(out.shape) == (*(1,) * before, *shape)

    if is_one(image):
        return out.reshape(image)
    if is_one((*image, 2)) and not out.is_complex():
        return torch.view_as_complex(out.reshape(*image, 2).contiguous())
    if is_one((2, *image)) and not out.is_complex():
        return torch.view_as_complex(out.reshape(2, *image).movedim(0, -1).contiguous())
    do = "Return one image, real or complex, or with real and imaginary part on the last or the first axis"
    raise BadInput(f"An image of shape {image}", f"{tuple(out.shape)}", do)

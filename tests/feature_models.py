"""The entries of `format_features` for files of models: what `firenet.load_model` takes."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from extras import onnx, safetensors
from firenet.models.load import load_model
from firenet.nets.training import save, shipped
from firenet.sensing.fourier import SubsampledFourier
from format_features import feature

SENSING = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
Y = torch.complex(torch.arange(64.0).view(8, 8), torch.ones(8, 8))


def refused(path: Path) -> Any:
    return functools.partial(load_model, str(path))


def graph(path: Path, shape: tuple[int, ...], kind: int, operator: str = "Identity", inputs: int = 1) -> Path:
    """An ONNX file of one operator."""
    given = [onnx.helper.make_tensor_value_info(f"in{k}", kind, shape) for k in range(inputs)]
    node = onnx.helper.make_node(operator, [value.name for value in given], ["out"])
    out = [onnx.helper.make_tensor_value_info("out", kind, shape)]
    made = onnx.helper.make_model(onnx.helper.make_graph([node], "g", given, out), ir_version=8)
    made.opset_import[0].version = 17
    path.write_bytes(made.SerializeToString())
    return path


@feature("ONNX", "float32, float64; real and imaginary part on the last or the first axis, a batch of one")
def _(f: Path) -> Any:
    shapes, kinds = (
        [(8, 8, 2), (1, 8, 8, 2), (2, 8, 8), (1, 2, 8, 8)],
        [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE],
    )
    files = [graph(f / f"{kind}{len(shape)}{shape[0]}.onnx", shape, kind) for shape in shapes for kind in kinds]
    return [load_model(str(path)).build(SENSING)(Y).numpy() for path in files], [Y.numpy()] * 8


@feature("ONNX", "complex numbers, integers, half precision as input", "refused")
def _(f: Path) -> Any:
    return refused(graph(f / "a.onnx", (8, 8, 2), onnx.TensorProto.INT64))


@feature("ONNX", "several inputs", "refused")
def _(f: Path) -> Any:
    return refused(graph(f / "a.onnx", (8, 8, 2), onnx.TensorProto.FLOAT, "Add", 2))


@feature("ONNX", "operators that onnxruntime does not have", "refused")
def _(f: Path) -> Any:
    return refused(graph(f / "a.onnx", (8, 8, 2), onnx.TensorProto.FLOAT, "Unheard"))


@feature("ONNX", "data in other files, unless they lie in its folder", "refused")
def _(f: Path) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../weights.bin")
    made = onnx.load(str(graph(f / "a.onnx", (8, 8, 2), onnx.TensorProto.FLOAT)))
    made.graph.initializer.append(tensor)
    (f / "a.onnx").write_bytes(made.SerializeToString())
    return refused(f / "a.onnx")


@feature("safetensors", "networks of `firenet train`")
def _(f: Path) -> Any:
    save(f / "a.safetensors", *shipped("unet"))
    saved, original = (load_model(name).build(SENSING) for name in (str(f / "a.safetensors"), "unet"))
    return saved(Y).numpy(), original(Y).numpy()


@feature("safetensors", "weights without their network", "refused")
def _(f: Path) -> Any:
    safetensors.save_file({"w": torch.ones(3)}, f / "a.safetensors")
    return refused(f / "a.safetensors")


@feature(".pt, .pth", "weights without their network", "refused")
def _(f: Path) -> Any:
    torch.save({"w": torch.ones(3)}, f / "a.pt")
    return refused(f / "a.pt")


@feature(".pt, .pth", "pickles", "refused")
def _(f: Path) -> Any:
    (f / "a.pt").write_bytes(pickle.dumps(np.ones(3), protocol=2))
    return refused(f / "a.pt")


@feature(".pt, .pt2", "TorchScript and exported programs, without `--trust-model`", "refused")
def _(f: Path) -> Any:
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(3),)), f / "a.pt2")
    return refused(f / "a.pt2")

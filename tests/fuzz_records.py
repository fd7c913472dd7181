"""Damaged models, weights, checkpoints, parts of audits, witnesses and records: targets of the fuzz campaign.

In the shape of `fuzz.TARGETS`: a name, the sound files to start from, and a reader. Checkpoints and parts carry a
digest, which refuses nearly every damage before anything is parsed; so they are read a second time with the digest put
right, as a forger would: what then comes out is a `BadInput` too, or values that agree with each other.

``python tests/fuzz.py --only checkpoint --count 2000`` runs one of them alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Seeds = Callable[[Path], list[Path]]
Reader = Callable[[Path], Any]
SIDE = 8


# --- sound files ------------------------------------------------------------------------------------------------------


def _recipes() -> list[Any]:
    from firenet.nets.training import Recipe

    unet = Recipe("unet", (SIDE,), steps=2, batch=2, images="ellipses")
    return [unet, Recipe("lista", (SIDE,), steps=2, batch=2, images="ellipses")]


def _weights(folder: Path) -> list[Path]:
    import torch

    from firenet.nets.training import save

    paths = []
    for recipe in _recipes():
        net = recipe.build(recipe.sensing(SIDE))
        for half in (False, True):
            paths.append(folder / f"{recipe.network}-{half}.safetensors")
            save(paths[-1], net.float(), recipe, half=half)
    tensors = {"a": torch.arange(30.0).reshape(5, 6), "b": torch.ones(2, dtype=torch.complex64), "n": torch.tensor(3)}
    paths.append(folder / "plain.pt")
    torch.save(tensors, paths[-1])
    paths.append(folder / "lightning.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, paths[-1])
    return paths


def _onnx(folder: Path) -> list[Path]:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE, 2])

    numbers = [float(k) for k in range(SIDE * SIDE)]
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [SIDE, SIDE, 1], numbers)
    nodes = [
        helper.make_node("Mul", ["y", "factor"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["positive"]),
        helper.make_node("ReduceSum", ["positive"], ["image"], keepdims=1),
        helper.make_node("Add", ["scaled", "image"], ["x"]),
    ]
    graph = helper.make_graph(nodes, "g", [value("y")], [value("x")], [factor])
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return [path]


def _checkpoints(folder: Path) -> list[Path]:
    from firenet.nets.training import train

    paths = []
    for recipe in _recipes():
        paths.append(folder / f"{recipe.network}.checkpoint")
        train(recipe, checkpoint=paths[-1])
    return paths


def _lista(folder: Path) -> list[Path]:
    path = folder / "lista.checkpoint"
    _train_lista(path)
    return [path]


def _train_lista(path: Path) -> None:
    import torch

    from firenet.nets.lista import train_lista

    generator = torch.Generator().manual_seed(0)
    matrix, x = torch.randn(4, 6, generator=generator).double(), torch.randn(12, 6, generator=generator).double()
    train_lista(matrix, x @ matrix.mT, x, rate=1e-3, epochs=1, batch=4, validation=4, checkpoint=path)


def _parts(folder: Path) -> list[Path]:
    from dataclasses import asdict

    import numpy as np

    from firenet.audit import Row
    from firenet.io import sealed

    numbers = {"psnr": 31.5, "by": ["gradient"], "each": [1.0, float("nan")], "ssim": None}
    paths = []
    for k, failed in enumerate((None, "no memory")):
        key = hashlib.sha256(bytes([k])).hexdigest()[:32]
        row = Row("m", "i", "accuracy", numbers, {"image": "m i accuracy image"}, failed, 0.5)
        paths.append(folder / f"{key}.part")
        sealed.write(paths[-1], "audit-part", key, {"image": np.ones((4, 4), np.float32)}, asdict(row))
    return paths


def _witnesses(folder: Path) -> list[Path]:
    from fractions import Fraction

    from firenet.barriers import Problem, defeat

    def algorithm(data: Any) -> Any:
        data.sample(3)
        return [Fraction(0)] * 4

    path = folder / "w.json"
    made = defeat(algorithm, Problem("P3", 2, Fraction(1, 2), 2, 2, 1), name="zero", reads=10, seconds=20)
    assert made.witness is not None
    path.write_text(json.dumps(made.witness), encoding="utf-8")
    return [path]


def _records(folder: Path) -> list[Path]:
    import numpy as np

    from firenet.io.files import write_image, write_json

    write_json(folder / "a.json", {"title": "x", "numbers": [1, 2.5, None]})
    write_image(folder / "a.png", np.eye(4), description="firenet: a picture")
    return [folder / "a.json", folder / "a.png"]


# --- readers ----------------------------------------------------------------------------------------------------------


def _sensing() -> Any:
    import torch

    from firenet import SubsampledFourier

    return SubsampledFourier(torch.ones(SIDE, SIDE, dtype=torch.bool))


def _read_weights(path: Path) -> None:
    from firenet.errors import BadInput
    from firenet.io.tensors import read_weights
    from firenet.models.load import load_model

    if path.suffix == ".safetensors":
        load_model(str(path)).build(_recipes()[0].sensing(SIDE))
        return
    try:
        load_model(str(path))
    except BadInput as error:
        if "holds weights and no network" not in str(error):
            raise
    read_weights(path)


def _read_onnx(path: Path) -> None:
    import torch

    from firenet.models.load import load_model

    load_model(str(path)).build(_sensing())(torch.ones(SIDE, SIDE, dtype=torch.complex64))


def resealed(path: Path) -> Path:
    """The file with its digest put right, and so with whatever it claims."""
    line, newline, rest = path.read_bytes().partition(b"\n")
    head = line.rpartition(b" ")[0] + b" "
    path.write_bytes(head + hashlib.sha256(head + rest).hexdigest().encode() + newline + rest)
    return path


def _read_checkpoint(path: Path) -> None:
    from firenet.nets.training import train

    recipe = next(r for r in _recipes() if r.network in path.name)
    train(recipe, checkpoint=path)


def _read_part(path: Path) -> None:
    import warnings

    from firenet.audit.parts import Parts
    from firenet.errors import BadInput, DoubtfulInput

    with warnings.catch_warnings(), Parts(path.parent, retry=False) as parts:
        warnings.simplefilter("error", DoubtfulInput)
        try:
            parts.done(path.stem)
        except DoubtfulInput as said:
            raise BadInput("A part", str(said), "It is measured again") from None


def _read_witness(path: Path) -> None:
    from firenet.barriers import witness
    from firenet.errors import BadInput

    try:
        witness.main(path)
    except (witness.Refuted, UnicodeDecodeError) as error:
        raise BadInput("A witness", str(error), "Play again") from None


def _read_record(path: Path) -> None:
    from firenet.io.files import check_beside

    check_beside(path)


TARGETS: dict[str, tuple[Seeds, Reader]] = {
    "weights": (_weights, _read_weights),
    "onnx": (_onnx, _read_onnx),
    "checkpoint": (_checkpoints, _read_checkpoint),
    "checkpoint forged": (_checkpoints, lambda path: _read_checkpoint(resealed(path))),
    "lista checkpoint": (_lista, _train_lista),
    "lista forged": (_lista, lambda path: _train_lista(resealed(path))),
    "part": (_parts, _read_part),
    "part forged": (_parts, lambda path: _read_part(resealed(path))),
    "witness": (_witnesses, _read_witness),
    "record": (_records, _read_record),
}

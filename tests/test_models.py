"""Models from elsewhere: what is opened gives the images it should, and nothing that can run code is opened unasked."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cases import small_mask
from draws import uniform
from firenet import Matrix, MultiCoilFourier, SubsampledFourier
from firenet.audit.model import fingerprint, of
from firenet.errors import BadInput
from firenet.io.tensors import read_weights
from firenet.models.deepinv import deepinv_reconstruct
from firenet.models.load import BUILT_IN, load_model
from firenet.models.onnx_files import taken
from firenet.models.process import Outside, _receive

SIDE = 16
SENSING = SubsampledFourier(small_mask(SIDE, 0.5))
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def y() -> Tensor:
    return SENSING(uniform(SIDE, SIDE, seed=0))


class Ramp(nn.Module):
    """Zero-filling and a learned factor, in real numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, y: Tensor) -> Tensor:
        return self.factor * torch.fft.ifft2(torch.view_as_complex(y), norm="ortho").real


class Cut(Ramp):
    """Half of the image."""

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y).narrow(-2, 0, SIDE // 2)


class Counting(Ramp):
    """As many times the image as it was called."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, y: Tensor) -> Tensor:
        return self.count.add_(1) * super().forward(y)


class Plain(nn.Module):
    """Real pairs in, a real image out, without an FFT."""

    def forward(self, y: Tensor) -> Tensor:
        return (y * y).sum(-1)


class Bomb:
    """What a hostile pickle is: code that runs while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def factory_module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)


FACTORY = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, sensing):
        super().__init__()
        self.sensing = [sensing]
        self.factor = nn.Parameter(torch.ones(1))
    def forward(self, y):
        return self.factor * self.sensing[0].adjoint(y).real
def factory(sensing):
    return Net(sensing)
def number(sensing):
    return 3
constant = 5
"""


# --- what is opened ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b for b in BUILT_IN if "automap" not in b and "lista" not in b])
def test_built_in_models_give_images(name: str, y: Tensor) -> None:
    model = load_model(name)
    image = model.build(SENSING)(y)
    assert image.shape == (SIDE, SIDE)
    assert torch.isfinite(image.abs()).all()
    assert model.fits


@pytest.mark.parametrize("name", ["automap", "lista"])
def test_networks_of_one_size_say_so(name: str) -> None:
    model = load_model(name)
    sensing = SubsampledFourier(small_mask(32, 0.25))
    assert model.build(sensing)(torch.zeros(32, 32, dtype=torch.complex64)).shape == (32, 32)
    assert not model.fits
    with pytest.raises(BadInput, match="Weights for images of"):
        model.build(SENSING)


def test_a_factory_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: Tensor) -> None:
    factory_module(tmp_path, monkeypatch, "made_here_1", FACTORY)
    image = load_model("made_here_1:factory").build(SENSING)(y)
    assert torch.equal(image, SENSING.adjoint(y).real)
    from safetensors.torch import save_file

    save_file({"factor": torch.tensor([3.0])}, tmp_path / "w.safetensors")
    torch.save({"factor": torch.tensor([3.0])}, tmp_path / "w.pt")
    torch.save({"state_dict": {"factor": torch.tensor([3.0])}, "epoch": 3}, tmp_path / "lightning.pt")
    for file in ("w.safetensors", "w.pt", "lightning.pt"):
        model = load_model("made_here_1:factory", weights=tmp_path / file)
        assert torch.equal(model.build(SENSING)(y), 3 * image)
        assert len(model.origin["sha256"]) == 64
    torch.save({"other": torch.tensor([3.0])}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="fit the module"):
        load_model("made_here_1:factory", weights=tmp_path / "w.pt").build(SENSING)
    with pytest.raises(BadInput, match="returns a function"):
        load_model("made_here_1:number").build(SENSING)
    factory_module(tmp_path, monkeypatch, "made_here_2", "1 / 0")
    for wrong in (
        "made_here_1:constant",
        "made_here_1:absent",
        "made_here_2:factory",
        "no_such_module:factory",
        ".made_here_1:factory",
    ):
        with pytest.raises(BadInput, match="factory"):
            load_model(wrong)
    with pytest.raises(BadInput, match="Leave --weights out for other models"):
        load_model("unet", weights=tmp_path / "w.pt")


def test_an_identity_is_that_of_the_weights() -> None:
    a, b = Ramp(), Ramp()
    assert fingerprint(a) == fingerprint(b)
    with torch.no_grad():
        b.factor.add_(1e-6)
    assert fingerprint(a) != fingerprint(b)
    assert of("a", a).origin["sha256"] == fingerprint(a)
    assert of("a", a).origin != of("a", a).origin  # a function does not show what it computes
    assert of("a", a, "v1").origin == of("a", a, "v1").origin
    assert not of("a", a).fits
    assert len(fingerprint(Ramp().bfloat16())) == 64
    assert fingerprint(Ramp().bfloat16()) != fingerprint(Ramp())


@pytest.mark.parametrize("shape", [(SIDE, SIDE, 2), (1, SIDE, SIDE, 2), (2, SIDE, SIDE), (1, 2, SIDE, SIDE)])
@quiet
def test_onnx_in_all_layouts(shape: tuple[int, ...], tmp_path: Path, y: Tensor) -> None:
    axis = shape.index(2)

    class Squares(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return (y * y).sum(axis)

    path = tmp_path / "net.onnx"
    torch.onnx.export(Squares(), (torch.zeros(shape),), str(path), dynamo=True, verbose=False)
    model = load_model(str(path))
    assert torch.allclose(model.build(SENSING)(y), y.abs().square(), atol=1e-5)
    assert model.origin["kind"] == "ONNX"
    other = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(BadInput, match="input of shape"):
        model.build(other)


def onnx_model(path: Path, location: str) -> None:
    """A sum with a constant whose numbers lie elsewhere."""
    import onnx
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE, 2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(SIDE * SIDE * 8)}.items():
        tensor.external_data.add(key=key, value=value)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIDE, SIDE, 2]) for n in ("y", "x")]
    graph = helper.make_graph([helper.make_node("Add", ["y", "w"], ["x"])], "g", value[:1], value[1:], [tensor])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    assert onnx.load(str(path), load_external_data=False)


def hidden_reference(kind: str, location: str) -> bytes:
    """A model that names outside data where it is easily overlooked."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in ("y", "x")]
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    nodes, functions, sparse = [helper.make_node("Identity", ["y"], ["x"])], [], []
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    if kind == "branch":
        inner = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
        nodes.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    elif kind == "function":
        functions = [helper.make_function("own", "f", [], ["w"], [constant], opset[:1])]
    elif kind == "sparse":
        indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
        sparse = [helper.make_sparse_tensor(tensor, indices, [4])]
    else:
        nodes.append(
            helper.make_node(
                "Constant",
                [],
                ["z"],
                sparse_value=helper.make_sparse_tensor(
                    tensor, helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3]), [4]
                ),
            )
        )
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], sparse_initializer=sparse)
    return helper.make_model(graph, functions=functions, opset_imports=opset).SerializeToString()


@pytest.mark.parametrize("kind", ["branch", "function", "sparse", "sparse attribute"])
def test_external_data_is_found_wherever_it_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever onnxruntime itself would refuse: it is not asked."""
    import onnxruntime

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"0" * 16)
    (tmp_path / "models" / "net.onnx").write_bytes(hidden_reference(kind, "../secret.bin"))
    with pytest.raises(BadInput, match="External data"):
        load_model(str(tmp_path / "models" / "net.onnx"))


def test_external_data_of_an_onnx_file_must_lie_beside_it(tmp_path: Path, y: Tensor) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    np.ones(SIDE * SIDE * 2, dtype=np.float32).tofile(secret)
    (folder / "link.bin").symlink_to(secret)
    for location in ("../secret.bin", str(secret), "link.bin"):
        onnx_model(folder / "net.onnx", location)
        with pytest.raises(BadInput, match="External data"):
            load_model(str(folder / "net.onnx"))
    np.ones(SIDE * SIDE * 2, dtype=np.float32).tofile(folder / "own.bin")
    onnx_model(folder / "net.onnx", "own.bin")
    image = load_model(str(folder / "net.onnx")).build(SENSING)(y)
    assert torch.allclose(image, y + (1 + 1j))
    before = load_model(str(folder / "net.onnx")).origin
    np.zeros(SIDE * SIDE * 2, dtype=np.float32).tofile(folder / "own.bin")
    assert load_model(str(folder / "net.onnx")).origin != before


@quiet
def test_compiled_files_only_if_trusted_and_then_with_a_gradient(tmp_path: Path, y: Tensor) -> None:
    pairs = torch.view_as_real(y)
    torch.jit.save(torch.jit.trace(Ramp(), (pairs,)), str(tmp_path / "net.pt"))
    torch.export.save(torch.export.export(Ramp(), (pairs,)), tmp_path / "net.pt2")
    for name in ("net.pt", "net.pt2"):
        with pytest.raises(BadInput, match="trust-model"):
            load_model(str(tmp_path / name))
        reconstruct = load_model(str(tmp_path / name), trust=True).build(SENSING)
        at = y.clone().requires_grad_()
        image = reconstruct(at)
        assert torch.allclose(image, 2 * SENSING.adjoint(y).real, atol=1e-6)
        (slope,) = torch.autograd.grad(image.square().sum(), at)
        (wanted,) = torch.autograd.grad((2 * torch.fft.ifft2(at, norm="ortho").real).square().sum(), at)
        assert torch.allclose(slope, wanted, atol=1e-5)
    for module, name in ((Counting(), "counting.pt"), (Cut(), "cut.pt")):
        torch.jit.save(torch.jit.trace(module, (pairs,), check_trace=False), str(tmp_path / name))
    counting = load_model(str(tmp_path / "counting.pt"), trust=True)
    assert torch.equal(counting.build(SENSING)(y), counting.build(SENSING)(y))  # no copy knows what another was asked
    with pytest.raises(BadInput, match=r"\(8, 16\) \(for pairs on the last axis\)") as caught:
        load_model(str(tmp_path / "cut.pt"), trust=True).build(SENSING)
    assert "(for complex)" in caught.value.got


@quiet
def test_only_the_file_is_trusted_and_not_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: Tensor
) -> None:
    torch.jit.save(torch.jit.trace(Ramp(), (torch.view_as_real(y),)), str(tmp_path / "net.pt"))
    (tmp_path / "json.py").write_text("import os; os.mkdir('exploded')")
    monkeypatch.chdir(tmp_path)
    assert load_model("net.pt", trust=True).build(SENSING)(y).shape == (SIDE, SIDE)
    assert not (tmp_path / "exploded").exists()


def test_a_process_that_dies_is_a_reason_and_not_a_crash(tmp_path: Path, y: Tensor) -> None:
    (tmp_path / "net.pt").write_bytes(b"no model at all")
    outside = Outside(tmp_path / "net.pt")
    with pytest.raises(BadInput, match="cannot be loaded"):
        outside(y)
    assert outside._process is not None
    outside._process.kill()
    outside._process.wait()
    process, outside._running = outside._process, lambda: process  # between the look and the question
    with pytest.raises(BadInput, match="its process ended with exit code -9"):
        outside(y)
    outside.close()
    talks = "print('Loading weights ...', flush=True); import time; time.sleep(60)"
    talkative = subprocess.Popen([sys.executable, "-c", talks], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    outside._process, outside._running = talkative, lambda: talkative
    with pytest.raises(BadInput, match="something else from its process") as caught:
        outside(y)
    assert "ended" not in caught.value.got
    assert talkative.poll() is not None


def test_a_message_with_a_pickle_is_refused(tmp_path: Path) -> None:
    """The other process runs somebody's model; what it sends must not become code here."""

    class Trap:
        def __reduce__(self) -> Any:
            return Path.mkdir, (tmp_path / "exploded",)

    packet = io.BytesIO()
    np.save(packet, np.array([Trap()], dtype=object), allow_pickle=True)
    head = json.dumps({"sizes": [len(packet.getvalue())]}).encode() + b"\n"
    with pytest.raises(ValueError, match="allow_pickle=False"):
        _receive(io.BytesIO(head + packet.getvalue()))
    assert not (tmp_path / "exploded").exists()
    for other in (b"[]\n", b'{"sizes": 3}\n'):
        with pytest.raises(ValueError, match="no head"):
            _receive(io.BytesIO(other))
    with pytest.raises(EOFError):
        _receive(io.BytesIO(b""))


# --- what is refused --------------------------------------------------------------------------------------------------


def hostile_files(folder: Path) -> dict[str, Path]:
    """Files that make a folder when they are unpickled; where it would lie."""
    bomb = Bomb(folder / "exploded")
    (folder / "raw.pt").write_bytes(pickle.dumps(bomb))
    torch.save({"weight": torch.ones(2), "x": bomb}, folder / "zip.pt")
    torch.save(bomb, folder / "bare.pth")
    torch.save({"weight": torch.ones(2), "x": bomb}, folder / "old.pth", _use_new_zipfile_serialization=False)
    return {p.name: p for p in folder.iterdir() if p.suffix in (".pt", ".pth")}


def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    factory_module(tmp_path, monkeypatch, "made_here_2", FACTORY)
    files = hostile_files(tmp_path)
    assert len(files) == 4
    for path in files.values():
        for trust in (False, True):
            with pytest.raises(BadInput, match="pickle"):
                load_model(str(path), trust=trust)
        with pytest.raises(BadInput, match="safetensors"):
            load_model("made_here_2:factory", weights=path)
        with pytest.raises(BadInput, match="pickle"):
            read_weights(path)
    assert not (tmp_path / "exploded").exists()
    # the bomb is a real one
    pickle.loads((tmp_path / "raw.pt").read_bytes())
    assert (tmp_path / "exploded").exists()


@quiet
def test_a_malicious_pt2_is_refused_and_not_run(tmp_path: Path) -> None:
    """A crafted .pt2: its sample inputs are a pickle that runs code."""
    good = tmp_path / "good.pt2"
    torch.export.save(torch.export.export(Plain(), (torch.zeros(SIDE, SIDE, 2),)), good)
    buffer = io.BytesIO()
    torch.save(((torch.zeros(1), Bomb(tmp_path / "exploded")), {}), buffer)
    hostile = tmp_path / "net.pt2"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(hostile, "w") as new:
        for entry in old.infolist():
            data = buffer.getvalue() if "sample_inputs" in entry.filename else old.read(entry)
            new.writestr(entry.filename, data)
    other = tmp_path / "net.pt"  # whatever it is called
    other.write_bytes(hostile.read_bytes())
    for path in (hostile, other):
        with pytest.raises(BadInput, match="trust-model"):
            load_model(str(path))
    assert not (tmp_path / "exploded").exists()
    # who trusts it runs it, in another process: that is what the option says
    model = load_model(str(hostile), trust=True)
    assert not (tmp_path / "exploded").exists()
    with suppress(BadInput):
        model.build(SENSING)
    assert (tmp_path / "exploded").exists()


@quiet
def test_other_files_are_refused_with_their_reason(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.safetensors", "a.pt2"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(BadInput):
            load_model(str(tmp_path / name))
        with pytest.raises(BadInput, match=r"absent"):
            load_model(str(tmp_path / f"absent-{name}"))
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(BadInput, match="no network"):
        load_model(str(tmp_path / "weights.pt"))
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(BadInput, match="firenet train"):
        load_model(str(tmp_path / "weights.safetensors"))
    save_file({"weight": torch.tensor([torch.nan])}, tmp_path / "nan.safetensors")
    with pytest.raises(BadInput, match="NaN"):
        read_weights(tmp_path / "nan.safetensors")
    with pytest.raises(BadInput, match="A model"):
        load_model("nothing")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(BadInput, match="state_dict"):
        read_weights(tmp_path / "list.pt")


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, SIDE, SIDE), (1, 1, SIDE, SIDE)])
def test_images_are_taken_out_of_batches(shape: tuple[int, ...]) -> None:
    image = torch.arange(SIDE * SIDE, dtype=torch.float32).view(SIDE, SIDE)
    assert torch.equal(taken(image.view(shape), (SIDE, SIDE)), image)
    complex_ = torch.complex(image, image)
    assert torch.equal(taken(complex_.view(shape), (SIDE, SIDE)), complex_)
    last = torch.view_as_real(complex_)
    assert torch.equal(taken(last.view(*shape, 2), (SIDE, SIDE)), complex_)
    first = last.movedim(-1, 0)
    assert torch.equal(taken(first.reshape(*shape[:-2], 2, SIDE, SIDE), (SIDE, SIDE)), complex_)
    for wrong in ((3, SIDE, SIDE), (SIDE // 2, 2 * SIDE), (SIDE * SIDE,), (2, 1, SIDE, SIDE)):
        with pytest.raises(BadInput, match="image of shape"):
            taken(torch.zeros(wrong), (SIDE, SIDE))


# --- deepinv ----------------------------------------------------------------------------------------------------------


def test_deepinv_layout(y: Tensor) -> None:
    """Centred k-space of the same image, two channels: its zero-filling is ours."""

    def reconstructor(k: Tensor, physics: Any) -> Tensor:
        assert physics == "physics"
        k = torch.view_as_complex(k[0].movedim(0, -1).contiguous())
        image = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k), norm="ortho"))
        return torch.view_as_real(image).movedim(-1, 0)[None]

    image = deepinv_reconstruct(reconstructor, SENSING, "physics")(y)
    assert torch.allclose(image, SENSING.adjoint(y), atol=1e-6)
    centred = SubsampledFourier(torch.fft.fftshift(SENSING.mask), centred=True)
    y = centred(uniform(SIDE, SIDE, seed=1))
    assert torch.allclose(deepinv_reconstruct(reconstructor, centred, "physics")(y), centred.adjoint(y), atol=1e-6)
    with pytest.raises(BadInput, match="deepinv"):
        deepinv_reconstruct(reconstructor, Matrix(torch.eye(3)))


@pytest.mark.parametrize("shape", [(8, 8), (6, 5), (4, 3, 5)])
@pytest.mark.parametrize("centred", [False, True])
def test_deepinv_layout_of_coils(shape: tuple[int, ...], centred: bool) -> None:
    """(1, 2, coils, *image), centred: with the maps as they are, its combined zero-filling is ours."""
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(3, *shape, dtype=torch.complex64, generator=random)
    sensing = MultiCoilFourier(torch.rand(shape, generator=random) < 0.5, maps, centred=centred)
    axes = tuple(range(-len(shape), 0))

    def reconstructor(k: Tensor, physics: Any) -> Tensor:
        assert k.shape == (1, 2, 3, *shape)
        k = torch.fft.ifftshift(torch.view_as_complex(k[0].movedim(0, -1).contiguous()), dim=axes)
        images = torch.fft.fftshift(torch.fft.ifftn(k, dim=axes, norm="ortho"), dim=axes)
        return torch.view_as_real((images * maps.conj()).sum(0)).movedim(-1, 0)[None]

    y = sensing(torch.randn(shape, dtype=torch.complex64, generator=random))
    assert torch.allclose(deepinv_reconstruct(reconstructor, sensing, "physics")(y), sensing.adjoint(y), atol=1e-5)


def test_a_deepinv_reconstructor_from_a_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import deepinv  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except (ImportError, RuntimeError) as error:  # torchvision of another build raises a RuntimeError
        pytest.skip(f"deepinv cannot be imported: {error}")
    text = """
import deepinv
class Adjoint(deepinv.models.Reconstructor):
    def forward(self, y, physics, **kwargs):
        return physics.A_adjoint(y)
def factory(sensing):
    return Adjoint()
"""
    factory_module(tmp_path, monkeypatch, "made_here_3", text)
    for sensing in (SENSING, SubsampledFourier(SENSING.mask, centred=True)):
        y = sensing(uniform(SIDE, SIDE, seed=1))
        image = load_model("made_here_3:factory").build(sensing)(y)
        assert torch.allclose(image, sensing.adjoint(y), atol=1e-5)

"""The command that plans: what it prints and writes, and that the numbers it writes are a network."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from commands import call, files
from firenet import SubsampledFourier, Wavelet
from firenet.cli.console import BAD_INPUT
from firenet.guarantees import Constants, Guarantee, plan
from firenet.images import load_slice
from firenet.sensing import multilevel
from firenet.sparsity import SparsityLevels, defect
from firenet.theorem import network

DOCUMENT = Path(__file__).parent.parent / "docs" / "plan.md"
MATRIX = np.random.default_rng(0).standard_normal((9, 16)) / 3
PROPERTY = ("--rho", "0.5", "--gamma", "1.5")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A matrix with a signal, and a mask, centred, with an image."""
    folder = tmp_path / "in"
    folder.mkdir()
    signal = np.zeros(16)
    signal[[2, 9]] = 0.5, -2
    arrays = {"matrix": MATRIX, "signal": signal + 1e-4}
    arrays |= {"image": load_slice()[::16, ::16].numpy(), "mask": multilevel((16, 16), 0.5, seed=1).centred().numpy()}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def image_plan(folder: Path, accuracy: float = 0.01, noise: float = 0.0):
    """The plan of mask and image, by the library."""
    image, frame = torch.from_numpy(np.load(folder / "image.npy")).double(), Wavelet((16, 16), "haar")
    levels = SparsityLevels.from_image(image, frame, approximation="merged")
    sensing = SubsampledFourier(np.fft.ifftshift(np.load(folder / "mask.npy")))
    signal = float(np.linalg.norm(frame(image)))
    sigma = defect(frame(image), frame.levels(), levels)
    g = Guarantee(sensing, Constants(levels), frame)
    return plan(g, accuracy=accuracy * signal, noise=noise, sparsity_defect=sigma, signal=signal)


def test_it_prints_the_plan_of_the_library(inputs: Path) -> None:
    options = ("--mask", inputs / "mask.npy", "--image", inputs / "image.npy", "--noise", 0.01)
    expected = image_plan(inputs, noise=0.01)
    run = call("plan", *options, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout) == json.loads(json.dumps(expected.record()))
    run = call("plan", *options, "--sampling", "1,2,1,0.05")
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0] == expected.summary
    assert all(f"* {text}" in lines for text in expected.assumptions)
    assert "not quoted from the paper" in run.stdout
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert table
    assert max(map(len, table)) <= 80
    boxes = json.loads(call("plan", *options, "--sampling", "1,2,1,0.05", "--json").stdout)["sampling"]
    assert sum(box["samples"] for box in boxes["boxes"]) == 128
    assert "local_coherences" in boxes["boxes"][0]


def test_masks_by_shape_walsh_and_levels_of_both_kinds(inputs: Path) -> None:
    image = ("--image", inputs / "image.npy", "--json")
    drawn = json.loads(call("plan", "--shape", "16,16", "--rate", 0.5, "--seed", 1, *image).stdout)
    stored = json.loads(call("plan", "--mask", inputs / "mask.npy", *image).stdout)
    assert drawn == stored
    walsh = json.loads(call("plan", "--shape", "16,16", "--transform", "walsh", *image).stdout)
    assert walsh["operator"]["sensing"] == "SubsampledWalsh"
    assert not walsh["operator"]["complex"]
    for sparsities, sizes in (("4,9,20,30", [4, 12, 48, 192]), ("1,3,9,20,30", [1, 3, 12, 48, 192])):
        run = call("plan", "--shape", "16,16", "--sparsities", sparsities, "--signal", 5, "--defect", 0.5, "--json")
        assert json.loads(run.stdout)["levels"]["sizes"] == sizes
    for shape, sparsities in (("16", "2,1,2,3"), ("4,4,4", "8,9")):
        for kind in ("fourier", "walsh"):
            options = ("--transform", kind, "--sampling", "1,0,1,0.5", "--sparsities", sparsities, "--signal", 5)
            record = json.loads(call("plan", "--shape", shape, *options, "--json").stdout)
            assert record["sampling"]["transform"] == kind
            assert math.prod(map(int, shape.split(","))) == record["operator"]["coefficients"]
    accuracy = [json.loads(call("plan", "--shape", "16,16", *image, "--accuracy", a).stdout) for a in ("2%", "0.07")]
    signal = accuracy[0]["bounds"]["signal"]
    assert [made["bounds"]["accuracy"] for made in accuracy] == [pytest.approx(0.02 * signal), 0.07]


def evaluated(numbers: dict[str, NDArray[np.float64]], A: NDArray[np.float64], y: NDArray[np.float64]):
    """The network of a file, in NumPy: nothing of the library is used."""
    x, p = np.zeros(A.shape[1]), int(numbers["layers_per_restart"])
    for tau, sigma in zip(numbers["tau"], numbers["sigma"], strict=True):
        q, total = np.zeros(len(y)), 0 * x
        for _ in range(p):
            last, z = x, x - tau * A.T @ q
            x = np.sign(z) * np.maximum(np.abs(z) - tau * numbers["lam"] * numbers["weights"], 0)
            q = q + sigma * (A @ (2 * x - last) - y)
            q /= max(1, float(np.linalg.norm(q)))
            total += x
        x = total / p
    return x


def test_what_it_builds_is_the_network(inputs: Path, tmp_path: Path) -> None:
    options = ("--sizes", "8,8", "--image", inputs / "signal.npy", "--share", "0.99", "--accuracy", "50%")
    out = tmp_path / "out"
    out.mkdir()
    run = call("plan", inputs / "matrix.npy", *options, *PROPERTY, "--build", out / "net.npz")
    assert run.exit_code == 0, run.output
    assert files(out) == ["net.json", "net.npz"]
    numbers = dict(np.load(out / "net.npz"))
    record = json.loads((out / "net.json").read_text())
    np.testing.assert_array_equal(numbers["matrix"], MATRIX)
    levels = SparsityLevels((8, 8), (1, 1))
    assert record["levels"]["sparsities"] == [1, 1]
    made = plan(
        Guarantee(MATRIX, Constants(levels, rho=0.5, gamma=1.5)),
        accuracy=record["bounds"]["accuracy"],
        noise=0.0,
        sparsity_defect=defect(np.load(inputs / "signal.npy"), [0] * 8 + [1] * 8, levels),
        signal=float(np.linalg.norm(np.load(inputs / "signal.npy"))),
    )
    assert record["error"]["bound"] == pytest.approx(made.bound)
    y = MATRIX @ np.load(inputs / "signal.npy")
    # Soft thresholds and projections are 1-Lipschitz, so rounding grows at most linearly with the layers.
    np.testing.assert_allclose(evaluated(numbers, numbers["matrix"], y), network(made)(y).numpy(), atol=1e-10)


def test_it_builds_the_network_of_a_mask(inputs: Path, tmp_path: Path) -> None:
    run = call("plan", "--mask", inputs / "mask.npy", "--image", inputs / "image.npy", "--build", tmp_path / "net.npz")
    assert run.exit_code == 0, run.output
    numbers = np.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(np.fft.fftshift(numbers["mask"]), np.load(inputs / "mask.npy"))
    made = image_plan(inputs)
    assert len(numbers["tau"]) == made.outer
    assert numbers["layers_per_restart"] == made.inner
    np.testing.assert_array_equal(numbers["weights"], made.guarantee.weights)
    record = json.loads((tmp_path / "net.json").read_text())
    assert (record["transform"], record["wavelet"]) == ("fourier", "haar")
    for theirs in ("mine.npz", "mine.json"):
        (tmp_path / theirs).write_text("mine")
    again = call("plan", "--shape", "8,8", "--sparsities", "4,3,3", "--signal", 1, "--build", tmp_path / "mine.npz")
    assert again.exit_code == BAD_INPUT  # what stands beside is not ours
    assert (tmp_path / "mine.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--shape"),
        (("MATRIX", "--shape", "8,8"), "--shape"),
        (("MATRIX", "--rate", "0.25"), "--rate"),
        (("--shape", "16,16", "--corner-dc"), "--corner-dc"),
        (("MATRIX", "--transform", "fourier", "--wavelet", "haar"), "--transform and --wavelet"),
        (("--mask", "MATRIX", "--seed", "0"), "--seed"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--share", "0.5"), "--share"),
        (("MATRIX", "--sparsities", "1", "--signal", "1"), "--rho and --gamma"),
        (("MATRIX", *PROPERTY, "--signal", "1"), "--sparsities"),
        (("MATRIX", *PROPERTY, "--sparsities", "1"), "--signal"),
        (("MATRIX", *PROPERTY, "--sparsities", "17", "--signal", "1"), "level 0"),
        (("MATRIX", *PROPERTY, "--sparsities", "1,1", "--sizes", "8,7", "--signal", "1"), "16 columns"),
        (("MATRIX", "--rho", "1", "--gamma", "1", "--sparsities", "1", "--signal", "1"), "rho < 1"),
        (("MATRIX", "--rho", "0.5", "--gamma", "-1", "--sparsities", "1", "--signal", "1"), "gamma > 0"),
        (("MATRIX", *PROPERTY, "--sparsities", "1", "--signal", "1", "--sampling", "1,1,1,1"), "mask"),
        (("--shape", "16,16", "--image", "MATRIX"), "(16, 16)"),
        (("--shape", "16,16", "--sparsities", "1,1", "--signal", "1"), "sparsity for each level"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--sizes", "256"), "--sizes"),
        (("--shape", "16,x", "--sparsities", "4,1,1,1", "--signal", "1"), "--shape"),
        (("--shape", "16,16", "--sparsities", "4,1.5,1,1", "--signal", "1"), "Whole numbers"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--accuracy", "much"), "--accuracy"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--accuracy", "0%"), "accuracy > 0"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--transform", "radon"), "fourier or walsh"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--sampling", "1,1"), "Four numbers"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--nu", "1"), "nu between"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--noise", "-1"), "bounds of norms"),
        (("--shape", "16,16", "--sparsities", "4,1,1,1", "--signal", "1", "--build", "net.pt"), ".npz"),
    ],
)
def test_bad_input_is_refused_in_three_lines(options: tuple[str, ...], word: str, inputs: Path) -> None:
    run = call("plan", *(inputs / "matrix.npy" if option == "MATRIX" else option for option in options))
    assert run.exit_code == BAD_INPUT, run.output
    said = run.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in said] == ["needed", "got", "do"]
    assert word in run.stderr
    assert run.stdout == ""


def test_the_page_shows_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the head slice's plan stands in docs/plan.md, and its numbers are those of the slice."""
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = text.replace("\\\n", " ").split("```console\n")[1:]
    printed = 0
    for block in shown:
        command, _, rest = block.partition("```")[0].removeprefix("$ firenet ").partition("\n")
        run = call(*command.split())
        assert run.exit_code == 0, run.output
        lines = {line.rstrip() for line in rest.splitlines()} - {"", "..."}
        assert lines <= {line.rstrip() for line in run.stdout.splitlines()}
        printed += len(lines)
    assert printed > 20
    frame, image = Wavelet((256, 256), "haar"), load_slice().double()
    levels = SparsityLevels.from_image(image, frame, approximation="merged")
    assert f"--sparsities {','.join(map(str, levels.sparsities))}" in text
    sigma = defect(frame(image), frame.levels(), levels)
    assert f"--defect {math.ceil(1e3 * sigma) / 1e3:.3f}" in text
    assert f"--signal {math.ceil(1e3 * float(image.norm())) / 1e3:.3f}" in text

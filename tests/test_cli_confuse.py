"""``firenet confuse``: what it prints, writes and draws, and input that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from commands import call, files
from firenet.cli.console import BAD_INPUT, NOT_REACHED
from firenet.guarantees import pair_checker
from firenet.images import load_slice
from firenet.sensing.masks import multilevel

FAST = ("--iterations", "40", "--starts", "1")
CLASS = ("--sparsities", "4,6,9", "--bound", "1", "--levels", "3")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    mask = multilevel((16, 16), 0.4, seed=1)
    arrays = {"mask": mask.centred().numpy(), "image": load_slice()[::16, ::16].numpy(), "empty": np.zeros((16, 16))}
    arrays |= {"full": np.ones((16, 16), dtype=bool), "maps": np.stack([np.ones((16, 16)), 1j * np.eye(16)])}
    arrays["matrix"] = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    return tmp_path


def test_a_pair_is_printed_written_and_drawn(folder: Path) -> None:
    options = ("confuse", "--mask", "mask.npy", "--image", "image.npy", *FAST)
    run = call(*options, "--noise", "2%", "-o", "pair.npz", "--picture", "pair.png")
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("No method can tell these two images apart from measurements with noise of 2-norm")
    assert "No upper bound is known" in run.stdout
    assert {"pair.npz", "pair.json", "pair.png"} <= set(files(folder))
    said = pair_checker.main("pair.json")
    with np.load("pair.npz") as stored:
        record = json.loads(str(stored["record"]))
        difference = float(np.linalg.norm(stored["first"] - stored["second"]))
        assert float(stored["distance"]) == record["distance"] == pytest.approx(difference, rel=1e-12)
    assert f"at least {pair_checker.under(record['lower_bound'])} on" in said
    assert record["noise"]["reached"]
    assert record["misfit"] <= 2 * record["noise"]["asked"]
    again = json.loads(call(*options, "--noise", str(record["noise"]["asked"]), "--json").stdout)
    assert again == {k: v for k, v in record.items() if k != "plan"}
    run = call("confuse", "--mask", "mask.npy", "--image", "image.npy", *FAST, "-o", "pair.json.npz")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize("more", [(), ("--sensing", "walsh", "--corner-dc"), ("--coils", "maps.npy"), ("--complex",)])
def test_operators_of_a_mask(folder: Path, more: tuple[str, ...]) -> None:
    run = call("confuse", "--mask", "mask.npy", *CLASS, "--noise", "0.01", *FAST, *more, "--json")
    assert run.exit_code == 0, run.output
    record = json.loads(run.stdout)
    assert record["lower_bound"] > 0.005 * 0.99  # of one entry already: no column of A is longer than 2
    assert record["noise"]["proved_for"] == 0.01


def test_a_matrix_with_an_upper_bound_and_one_that_is_refuted(folder: Path) -> None:
    options = ("confuse", "matrix.npy", "--sparsities", "1", "--bound", "1", "--noise", "0.1", *FAST)
    run = call(*options, "--rho", "0.5", "--gamma", "20")
    assert run.exit_code == 0, run.output
    assert "the network of `firenet plan` errs by at most" in run.stdout
    assert "vacuous" in run.stdout
    assert "refutes" not in run.stdout
    run = call(*options, "--rho", "0.5", "--gamma", "0.01")
    assert "The pair refutes this rho and gamma" in run.stdout


def test_noise_zero(folder: Path) -> None:
    # The first two columns are the same: the pair is exact.
    run = call("confuse", "matrix.npy", "--sparsities", "1", "--bound", "1", "--noise", "0", *FAST, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["misfit"] == 0
    run = call("confuse", "--mask", "mask.npy", *CLASS, "--noise", "0", *FAST)
    assert run.exit_code in (0, NOT_REACHED)
    assert (run.exit_code == NOT_REACHED) is ("that proves nothing" in run.stdout)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mask", "empty.npy", *CLASS, "--noise", "1"], "at least one sample"),
        (["--mask", "full.npy", *CLASS, "--noise", "0"], "samples everything"),
        (["--mask", "mask.npy", *CLASS, "--noise", "-1"], "not negative"),
        (["--mask", "mask.npy", *CLASS, "--noise", "x"], "--noise"),
        (["--mask", "mask.npy", *CLASS], "--image for --noise"),
        (["--mask", "mask.npy", "--sparsities", "4,6,9", "--levels", "3", "--noise", "1"], "--bound"),
        (["--mask", "mask.npy", "--sparsities", "4,6,9", "--levels", "3", "--noise", "1", "--bound", "0"], "above 0"),
        (["--mask", "mask.npy", "--sparsities", "99,6,9", "--levels", "3", "--noise", "1", "--bound", "1"], "size 16"),
        (["--mask", "mask.npy", "--levels", "3", "--noise", "1", "--bound", "1"], "--sparsities"),
        (["--mask", "mask.npy", *CLASS, "--noise", "1", "--rho", "0.5"], "Both --rho and --gamma"),
        (["--mask", "mask.npy", *CLASS, "--noise", "1", "--sensing", "ct"], "fourier or walsh"),
        (["matrix.npy", "--sparsities", "1", "--bound", "1", "--noise", "1", "--coils", "maps.npy"], "Fourier samples"),
        (["matrix.npy", "--sparsities", "1", "--bound", "1", "--noise", "1", "--levels", "1"], "--levels"),
        (["matrix.npy", "--sensing", "walsh", "--wavelet", "db2", "--noise", "1"], "--sensing and --wavelet"),
        (["--mask", "mask.npy", *CLASS, "--noise", "1", "--share", "0.5"], "--share"),
        (["--sparsities", "1", "--bound", "1", "--noise", "1"], "One of a matrix"),
        (["--mask", "mask.npy", *CLASS, "--noise", "1", "-o", "pair.txt"], ".npz"),
        (["--mask", "mask.npy", *CLASS, "--noise", "1", "--picture", "pair.jpg"], ".png"),
    ],
)
def test_bad_input_is_refused(folder: Path, options: list[str], said: str) -> None:
    run = call("confuse", *options, *FAST)
    assert run.exit_code == BAD_INPUT, run.output
    assert said in run.stderr
    assert "pair.txt" not in files(folder)

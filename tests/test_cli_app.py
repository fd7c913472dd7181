"""The commands beside recon, and what all of them share: help, exit codes, refusals in three lines."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call, files, shell
from extras import h5py
from firenet import SubsampledFourier
from firenet.cli import console
from firenet.cli.console import (
    BAD_INPUT,
    EXIT_CODES,
    INTERRUPTED,
    INVALID,
    NO_VERDICT,
    NOT_REACHED,
    NOTHING_MEASURED,
    UNDECIDED,
    table,
)
from firenet.io.files import write_image
from firenet.metrics import psnr
from firenet.mri.kspace import to_centre
from firenet.scans.demo import load_slice
from firenet.sensing import multilevel


def test_demo_through_the_shell(tmp_path):
    run = shell("demo", "--json", "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    record = json.loads(run.stdout)
    assert list(record) == ["slice", "raw", "tooth"]
    keys = [
        "sampling_rate",
        "psnr_zero_filled",
        "psnr",
        "objective",
        "gap",
        "relative_gap",
        "layers",
        "seconds",
        "status",
    ]
    for case in record.values():
        assert list(case) == keys
        assert 0 < case["gap"] < case["objective"]
        assert case["relative_gap"] == pytest.approx(case["gap"] / (case["objective"] - case["gap"]))
    assert record["slice"]["sampling_rate"] == 0.25
    assert record["slice"]["psnr"] >= record["slice"]["psnr_zero_filled"] + 3.5
    assert record["raw"]["sampling_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert record["raw"]["psnr"] > record["raw"]["psnr_zero_filled"]
    # 0.9 dB above the aim of 30.5 dB, so that another processor's rounding does not matter.
    assert record["tooth"]["psnr"] > 30.5 > record["tooth"]["psnr_zero_filled"]
    assert record["tooth"]["relative_gap"] <= 1e-3
    assert files(tmp_path) == ["demo.json", "demo.png", "raw.npy", "slice.npy", "tooth.npy"]
    image = np.load(tmp_path / "slice.npy")
    assert psnr(image, load_slice()) == pytest.approx(record["slice"]["psnr"], abs=1e-3)


def test_export_through_the_command(tmp_path):
    truth = load_slice()[::16, ::16].to(torch.complex64)
    mask = multilevel((16, 16), 0.6)
    np.save(tmp_path / "scan.npy", to_centre(SubsampledFourier(mask.samples)(truth), 2).numpy())
    run = call("export", tmp_path / "scan.npy", "-o", tmp_path / "net.onnx", "--tolerance", "0.3", "--json")
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert files(tmp_path) == ["net.json", "net.onnx", "scan.npy"]
    assert sum(step["layers"] for step in record["steps"]) == record["results"][0]["layers"]
    assert max(record["onnx"]["difference"].values()) <= 1e-5
    assert "not reached" not in run.stderr
    few = call("export", tmp_path / "scan.npy", "-o", tmp_path / "few.onnx", "--layers", "2", "--json")
    assert few.exit_code == NOT_REACHED
    loose = json.loads(few.stdout)["results"][0]
    assert loose["gap"] > 1e-2 * loose["lower_bound"]
    assert "the tolerance 0.01 was not reached" in few.stderr
    assert f"{tmp_path / 'few.onnx'} was written all the same" in few.stderr
    assert (tmp_path / "few.onnx").stat().st_size == json.loads(few.stdout)["onnx"]["bytes"]
    form = ("--sparsify", "undecimated:haar:1", "--layers", "2")
    bands = call("export", tmp_path / "scan.npy", "-o", tmp_path / "bands.onnx", *form, "--json")
    assert bands.exit_code in (0, NOT_REACHED), bands.stderr
    assert max(json.loads(bands.stdout)["onnx"]["difference"].values()) <= 1e-5
    wrong = call("export", tmp_path / "scan.npy", "-o", tmp_path / "net.pt")
    assert wrong.exit_code == BAD_INPUT
    assert ".onnx" in wrong.stderr


COMMANDS = ["demo", "recon", "certify", "export", "mask", "plan", "bench", "doctor", "train", "audit run", "audit demo"]
COMMANDS += ["norm", *(f"barriers {name}" for name in ("play", "check", "all", "map", "table1"))]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_text(command):
    """No emoji for :factory:, and nothing in brackets taken for markup."""
    run = call(*command.split(), "--help")
    assert run.exit_code == 0
    said = " ".join(run.stdout.split())
    assert said.isascii()
    if command in ("audit run", "barriers play"):
        assert ("module:factory" if command == "audit run" else "module:function") in said
    if command == "recon":
        assert "undecimated:WAVELET[:LEVELS]" in said


def test_exit_codes_are_told_in_one_place():
    run = call("--help")
    assert run.exit_code == 0
    listed = run.stdout.partition("Exit codes:")[2].splitlines()
    codes = {int(line.split()[0]) for line in listed if line[:9].split()[:1] and line.split()[0].isdigit()}
    own = {BAD_INPUT, NOT_REACHED, NOTHING_MEASURED, NO_VERDICT, INVALID, UNDECIDED, INTERRUPTED}
    assert codes == set(EXIT_CODES) == {0, 1, 129, 143} | own


def test_mask_command(tmp_path):
    run = call("mask", 64, 48, "--rate", 0.3, "--full", 3, "--seed", 4, "-o", tmp_path / "mask.npy")
    assert run.exit_code == 0, run.stderr
    assert files(tmp_path) == ["mask.json", "mask.npy", "mask.png"]
    mask = np.load(tmp_path / "mask.npy")
    assert mask.dtype == bool
    assert mask.sum() == round(0.3 * 64 * 48)
    assert np.array_equal(mask, multilevel((64, 48), 0.3, full=3, seed=4).centred().numpy())
    record = json.loads((tmp_path / "mask.json").read_text())
    assert sum(b["samples"] for b in record["bands"].values()) == mask.sum()
    assert record["recipe"]["seed"] == 4
    for options in (
        ["--transform", "walsh"],
        ["--sparsities", "4,12,48,50,100,100", "--vanishing-moments", "4"],
        ["--lines", "4"],
        ["--variable-density"],
        ["--variable-density", "--power", "3", "--transform", "walsh"],
    ):
        assert call("mask", 64, 64, *options, "-o", tmp_path / "other.npy").exit_code == 0
    assert call("mask", 16, 16, 16, "-o", tmp_path / "volume.npy").exit_code == 0
    assert np.load(tmp_path / "volume.npy").sum() == 1024


def test_doctor():
    record = json.loads(call("doctor", "--json").stdout)
    for library in ("torch", "numpy", "pywavelets"):  # what a module says of itself may be another version's
        assert record["versions"][library] == metadata.version(library)
    there = {found.name.lower(): found.version for found in metadata.distributions()}
    for library, entry in record["extras"].items():
        assert entry["version"] == there.get(library)
        assert entry["version"] or f"[{entry['extra']}]" in record["to_install"][entry["extra"]]
    assert call("doctor").exit_code == 0


def test_brackets_in_a_table_are_text(capsys):
    """They are markup to rich: the advice was to install firenet where firenet[mri] was meant."""
    table("[a]", ["[b]"], [["pip install 'firenet[mri]'"]])
    shown = capsys.readouterr().out
    assert "pip install 'firenet[mri]'" in shown
    assert "[a]" in shown
    assert "[b]" in shown


def bad(tmp_path: Path, kind: str) -> list[str | Path]:
    """The arguments of a call that must be refused."""
    good = np.ones((16, 16), dtype=np.complex64)
    path, out = tmp_path / "in" / "data.npy", tmp_path / "out" / "x.npy"
    for folder in (path.parent, out.parent):
        folder.mkdir()
    stored = {
        "nan": np.full((16, 16), np.nan, dtype=np.complex64),
        "packed": np.ones((16, 16, 2), dtype=np.float32),
        "empty": np.zeros((16, 16), dtype=np.complex64),
        "ambiguous": np.ones((3, 16, 16), dtype=np.complex64),
        "slice below": np.ones((3, 16, 16), dtype=np.complex64),
    }.get(kind, good)
    np.save(path, stored)
    np.save(path.with_name("mask.npy"), np.ones((8, 8), dtype=bool))
    np.save(path.with_name("zero.npy"), np.zeros((16, 16), dtype=bool))
    np.save(path.with_name("maps.npy"), np.ones((2, 8, 8), dtype=np.complex64))
    if kind == "zero maps":
        np.save(path, np.ones((2, 16, 16), dtype=np.complex64))
        np.save(path.with_name("zeros.npy"), np.zeros((2, 16, 16), dtype=np.complex64))
    base: list[str | Path] = ["recon", path, "-o", out]
    if kind == "pickled":
        np.savez(path.with_suffix(".npz"), kspace=np.array([{}], dtype=object))
        return ["recon", path.with_suffix(".npz"), "-o", out]
    if kind == "truncated":
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            file["kspace"] = np.ones((1, 16, 16), dtype=np.complex64)
        whole = path.with_suffix(".h5").read_bytes()
        path.with_suffix(".h5").write_bytes(whole[: len(whole) // 2])
        return ["recon", path.with_suffix(".h5"), "-o", out]
    extra: dict[str, list[str | Path]] = {
        "mask size": ["--mask", path.with_name("mask.npy")],
        "zero mask": ["--mask", path.with_name("zero.npy")],
        "maps size": ["--axes", "coil,y,x", "--maps", path.with_name("maps.npy")],
        "zero maps": ["--axes", "coil,y,x", "--maps", path.with_name("zeros.npy")],
        "k-space as mask": ["--mask", path.with_name("maps.npy")],
        "lam": ["--lam", "0"],
        "layers": ["--layers", "0"],
        "layers of rounds": ["--layers", "2", "--reweight", "2"],
        "tolerance of one": ["--tolerance", "1"],
        "tolerance nan": ["--tolerance", "nan"],
        "origin": ["--image-origin", "left"],
        "noise level of all": ["--noise-level", "100%"],
        "slice below": ["--axes", "slice,y,x", "--slice", "-1"],
        "wavelet": ["--wavelet", "bior4.4"],
        "sparsify": ["--sparsify", "undecimated:dmey"],
        "reweight": ["--reweight", "-1"],
        "both": ["--sparsify", "undecimated:db2", "--wavelet", "db2"],
        "tolerance": ["--tolerance", "-1"],
        "device": ["--device", "abacus"],
        "dtype": ["--dtype", "complex256"],
        "slice": ["--slice", "3"],
        "axes": ["--axes", "x,y,z"],
        "threads": ["--threads", "0"],
        "noise level": ["--noise-level", "-5%"],
        "noise level and lam": ["--noise-level", "5%", "--lam", "1e-3"],
    }
    if kind == "suffix":
        return ["recon", path, "-o", out.with_suffix(".jpg")]
    if kind == "folder":
        return ["recon", path, "-o", tmp_path / "out" / "nowhere" / "x.npy"]
    if kind == "overwrite pair":
        write_image(path.with_suffix(".cfl"), good)
        return ["recon", path.with_suffix(".hdr"), "-o", path.with_suffix(".cfl")]
    if kind == "overwrite":
        return ["recon", path, "-o", path]
    if kind == "missing":
        return ["recon", path.with_name("other.npy"), "-o", out]
    if kind == "walsh":
        return ["mask", "100", "100", "--transform", "walsh", "-o", out]
    if kind == "lines and boxes":
        return ["mask", "64", "64", "--lines", "4", "--full", "3", "-o", out]
    if kind == "variable and lines":
        return ["mask", "64", "64", "--lines", "4", "--variable-density", "-o", out]
    if kind == "lines and rate":
        return ["mask", "64", "64", "--lines", "4", "--rate", "0.25", "-o", out]
    if kind == "lines and moments":
        return ["mask", "64", "64", "--lines", "4", "--vanishing-moments", "1", "-o", out]
    if kind == "axis without lines":
        return ["mask", "64", "64", "--axis", "1", "-o", out]
    if kind == "moments without sparsities":
        return ["mask", "64", "64", "--vanishing-moments", "4", "-o", out]
    if kind == "sparsities and power":
        return ["mask", "64", "64", "--sparsities", "4,12", "--power", "3", "-o", out]
    if kind == "variable and bands":
        return ["mask", "64", "64", "--variable-density", "--full", "3", "-o", out]
    if kind == "rate":
        return ["mask", "64", "64", "--rate", "1.5", "-o", out]
    if kind == "certify layers":
        return ["certify", path, path, "--layers", "-1"]
    if kind in ("export layers", "export tolerance"):
        limit = ("--layers", "0") if kind == "export layers" else ("--tolerance", "1.5")
        return ["export", path, "-o", out.with_suffix(".onnx"), *limit]
    if kind == "certify shape":
        return ["certify", path, path.with_name("mask.npy")]
    return [*base, *extra.get(kind, [])]


@pytest.mark.parametrize(
    "kind",
    [
        "nan", "packed", "empty", "ambiguous", "pickled", "truncated", "mask size", "zero mask", "maps size", "lam",
        "layers", "wavelet", "sparsify", "reweight", "both", "tolerance", "device", "dtype", "slice",
        "axes", "threads", "suffix", "folder", "missing",
        "overwrite",
        "overwrite pair", "zero maps", "lines and boxes", "variable and lines", "variable and bands",
        "lines and rate", "lines and moments", "axis without lines", "moments without sparsities",
        "sparsities and power",
        "layers of rounds", "tolerance of one", "tolerance nan", "origin", "noise level of all", "slice below",
        "certify layers", "export layers", "export tolerance",
        "noise level", "noise level and lam", "k-space as mask", "walsh", "rate", "certify shape",
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_three_lines(tmp_path, kind):
    run = call(*bad(tmp_path, kind))
    assert run.exit_code == BAD_INPUT, run.output
    said = run.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in said] == ["needed", "got", "do"]
    assert run.stdout == ""
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("command", "ending"),
    [
        ("theorem depth", ".png"),
        ("theorem separation", ".png"),
        ("barriers map", ".png"),
        ("barriers budget", ".png"),
        ("barriers play -a exact", ".json"),
    ],
)
def test_an_output_is_refused_before_the_computation(tmp_path, monkeypatch, command, ending):
    def begins(*_, **__):
        raise AssertionError("the computation begins")

    monkeypatch.setattr(console, "busy", begins)
    monkeypatch.setattr(console, "progress", begins)
    for out, said in (("out.txt", f"An output file that ends in {ending}"), (f"none/out{ending}", "existing folder")):
        run = call(*command.split(), "-o", tmp_path / out)
        assert run.exit_code == BAD_INPUT, run.output
        assert said in run.stderr
    assert files(tmp_path) == []


def test_bad_input_through_the_shell_shows_no_traceback_unless_asked(tmp_path):
    run = call("recon", tmp_path / "none.npy", "-o", tmp_path / "x.npy")
    assert run.exit_code == BAD_INPUT
    assert "Traceback" not in run.stderr
    run = shell("--debug", "recon", tmp_path / "none.npy", "-o", tmp_path / "x.npy")
    assert run.returncode != 0
    assert "Traceback" in run.stderr

"""The command that reconstructs, with real files: results, records, exit codes."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import SHARED, call, files, shell
from extras import h5py, nibabel
from firenet import SubsampledFourier
from firenet.cli.console import BAD_INPUT, INTERRUPTED, NOT_REACHED
from firenet.io.files import write_image
from firenet.metrics import psnr
from firenet.mri.kspace import to_centre
from firenet.mri.scan import prepare_scan
from firenet.scans.demo import load_raw, load_slice
from firenet.sensing import multilevel


def test_recon_and_certify_through_the_shell(scan, tmp_path):
    outputs = ["-o", tmp_path / "image.npy", "-o", tmp_path / "image.png", "-o", tmp_path / "image.nii"]
    run = shell("recon", "--fixed", scan, *outputs, "--reweight", "0", "--tolerance", "1e-4", "--formula")
    assert run.returncode == 0, run.stderr
    said = r"sparse reconstruction, 40 % of k-space, within 0\.0\d+ % of optimal \(proven\), \d+ layers, "
    assert re.match(said, run.stdout)
    assert "W = undecimated:haar:1+sym4:3" in run.stdout
    assert files(tmp_path) == ["image.json", "image.nii", "image.npy", "image.png"]
    record = json.loads((tmp_path / "image.json").read_text())
    result = record["results"][0]
    assert record["lam"] == pytest.approx(1.45 / (14 * 64 * 64) ** 0.5)
    said, right = record["versions"]["torch"], torch.__version__
    assert said.partition("+")[0] == right.partition("+")[0]  # a build's name is not always a part of both
    assert len(record["sha256"]) == 64
    assert result["status"] == "tolerance reached"
    assert result["relative_gap"] <= 1e-4
    assert sum(run["layers"] for run in result["steps"]) == result["layers"]
    image = np.load(tmp_path / "image.npy")
    assert image.dtype == np.complex64
    assert psnr(image, load_slice()[::4, ::4]) > 25
    assert record["images"] == [str(outputs[k]) for k in (1, 3, 5)]
    run = call("certify", scan, tmp_path / "image.npy", "--json")
    assert run.exit_code == 0, run.stderr
    certified = json.loads(run.stdout)["results"][0]
    assert certified["objective"] == pytest.approx(result["objective"], rel=1e-4)
    assert certified["relative_gap"] <= 2e-4
    assert (result["kind"], certified["kind"]) == ("proven", "proven")


def test_a_verified_certificate_through_the_shell(scan, tmp_path):
    assert call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--reweight", "0", "--layers", "40").exit_code == 0
    run = call("certify", scan, tmp_path / "x.npy", "--layers", "20", "--verified", "--json")
    assert run.exit_code == 0, run.stderr
    (verified,) = json.loads(run.stdout)["results"]
    (plain,) = json.loads(call("certify", scan, tmp_path / "x.npy", "--layers", "20", "--json").stdout)["results"]
    assert (verified["kind"], verified["rounding"]) == ("verified", 0)
    assert abs(verified["objective"] - plain["objective"]) <= 10 * plain["rounding"]
    # The two dual points are from two iterations in single precision.
    assert verified["gap"] <= plain["gap"] + 20 * plain["rounding"] + 64 * 2**-24 * plain["objective"]
    run = call("certify", scan, tmp_path / "x.npy", "--layers", "5", "--verified")
    assert "(verified)" in run.stdout
    assert "gap (verified, every rounding is counted)" in run.stdout


def test_quiet_says_nothing_and_writes_all(scan, tmp_path):
    run = call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--layers", "30", "--quiet")
    assert (run.exit_code, run.stdout) == (0, "")
    assert files(tmp_path) == ["x.json", "x.npy"]
    run = call("certify", scan, tmp_path / "x.npy", "--layers", "30", "--quiet")
    assert (run.exit_code, run.stdout) == (0, "")


def test_reweighting_is_recorded_round_by_round(scan, tmp_path):
    run = call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--reweight", "2", "--layers", "60", "--json")
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    (result,) = record["results"]
    assert len(result["rounds"]) == 3
    assert result["rounds"][-1]["relative_gap"] == result["relative_gap"]
    assert sum(r["layers"] for r in result["rounds"]) == result["layers"]
    assert "2 x min |w W x|_1 subject to |A x - y|_2 <= the result's noise level" in record["problem"]
    assert result["noise_level"] > 0


def test_a_noise_level_is_kept(scan, tmp_path):
    y = np.load(scan)["kspace"]
    size = np.linalg.norm(y)
    for level, epsilon in (("5%", 0.05 * size), (f"{0.1 * size}", 0.1 * size)):
        run = call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--noise-level", level, "--json")
        assert run.exit_code == 0, run.stderr
        record = json.loads(run.stdout)
        (result,) = record["results"]
        assert result["noise_level"] == pytest.approx(epsilon, rel=1e-5)
        assert result["violation"] <= 1e-5 * size
        assert result["relative_gap"] <= 1e-3
        assert "subject to |A x - y|_2 <= noise level" in record["problem"]
        found = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(np.load(tmp_path / "x.npy")), norm="ortho"))
        assert np.linalg.norm((found - y)[y != 0]) == pytest.approx(epsilon, rel=1e-2)
    run = call("certify", scan, tmp_path / "x.npy", "--noise-level", level, "--json")
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["results"][0]["noise_level"] == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize("sparsify", ["tv", "tv:neumann", "undecimated:sym4:1+tv"])
def test_total_variation_through_the_command(scan, tmp_path, sparsify):
    run = call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--sparsify", sparsify, "--reweight", "0", "--json")
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["sparsify"] == {"tv": "tv:periodic"}.get(sparsify, sparsify)
    assert record["results"][0]["status"] == "tolerance reached"
    assert psnr(np.load(tmp_path / "x.npy"), load_slice()[::4, ::4]) > 25


def test_the_choice_is_recorded_and_drawn(scan, tmp_path):
    run = call("recon", scan, "-o", tmp_path / "x.npy", "-o", tmp_path / "x.png")
    assert run.exit_code == 0, run.stderr
    record = json.loads((tmp_path / "x.json").read_text())
    choice = record["choice"]
    tried = {json.dumps(c["setting"]): c["error"] for c in choice["candidates"]}
    assert tried[json.dumps(choice["best"])] <= min(tried.values()) / 0.99**2
    assert record["sparsify"] == choice["best"]["sparsify"]
    assert len(record["results"][0].get("rounds", [0])) == choice["best"]["rounds"] + 1
    assert f"chosen in {choice['seconds']:.1f} s by {choice['held_out']} samples held out" in run.stdout
    assert files(tmp_path) == ["x.choice.png", "x.json", "x.npy", "x.png"]
    assert (tmp_path / "x.choice.png").read_bytes().startswith(b"\x89PNG")
    # The picture is an output like the others: it does not write over an input.
    run = call("recon", scan, "-o", tmp_path / "x.png", "--mask", tmp_path / "x.choice.png")
    assert run.exit_code == 2
    assert "not an input" in run.stderr


def test_a_fixed_setting_is_the_default_of_the_library(scan, tmp_path):
    run = call("recon", scan, "-o", tmp_path / "x.npy", "-o", tmp_path / "x.png", "--fixed", "--json")
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert "choice" not in record
    assert record["sparsify"] == "undecimated:haar:1+sym4:3"
    assert files(tmp_path) == ["x.json", "x.npy", "x.png"]
    # So is one with fewer layers than a choice takes.
    for layers, chosen in (("99", False), ("100", True)):
        run = call("recon", scan, "-o", tmp_path / "y.npy", "--layers", layers, "--json", "--overwrite")
        assert ("choice" in json.loads(run.stdout)) == chosen


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ((), (250, 400)),
        (("--fixed",), (120, 200)),
        (("--fixed", "--reweight", "0"), (80, 140)),
        (("--wavelet", "db4"), (30, 60)),
    ],
)
def test_a_dry_run_says_the_memory_and_writes_nothing(scan, tmp_path, options, copies):
    run = call("recon", scan, "-o", tmp_path / "x.npy", "--dry-run", "--json", *options)
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    copy = 64 * 64 * 8
    assert copies[0] * copy < record["peak_bytes"] < copies[1] * copy
    assert record["images"][0]["shape"] == [64, 64]
    assert files(tmp_path) == []


@pytest.mark.parametrize("options", [(), ("--reweight", "0"), ("--reweight", "2")])
@pytest.mark.parametrize(("schedule", "used"), [("adaptive", 25), ("radial", 25), ("paper", 20), ("fixed", 25)])
def test_layers_are_all_there_are(scan, tmp_path, schedule, used, options):
    """A tolerance that 25 layers do not reach: so all are used, by all rounds together."""
    limits = ("--layers", "25", "--tolerance", "1e-9")
    run = call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--schedule", schedule, *limits, *options, "--json")
    assert run.exit_code == NOT_REACHED, run.stderr
    result = json.loads(run.stdout)["results"][0]
    rounds = result.get("rounds", [result])
    assert sum(r["layers"] for r in rounds) == result["layers"] <= 25
    assert result["layers"] == used
    assert 0 < result["gap"] <= result["objective"]  # the lower bound is never below zero
    if result["lower_bound"] > 0:
        assert result["relative_gap"] == pytest.approx(result["gap"] / result["lower_bound"], rel=1e-12)
    else:  # JSON has no infinity
        assert result["relative_gap"] is None
        assert "lower bound" in result["relative_gap_reason"]


def test_brain_with_eight_coils_through_the_shell(tmp_path):
    source = SHARED / "brain_8ch_poisson.npz"
    if not source.exists():
        pytest.skip(f"the raw brain scan is not at {source}; set FIRENET_DATA to its folder")
    run = shell("recon", "--fixed", source, "--maps", "auto", "-o", tmp_path / "brain.npy")
    assert run.returncode == 0, run.stderr
    assert "ESPIRiT" in run.stdout
    assert "pixels are undetermined" in run.stdout
    result = json.loads((tmp_path / "brain.json").read_text())["results"][0]
    assert result["relative_gap"] < 0.1
    image = np.abs(np.load(tmp_path / "brain.npy"))
    assert image.shape == (230, 180)
    head, background = image[60:170, 50:130], image[:, :8]
    assert np.median(head) > 10 * np.median(background)
    # Sharp: the zero-filled image of the same data, R = 8, has lost the edges.
    stored = np.load(source, allow_pickle=False)["kspace"]
    part = prepare_scan(stored, ("coil", "y", "x"), maps="auto").images[0]
    blurred = part.operator.adjoint(part.y).abs().numpy()
    blurred *= np.median(head) / np.median(blurred[60:170, 50:130])
    # The largest differences: those on the average are noise.
    edges, lost = (np.quantile(np.abs(np.diff(x, axis=0)), 0.99) for x in (head, blurred[60:170, 50:130]))
    assert edges > 1.5 * lost


def test_tolerance_decides_the_exit_code(scan, tmp_path):
    reached = call("recon", "--fixed", scan, "-o", tmp_path / "a.npy", "--tolerance", "0.5", "--json")
    assert reached.exit_code == 0, reached.stderr
    record = json.loads(reached.stdout)
    assert record["results"][0]["status"] == "tolerance reached"
    assert record["results"][0]["layers"] < 300
    missed = call("recon", "--fixed", scan, "-o", tmp_path / "b.npy", "--tolerance", "1e-6", "--layers", "20")
    assert missed.exit_code == NOT_REACHED
    assert "not reached" in missed.stderr
    assert (tmp_path / "b.npy").exists()


def test_interrupt_in_the_shell_leaves_nothing(scan, tmp_path):
    command = [
        sys.executable,
        "-m",
        "firenet.cli",
        "recon",
        str(scan),
        "-o",
        str(tmp_path / "x.npy"),
        "--schedule",
        "paper",
        "--layers",
        "10000000",
    ]
    # a suite that runs in the background ignores the signal, and its children would inherit that
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listens) as process:
        time.sleep(3)  # interrupted while it imports or while it computes: both must end the same way
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == INTERRUPTED
    assert "interrupted" in said
    assert files(tmp_path) == []


def test_interrupt_while_writing_leaves_nothing(scan, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("firenet.io.files.os.replace", interrupted)
    assert call("recon", "--fixed", scan, "-o", tmp_path / "x.npy", "--layers", "10").exit_code == INTERRUPTED
    assert files(tmp_path) == []


def test_slices_of_a_fastmri_file_are_a_batch(tmp_path):
    truth = torch.stack([load_slice()[::4, ::4], load_slice()[1::4, 1::4]]).to(torch.complex64)
    mask = multilevel((64, 64), 0.5)
    y = to_centre(SubsampledFourier(mask.samples)(truth), 2)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = y.numpy()
    assert call("recon", "--fixed", tmp_path / "scan.h5", "-o", tmp_path / "all.npy", "--layers", "50").exit_code == 0
    assert (
        call(
            "recon", "--fixed", tmp_path / "scan.h5", "-o", tmp_path / "one.npy", "--layers", "50", "--slice", "1"
        ).exit_code
        == 0
    )
    both, one = np.load(tmp_path / "all.npy"), np.load(tmp_path / "one.npy")
    assert both.shape == (2, 64, 64)
    np.testing.assert_allclose(both[1], one, rtol=0, atol=1e-6)
    assert len(json.loads((tmp_path / "all.json").read_text())["results"]) == 2
    certified = call("certify", tmp_path / "scan.h5", tmp_path / "all.npy", "--layers", "50", "--json")
    assert len(json.loads(certified.stdout)["results"]) == 2


def test_corner_dc_gives_the_same_image_and_the_wrong_choice_a_warning(scan, tmp_path):
    with np.load(scan) as stored:
        k = stored["kspace"]
    # the same k-space of the same centred image, as numpy's fft2 leaves it
    signs = np.where(np.add.outer(np.arange(64), np.arange(64)) % 2 == 0, 1, -1)
    np.save(tmp_path / "corner.npy", (np.fft.ifftshift(k) * signs).astype(np.complex64))
    first = call("recon", "--fixed", scan, "-o", tmp_path / "a.npy", "--layers", "30")
    second = call(
        "recon", "--fixed", tmp_path / "corner.npy", "--corner-dc", "-o", tmp_path / "b.npy", "--layers", "30"
    )
    assert first.exit_code == second.exit_code == 0
    assert "warning" not in first.stderr + second.stderr
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), rtol=0, atol=1e-6)
    wrong = call("recon", "--fixed", scan, "--corner-dc", "-o", tmp_path / "c.npy", "--layers", "10")
    assert "leave out --corner-dc" in wrong.stderr
    wrong = call("recon", "--fixed", tmp_path / "corner.npy", "-o", tmp_path / "c.npy", "--layers", "10")
    assert "add --corner-dc" in wrong.stderr


@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".cfl"])
def test_output_formats(scan, tmp_path, suffix):
    out = tmp_path / f"image{suffix}"
    assert call("recon", "--fixed", scan, "-o", out, "--layers", "20").exit_code == 0
    assert out.exists()
    assert (tmp_path / "image.json").exists()
    if suffix == ".nii.gz":
        assert nibabel.load(out).shape == (64, 64)


def test_double_precision_lam_wavelet_and_threads(scan, tmp_path):
    before = torch.get_num_threads()
    run = call(
        *(
            "recon",
            "--fixed",
            scan,
            "-o",
            tmp_path / "x.npy",
            "--dtype",
            "complex128",
            "--lam",
            "0.01",
            "--wavelet",
            "sym5",
        ),
        *("--layers", "20", "--threads", "1", "--json"),
    )
    torch.set_num_threads(before)
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert (record["dtype"], record["lam"], record["threads"]) == ("complex128", 0.01, 1)
    assert record["sparsify"].startswith("orthonormal:sym5:")
    assert np.load(tmp_path / "x.npy").dtype == np.complex128


def test_raw_scan_with_oversampling_noise_and_mask(tmp_path):
    """The raw phantom as it came from the scanner: readout lines, two coils, oversampled."""
    import firenet

    data = Path(firenet.__file__).parent / "data" / "twix_gre_phantom_2ch.npz"
    lines = np.zeros((160, 320), dtype=bool)
    lines[::2] = lines[64:96] = True
    np.save(tmp_path / "mask.npy", lines)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "noise.npy", rng.normal(size=(2, 500)) + 1j * rng.normal(size=(2, 500)))
    run = call(
        *("recon", "--fixed", data, "--mask", tmp_path / "mask.npy", "--maps", "auto", "--remove-oversampling"),
        *("--noise", tmp_path / "noise.npy", "-o", tmp_path / "x.npy", "--layers", "100"),
    )
    assert run.exit_code == 0, run.stderr
    image = np.load(tmp_path / "x.npy")
    assert image.shape == (160, 160)
    full = torch.fft.ifft2(torch.fft.ifftshift(load_raw(), dim=(-2, -1)), norm="ortho")
    reference = torch.fft.fftshift(full, dim=(-2, -1)).abs().square().sum(dim=0).sqrt().numpy()
    inside = reference > 0.3 * reference.max()
    assert np.corrcoef(np.abs(image)[inside], reference[inside])[0, 1] > 0.7


def test_readout_of_a_fastmri_file_is_its_first_image_axis(tmp_path):
    image = torch.zeros(1, 64, 32, dtype=torch.complex64)
    image[:, 16:48] = load_slice()[::8, ::8].to(torch.complex64)
    full = torch.ones(64, 32, dtype=torch.bool)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = to_centre(SubsampledFourier(full)(image), 2).numpy()
    run = call(
        "recon", "--fixed", tmp_path / "scan.h5", "--remove-oversampling", "-o", tmp_path / "x.npy", "--layers", "300"
    )
    assert run.exit_code == 0, run.stderr
    assert psnr(np.load(tmp_path / "x.npy").reshape(32, 32), load_slice()[::8, ::8]) > 30


def test_noise_whitens_given_maps_too(scan, tmp_path):
    """Noise-free data of two coils: whatever the noise file says, the image is the same."""
    with np.load(scan) as stored:
        k = stored["kspace"]
    np.save(tmp_path / "coils.npy", np.stack([k, 2j * k]))
    np.save(tmp_path / "maps.npy", np.stack([np.ones((64, 64)), 2j * np.ones((64, 64))]).astype(np.complex64))
    rng = np.random.default_rng(0)
    mixed = np.array([[1.0, 0.8], [0.0, 0.6]]) @ rng.normal(size=(2, 1000))
    np.save(tmp_path / "noise.npy", mixed.astype(np.complex64))
    run = call(
        *(
            "recon",
            "--fixed",
            tmp_path / "coils.npy",
            "--maps",
            tmp_path / "maps.npy",
            "--noise",
            tmp_path / "noise.npy",
        ),
        *("-o", tmp_path / "x.npy", "--layers", "200"),
    )
    assert run.exit_code == 0, run.stderr
    assert psnr(np.load(tmp_path / "x.npy"), load_slice()[::4, ::4]) > 25


def test_units_of_the_data_do_not_matter(scan, tmp_path):
    with np.load(scan) as stored:
        k = stored["kspace"]
    # A power of two changes no rounding, and so no decision of the adaptive restarts either.
    for unit, schedule, rounding in ((2.0**-40, "adaptive", 1e-9), (1e-12, "paper", 1e-2), (1e-12, "fixed", 1e-2)):
        gaps = []
        for factor in (1.0, unit):
            np.save(tmp_path / "data.npy", (factor * k).astype(np.complex64))
            arguments = ("-o", tmp_path / "x.npy", "--layers", "100", "--schedule", schedule, "--json")
            run = call("recon", "--fixed", tmp_path / "data.npy", *arguments)
            gaps.append(json.loads(run.stdout)["results"][0]["relative_gap"])
        assert gaps[1] == pytest.approx(gaps[0], rel=rounding)


def test_every_slice_keeps_its_own_mask(tmp_path):
    rng = np.random.default_rng(0)
    k = rng.normal(size=(2, 32, 64)) + 1j * rng.normal(size=(2, 32, 64))
    k[0, 1::2] = 0
    k[1, ::2] = 0
    np.save(tmp_path / "two.npy", k.astype(np.complex64))
    run = call(
        *(
            "recon",
            "--fixed",
            tmp_path / "two.npy",
            "--axes",
            "slice,y,x",
            "--remove-oversampling",
            "-o",
            tmp_path / "x.npy",
        ),
        *("--layers", "10", "--json"),
    )
    rates = [r["sampling_rate"] for r in json.loads(run.stdout)["results"]]
    assert rates == pytest.approx([0.5, 0.5], rel=4 * float(np.finfo(np.float32).eps))  # a mean in single precision


def test_maps_from_a_file(scan, tmp_path):
    with np.load(scan) as stored:
        k = stored["kspace"]
    np.save(tmp_path / "coils.npy", np.stack([k, 2 * k]))
    np.save(tmp_path / "maps.npy", np.stack([np.ones((64, 64)), 2 * np.ones((64, 64))]).astype(np.complex64))
    run = call(
        "recon",
        "--fixed",
        tmp_path / "coils.npy",
        "--maps",
        tmp_path / "maps.npy",
        "-o",
        tmp_path / "x.npy",
        "--layers",
        "100",
    )
    assert run.exit_code == 0, run.stderr
    assert psnr(np.load(tmp_path / "x.npy"), load_slice()[::4, ::4]) > 25


def test_designed_mask_is_used_by_recon(scan, tmp_path):
    assert call("mask", 64, 64, "--rate", 0.3, "-o", tmp_path / "mask.npy").exit_code == 0
    run = call(
        "recon", "--fixed", scan, "--mask", tmp_path / "mask.npy", "-o", tmp_path / "x.npy", "--layers", "10", "--json"
    )
    assert json.loads(run.stdout)["results"][0]["sampling_rate"] == pytest.approx(0.3, abs=1e-3)


def test_a_complex_mask_of_a_cfl_file(scan, tmp_path):
    """As `bart pattern` and `bart poisson` write them."""
    with np.load(scan) as stored:
        mask = stored["kspace"] != 0
    write_image(tmp_path / "mask.cfl", mask.astype(np.complex64))
    run = call(
        "recon", "--fixed", scan, "--mask", tmp_path / "mask.cfl", "-o", tmp_path / "x.npy", "--layers", "5", "--json"
    )
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["results"][0]["sampling_rate"] == pytest.approx(mask.mean())
    assert (record["doubts"], record["warnings"]) == ([], [])
    write_image(tmp_path / "turned.cfl", np.fft.ifftshift(mask).astype(np.complex64))
    run = call("recon", "--fixed", scan, "--mask", tmp_path / "turned.cfl", "-o", tmp_path / "x.npy", "--layers", "5")
    assert run.exit_code == BAD_INPUT
    assert "shifted by half its sides" in run.stderr


def test_maps_that_do_not_explain_the_data_end_with_exit_code_3(tmp_path):
    """The image is written, with the reason; maps that explain next to nothing are an error."""
    k = load_raw()[:, 32:128, 32:128]
    (image,) = prepare_scan(k.numpy(), ("coil", "y", "x"), maps="auto").images
    assert image.maps is not None
    np.save(tmp_path / "k.npy", k.numpy())
    np.save(tmp_path / "maps.npy", image.maps.numpy())
    np.save(tmp_path / "swapped.npy", image.maps.flip(0).numpy())
    wrong = image.maps.numpy().copy()
    wrong[:, :, :70] = 0
    np.save(tmp_path / "wrong.npy", wrong)
    options = ["-o", tmp_path / "x.npy", "--layers", "20", "--reweight", "0", "--json"]
    run = call("recon", "--fixed", tmp_path / "k.npy", "--maps", tmp_path / "maps.npy", *options)
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["doubts"] == []
    assert json.loads(run.stdout)["results"][0]["unexplained"] == pytest.approx(image.unexplained, abs=1e-4)
    swapped = ["--maps", tmp_path / "swapped.npy"]
    run = call("recon", "--fixed", tmp_path / "k.npy", *swapped, *options)
    assert run.exit_code == NOT_REACHED
    assert np.load(tmp_path / "x.npy").shape == (96, 96)
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["doubts"][0] in record["warnings"]
    assert "not explained by any image" in run.stderr
    run = call("certify", tmp_path / "k.npy", tmp_path / "x.npy", *swapped, "--layers", "5")
    assert run.exit_code == NOT_REACHED
    run = call("recon", "--fixed", tmp_path / "k.npy", "--maps", tmp_path / "wrong.npy", *options)
    assert run.exit_code == BAD_INPUT
    assert "Coil maps that explain the data" in run.stderr


@pytest.mark.parametrize(("options", "said"), [
    (["--noise-level", "0.001%", "--layers", "10"], "does not fit the data"),
    (["--layers", "2", "--reweight", "0"], "not proved to be close to optimal"),
])  # fmt: skip
def test_the_first_line_claims_no_more_than_is_proved(scan, tmp_path, options, said):
    """A gap of more than the whole objective is no "within ... of optimal", and what does not fit is said not to."""
    maps = np.stack([np.full((64, 64), c, np.complex64) for c in (1.0, 0.5j)])
    with np.load(scan) as stored:
        k = np.stack([stored["kspace"], 0.5j * stored["kspace"] + 0.02 * stored["kspace"][::-1]])
    np.savez(tmp_path / "coils.npz", kspace=k.astype(np.complex64))
    np.save(tmp_path / "maps.npy", maps)
    run = call(
        "recon", "--fixed", tmp_path / "coils.npz", "--maps", tmp_path / "maps.npy", "-o", tmp_path / "x.npy", *options
    )
    first = run.stdout.splitlines()[0]
    assert said in first
    assert "within" not in first

"""Scans through the command: slices that keep their number, origins, axes, noise levels, voxels, empty slices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commands import call
from extras import h5py, ismrmrd, nibabel
from firenet import BadInput, SubsampledFourier
from firenet.cli.console import BAD_INPUT, NOT_REACHED
from firenet.mri import reconstruct_kspace
from firenet.mri.kspace import coil_axis_is_elsewhere, is_split, to_centre, to_usual_origin
from firenet.mri.noise_level import noise_estimate
from firenet.mri.scan import prepare, prepare_scan
from firenet.scans.demo import load_raw, load_slice
from firenet.sensing import multilevel

SIDE = 64
AXES = (-2, -1)


def fft2(image: np.ndarray) -> np.ndarray:
    return np.fft.fft2(image, norm="ortho", axes=AXES).astype(np.complex64)


def shift(x: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(x, axes=AXES)


def unshift(x: np.ndarray) -> np.ndarray:
    return np.fft.ifftshift(x, axes=AXES)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return load_slice()[::4, ::4].numpy()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, head: np.ndarray) -> Path:
    """Three slices in a file as fastMRI has it: once, twice, three times the head."""
    kept = multilevel((SIDE, SIDE), 0.5).centred().numpy()
    path = tmp_path_factory.mktemp("stack") / "head.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.stack([n * shift(fft2(unshift(head))) * kept for n in (1, 2, 3)]).astype(np.complex64)
    return path


# --- numbers of slices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "numbers"), [(("--slice", "1"), [1]), (("--slice", "2"), [2]), ((), [0, 1, 2])])
def test_slices_keep_their_number(stack: Path, tmp_path: Path, options: tuple[str, ...], numbers: list[int]) -> None:
    quick = ("--layers", "10", *options)
    run = call("recon", "--fixed", stack, "-o", tmp_path / "x.npy", *quick, "--json")
    assert run.exit_code == 0, run.stderr
    record = json.loads(run.stdout)
    assert json.loads((tmp_path / "x.json").read_text())["slices"] == record["slices"] == numbers
    assert [r["slice"] for r in record["results"]] == numbers
    assert (record["data"], record["array"]) == (str(stack), f"{stack} [kspace]")
    shown = call("recon", "--fixed", stack, "-o", tmp_path / "x.png", *quick)
    rows = [line.split("│")[1].strip() for line in shown.stdout.splitlines() if line.startswith("│")]
    assert rows == [str(n) for n in numbers]
    dry = json.loads(call("recon", "--fixed", stack, "-o", tmp_path / "x.png", *options, "--dry-run", "--json").stdout)
    assert [image["slice"] for image in dry["images"]] == numbers
    checked = json.loads(call("certify", stack, tmp_path / "x.npy", "--json", *quick).stdout)
    assert [r["slice"] for r in checked["results"]] == checked["slices"] == numbers


def test_what_has_no_slices_has_no_number(head: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", shift(fft2(unshift(head))))
    run = call("recon", "--fixed", tmp_path / "k.npy", "-o", tmp_path / "x.npy", "--layers", "10", "--json")
    record = json.loads(run.stdout)
    assert record["slices"] == [record["results"][0]["slice"]] == [None]


def descrip(path: Path) -> bytes:
    found: Any = nibabel.load(path)
    return bytes(found.header["descrip"]).rstrip(b"\0")


def test_a_saved_slice_says_where_it_comes_from(stack: Path, tmp_path: Path) -> None:
    quick = ("--slice", "2", "--layers", "10")
    for suffix in (".png", ".nii", ".cfl"):
        assert call("recon", "--fixed", stack, "-o", tmp_path / f"x{suffix}", *quick).exit_code == 0
    said = "firenet: head.h5 [kspace] slice 2"
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.info["Description"] == said
    assert descrip(tmp_path / "x.nii").decode() == said
    assert (tmp_path / "x.hdr").read_text().splitlines()[2:] == ["# Description", said]
    assert call("certify", stack, tmp_path / "x.cfl", *quick[:2], "--layers", "5").exit_code == 0
    assert call("recon", "--fixed", stack, "-o", tmp_path / "all.png", "--layers", "10").exit_code == 0
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.info["Description"] == "firenet: head.h5 [kspace] slices 0-2"


def test_a_long_name_is_cut_in_the_middle(tmp_path: Path, head: np.ndarray) -> None:
    path = tmp_path / f"{'long' * 30}ä.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.stack([shift(fft2(unshift(head)))] * 2)
    assert call("recon", "--fixed", path, "-o", tmp_path / "x.nii", "--slice", "1", "--layers", "5").exit_code == 0
    said = descrip(tmp_path / "x.nii")
    assert said.startswith(b"firenet: longlong")
    assert said.endswith(b"[kspace] slice 1")


# --- where zero frequency and the image's origin are ------------------------------------------------------------------

CONVENTIONS = {
    "centred": (lambda x: shift(fft2(unshift(x))), (), True, None),
    "plain, shifted": (lambda x: shift(fft2(x)), ("--image-origin", "corner"), True, "corner"),
    "plain": (fft2, ("--corner-dc",), False, None),
    "centred, unshifted": (
        lambda x: unshift(shift(fft2(unshift(x)))),
        ("--corner-dc", "--image-origin", "middle"),
        False,
        "middle",
    ),
}


@pytest.mark.parametrize("convention", list(CONVENTIONS))
@pytest.mark.parametrize("shape", [(64, 64), (63, 50)])
def test_every_convention_gives_the_same_upright_image(
    convention: str, shape: tuple[int, int], head: np.ndarray
) -> None:
    transform, _, centred, origin = CONVENTIONS[convention]
    image = head[: shape[0], : shape[1]]
    k = transform(image.astype(np.complex128)).astype(np.complex128)
    scan = prepare_scan(k, ("y", "x"), centred=centred, origin=origin, dtype=torch.complex128)
    found = torch.fft.ifft2(scan.images[0].y, norm="ortho").numpy()
    # the data are rounded to single precision on their way: 2^-24 of each sample, and so at most of the norm
    assert np.linalg.norm(found - image) <= 2**-23 * np.linalg.norm(image)
    solution = reconstruct_kspace(k, centred=centred, origin=origin, reweight=0, tolerance=0.01)
    first = reconstruct_kspace(CONVENTIONS["centred"][0](image), reweight=0, tolerance=0.01)
    np.testing.assert_allclose(solution.image.numpy(), first.image.numpy(), rtol=0, atol=1e-3)


def test_other_origins_and_real_data_are_refused() -> None:
    with pytest.raises(BadInput, match="middle or corner"):
        prepare_scan(np.ones((8, 8), np.complex64), ("y", "x"), origin="left")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="Complex k-space"):
        reconstruct_kspace(torch.ones(8, 8), origin="corner")


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_a_split_head_is_noticed_and_the_option_named(convention: str, head: np.ndarray, tmp_path: Path) -> None:
    transform, options, _, origin = CONVENTIONS[convention]
    kept = multilevel((SIDE, SIDE), 0.4)
    quick = ("-o", tmp_path / "x.npy", "--layers", "5")
    mask = kept.samples.numpy() if "--corner-dc" in options else kept.centred().numpy()
    np.save(tmp_path / "right.npy", transform(head) * mask)
    np.save(tmp_path / "wrong.npy", transform(shift(head)) * mask)
    right = call("recon", "--fixed", tmp_path / "right.npy", *options, *quick)
    assert (right.exit_code, "warning" in right.stderr) == (0, False), right.stderr
    wrong = call("recon", "--fixed", tmp_path / "wrong.npy", *options, *quick)
    other = "corner" if origin == "middle" or convention == "centred" else "middle"
    verb = "leave out --image-origin" if origin else "add --image-origin"
    assert f"{verb} {origin or other}" in wrong.stderr
    assert json.loads((tmp_path / "x.json").read_text())["warnings"] != []


def ring(n: int = 64) -> np.ndarray:
    radius = np.hypot(*np.meshgrid(np.arange(n) - n // 2, np.arange(n) - n // 2))
    return ((radius < 0.47 * n) & (radius > 0.35 * n)).astype(float)


def legs() -> np.ndarray:
    image = np.zeros((64, 64))
    image[16:48, 4:28] = image[16:48, 36:60] = 1
    return image


FULL = {
    "constant": np.ones((64, 64)),
    "noise": np.random.default_rng(0).normal(size=(64, 64)),
    "a ramp": np.add.outer(np.arange(64), np.arange(48)) + 1.0,
    "dark in the middle": 1 + np.hypot(*np.meshgrid(np.arange(64) - 32, np.arange(64) - 32)),
    "tiny": np.ones((6, 6)),
}


@pytest.mark.parametrize("name", list(FULL))
def test_what_fills_the_field_of_view_is_not_called_split(name: str) -> None:
    assert not is_split([torch.from_numpy(fft2(FULL[name]))], 2)
    if name != "a ramp":  # which has a jump in the middle where it is shifted
        assert not is_split([torch.from_numpy(fft2(shift(FULL[name])))], 2)


def test_hollow_and_double_objects_and_those_at_an_edge_are_in_one_piece() -> None:
    edge = np.zeros((64, 64))
    edge[:20, :20] = 1
    for image in (ring(), legs(), edge):
        assert not is_split([torch.from_numpy(fft2(image))], 2)
    for image in (ring(), legs()):
        assert is_split([torch.from_numpy(fft2(shift(image)))], 2)
    assert not is_split([], 2)
    volume = np.zeros((8, 32, 32))
    volume[:, 10:22, 10:22] = 1  # fills the field of view across the partitions
    for image, split in ((volume, False), (np.fft.fftshift(volume), True)):
        assert is_split([torch.from_numpy(np.fft.fftn(image).astype(np.complex64))], 3) is split


def test_a_real_scan_is_split_where_it_is() -> None:
    y, _ = prepare(load_raw())
    assert not is_split([y], 2)
    assert is_split([to_usual_origin(y, 2, centred=False, origin="middle")], 2)


# --- axes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape", "odd"),
    [
        (("coil", "y", "x"), (256, 256, 8), True),
        (("coil", "y", "x"), (96, 80, 4), True),
        (("slice", "coil", "y", "x"), (10, 256, 256, 16), True),
        (("coil", "y", "x"), (48, 48, 8), True),
        (("coil", "y", "x"), (8, 256, 256), False),
        (("coil", "y", "x"), (128, 64, 64), False),
        (("coil", "y", "x"), (64, 256, 256), False),
        (("coil", "z", "y", "x"), (32, 16, 128, 128), False),
        (("coil", "y", "x"), (32, 64, 32), False),
        (("y", "x"), (256, 8), False),
    ],
)
def test_an_axis_of_coils_that_is_another(axes: tuple[str, ...], shape: tuple[int, ...], odd: bool) -> None:
    assert (coil_axis_is_elsewhere(axes, shape) is not None) is odd


def test_the_remedy_for_coils_on_the_last_axis(tmp_path: Path) -> None:
    k = load_raw().numpy()
    np.save(tmp_path / "last.npy", np.moveaxis(k, 0, -1))
    run = call("recon", "--fixed", tmp_path / "last.npy", "--maps", "auto", "-o", tmp_path / "x.npy")
    assert run.exit_code == BAD_INPUT
    assert "--axes y,x,coil" in run.stderr
    assert "The coil axis is 160 long and the x axis 2" in run.stderr
    quick = ("--axes", "y,x,coil", "--layers", "5", "--reweight", "0")
    run = call("recon", "--fixed", tmp_path / "last.npy", "--maps", "auto", *quick, "-o", tmp_path / "x.npy")
    assert run.exit_code == 0, run.stderr
    assert np.load(tmp_path / "x.npy").shape == (160, 160)
    # Whoever names the axes is believed, and warned.
    with pytest.raises(BadInput, match="--axes y,x,coil"):
        prepare_scan(np.moveaxis(k, 0, -1)[:, :9], ("coil", "y", "x"), maps="auto")


def test_the_remedy_for_zero_frequency_in_the_corner(tmp_path: Path) -> None:
    """Lines at the corner and every fourth elsewhere: as centred data they have no calibration centre."""
    lines = np.zeros(160, dtype=bool)
    lines[::4] = lines[:16] = lines[-16:] = True
    k = unshift(load_raw().numpy()) * lines[:, None]
    np.save(tmp_path / "corner.npy", k.astype(np.complex64))
    run = call("recon", "--fixed", tmp_path / "corner.npy", "--maps", "auto", "-o", tmp_path / "x.npy")
    assert run.exit_code == BAD_INPUT
    do = run.stderr.partition("do:")[2]
    assert "--corner-dc" in do
    assert "--maps FILE" not in do


# --- noise levels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["500%", "100%", "1e9"])
def test_a_noise_level_that_leaves_nothing_is_refused(stack: Path, tmp_path: Path, level: str) -> None:
    for command in (("recon", "--fixed", stack, "-o", tmp_path / "x.npy"), ("certify", stack, tmp_path / "zero.npy")):
        np.save(tmp_path / "zero.npy", np.zeros((3, SIDE, SIDE), dtype=np.complex64))
        run = call(*command, "--noise-level", level)
        assert run.exit_code == BAD_INPUT
        assert [line.split(":")[0] for line in run.stderr.strip().splitlines()] == ["needed", "got", "do"]
        assert "below the norm of the data" in run.stderr
    assert not (tmp_path / "x.npy").exists()


def test_a_noise_level_above_one_slice_alone_makes_that_slice_zero(stack: Path, tmp_path: Path) -> None:
    with h5py.File(stack) as file:
        first, second = (np.linalg.norm(np.asarray(file["kspace"])[k]) for k in (0, 1))
    level = ("--noise-level", f"{(first + second) / 2}", "--layers", "20", "--json")
    run = call("recon", "--fixed", stack, "-o", tmp_path / "x.npy", *level)
    assert run.exit_code == 0, run.stderr
    (said,) = [line for line in run.stderr.splitlines() if "its image is zero" in line]
    assert "Slice 0 has a noise level" in said
    image = np.load(tmp_path / "x.npy")
    assert not image[0].any()
    assert image[1].any()


def test_data_that_no_image_fits_are_told_and_have_their_exit_code(tmp_path: Path, head: np.ndarray) -> None:
    """Two coils that see different things through the same map: half of the difference remains, whatever the image."""
    k = shift(fft2(unshift(head)))
    np.save(tmp_path / "coils.npy", np.stack([1.05 * k, 0.95 * k]))
    np.save(tmp_path / "maps.npy", np.full((2, SIDE, SIDE), 0.5**0.5, dtype=np.complex64))
    arguments = ("recon", "--fixed", tmp_path / "coils.npy", "--maps", tmp_path / "maps.npy", "-o", tmp_path / "x.npy")
    run = call(*arguments, "--noise-level", "1%", "--layers", "40", "--json")
    assert run.exit_code == NOT_REACHED
    assert json.loads(run.stdout)["results"][0]["status"] == "no image fits"
    assert "beyond the noise level" in run.stderr
    assert "no image was found that fits the data" in run.stderr
    size = np.hypot(1.05, 0.95) * np.linalg.norm(k)
    # What no image explains is half of the difference in each coil.
    least = 0.05 * 2**0.5 * np.linalg.norm(k) - 0.01 * size
    assert least * (1 - 1e-5) <= json.loads(run.stdout)["results"][0]["violation"] <= 1.05 * least
    assert (tmp_path / "x.npy").exists()


def test_a_noise_level_far_below_the_noise_is_warned_of_before(tmp_path: Path, head: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    k = shift(fft2(unshift(head)))
    noise = (rng.normal(size=(SIDE, SIDE)) + 1j * rng.normal(size=(SIDE, SIDE))).astype(np.complex64)
    noise *= 0.2 * np.linalg.norm(k) / np.linalg.norm(noise)
    np.save(tmp_path / "k.npy", k + noise)
    for level, warned in (("1%", True), ("20%", False)):
        quick = ("--noise-level", level, "--layers", "10", "--reweight", "0")
        run = call("recon", "--fixed", tmp_path / "k.npy", "-o", tmp_path / "x.npy", *quick)
        assert run.exit_code == 0, run.stderr
        assert ("suggest, an estimate" in run.stderr) is warned
        assert run.stderr.count("warning") == warned  # told once, not again at the end


@pytest.mark.parametrize("coils", [1, 3])
def test_the_noise_is_estimated_from_the_outermost_samples(coils: int) -> None:
    """Noise alone: the median of n magnitudes has a deviation of some 1 / (2 log 2 sqrt(n)) of itself, five of which
    are allowed. A signal at low frequencies changes nothing."""
    mask = multilevel((SIDE, SIDE), 0.5).samples
    random = torch.Generator().manual_seed(0)
    y = torch.randn((coils, SIDE, SIDE), dtype=torch.complex128, generator=random) * mask
    norm = torch.linalg.vector_norm(y).item()
    samples = 0.1 * coils * int(mask.sum())
    for signal in (0.0, 1e6):
        y[:, :4, :4] += signal
        assert noise_estimate(y, mask) == pytest.approx(norm, rel=5 / (2 * np.log(2) * samples**0.5))


# --- empty slices -----------------------------------------------------------------------------------------------------


def empty(path: Path, which: list[int], coils: int | None = None) -> Path:
    rng = np.random.default_rng(0)
    shape = (3, 32, 32) if coils is None else (3, coils, 32, 32)
    k = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    if coils is not None:
        k[:] = k[:, :1]  # through maps that are alike every coil sees the same
    k[which] = 0
    k[..., 1::2] = 0
    with h5py.File(path, "w") as file:
        file["kspace"] = k
    return path


@pytest.mark.parametrize("options", [(), ("--noise-level", "5%"), ("--fixed",), ("--schedule", "fixed")])
def test_an_empty_slice_is_zero_and_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = empty(tmp_path / "k.h5", [2])
    run = call("recon", path, "-o", tmp_path / "x.npy", "--layers", "10", *options, "--json")
    assert run.exit_code == 0, run.stderr
    assert "warning: Slice 2 holds nothing but zeros" in run.stderr
    record = json.loads(run.stdout)
    assert [r["status"] == "empty slice" for r in record["results"]] == [False, False, True]
    last = record["results"][2]
    assert (last["slice"], last["objective"], last["gap"], last["layers"]) == (2, 0, 0, 0)
    assert last["sampling_rate"] == 0.5  # the samples of the others
    image = np.load(tmp_path / "x.npy")
    assert [bool(part.any()) for part in image] == [True, True, False]
    # The others are what they are without it.
    alone = call("recon", path, "-o", tmp_path / "one.npy", "--slice", "1", "--layers", "10", *options)
    assert alone.exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), image[1])
    if not options:
        checked = call("certify", path, tmp_path / "x.npy", "--layers", "5", "--json")
        assert [r["gap"] > 0 for r in json.loads(checked.stdout)["results"]] == [True, True, False]
        image[2] = 1
        np.save(tmp_path / "x.npy", image)
        assert call("certify", path, tmp_path / "x.npy").exit_code == BAD_INPUT


def test_the_first_slice_may_be_empty_and_coils_too(tmp_path: Path) -> None:
    path = empty(tmp_path / "k.h5", [0], coils=2)
    np.save(tmp_path / "maps.npy", np.ones((2, 32, 32), dtype=np.complex64))
    run = call(
        "recon", "--fixed", path, "--maps", tmp_path / "maps.npy", "-o", tmp_path / "x.nii", "--layers", "5", "--json"
    )
    assert run.exit_code == 0, run.stderr
    assert [r["status"] for r in json.loads(run.stdout)["results"]].index("empty slice") == 0
    assert (
        call("recon", "--fixed", path, "--maps", tmp_path / "maps.npy", "-o", tmp_path / "x.nii", "--dry-run").exit_code
        == 0
    )
    whole = ("--tolerance", "0.9", "--reweight", "0")
    assert (
        call("recon", "--fixed", path, "--maps", tmp_path / "maps.npy", "-o", tmp_path / "x.npy", *whole).exit_code == 0
    )


@pytest.mark.parametrize(("which", "options"), [([0, 1, 2], ()), ([1], ("--slice", "1"))])
def test_where_everything_is_empty_it_is_refused(tmp_path: Path, which: list[int], options: tuple[str, ...]) -> None:
    run = call("recon", "--fixed", empty(tmp_path / "k.h5", which), "-o", tmp_path / "x.npy", *options)
    assert run.exit_code == BAD_INPUT
    assert "zeros alone in " + ("slice 1" if options else "all 3 slices") in run.stderr


# --- voxels -----------------------------------------------------------------------------------------------------------


def header(x: int, y: int, z: int = 1, thickness: float = 4.0) -> str:
    """An ISMRMRD header: voxels of 1.5 mm along x, 2 mm along y; half of x is oversampling."""
    spaces = "".join(
        f"<{name}><matrixSize><x>{n}</x><y>{y}</y><z>{z}</z></matrixSize><fieldOfView_mm><x>{1.5 * n}</x>"
        f"<y>{2 * y}</y><z>{thickness * z}</z></fieldOfView_mm></{name}>"
        for name, n in (("encodedSpace", x), ("reconSpace", x // 2))
    )
    centres = "".join(
        f"<kspace_encoding_step_{k}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{n // 2}</center>"
        f"</kspace_encoding_step_{k}>"
        for k, n in ((1, y), (2, z))
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"{spaces}<encodingLimits>{centres}</encodingLimits><trajectory>cartesian</trajectory></encoding>"
        "</ismrmrdHeader>"
    )


def raw(path: Path, slices: int, z: int = 1) -> Path:
    rng = np.random.default_rng(0)
    dataset = ismrmrd.Dataset(path, "dataset")
    dataset.write_xml_header(header(32, 12, z))
    for s in range(slices):
        for k in range(z):
            for j in range(12):
                data = (rng.normal(size=(1, 32)) + 1j * rng.normal(size=(1, 32))).astype(np.complex64)
                line = ismrmrd.Acquisition.from_array(data, center_sample=16)
                line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2, line.idx.slice = j, k, s
                dataset.append_acquisition(line)
    dataset.close()
    return path


def zooms(path: Path) -> tuple[tuple[float, ...], str]:
    found: Any = nibabel.load(path)
    return tuple(map(float, found.header.get_zooms())), found.header.get_xyzt_units()[0]


@pytest.mark.parametrize(
    ("slices", "z", "options", "expected"),
    [
        (1, 1, (), (1.5, 2.0)),
        (3, 1, (), (1.5, 2.0, 4.0)),
        (3, 1, ("--remove-oversampling",), (1.5, 2.0, 4.0)),
        (3, 1, ("--slice", "2"), (1.5, 2.0)),
        (1, 4, (), (1.5, 2.0, 4.0)),
    ],
)
def test_voxels_of_ismrmrd_reach_the_nifti(
    tmp_path: Path, slices: int, z: int, options: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    path = raw(tmp_path / "scan.h5", slices, z)
    np.save(tmp_path / "maps.npy", np.ones((1, z, 12, 32) if z > 1 else (1, 12, 32), dtype=np.complex64))
    if options and "--remove-oversampling" in options:
        np.save(tmp_path / "maps.npy", np.ones((1, 12, 16), dtype=np.complex64))
    maps = ("--maps", tmp_path / "maps.npy")
    run = call("recon", "--fixed", path, *maps, "-o", tmp_path / "x.nii", "--layers", "3", *options, "--json")
    assert run.exit_code == 0, run.stderr
    assert zooms(tmp_path / "x.nii") == (expected, "mm")
    record = json.loads(run.stdout)
    assert record["voxel_size"] == [*reversed(expected)][-3 if z > 1 else -2 :]
    assert record["slice_thickness"] == (None if z > 1 else 4.0)


@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_voxels_of_fastmri_reach_the_nifti(tmp_path: Path, kind: str) -> None:
    """Its readout, x in the header, is the first axis of the image, and oversampled."""
    rng = np.random.default_rng(0)
    k = (rng.normal(size=(3, 32, 12)) + 1j * rng.normal(size=(3, 32, 12))).astype(np.complex64)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = k
        file["ismrmrd_header"] = header(32, 12) if kind == "text" else np.bytes_(header(32, 12))
    for options in ((), ("--remove-oversampling",)):
        arguments = ("recon", "--fixed", tmp_path / "scan.h5", "-o", tmp_path / "x.nii", "--layers", "3", *options)
        assert call(*arguments).exit_code == 0
        assert zooms(tmp_path / "x.nii") == ((2.0, 1.5, 4.0), "mm")
    # other axes than those of fastMRI: nothing is known
    arguments = (
        "recon",
        "--fixed",
        tmp_path / "scan.h5",
        "-o",
        tmp_path / "x.nii",
        "--layers",
        "3",
        "--axes",
        "slice,x,y",
    )
    assert call(*arguments).exit_code == 0
    assert zooms(tmp_path / "x.nii")[1] == "unknown"


@pytest.mark.parametrize(
    "text", ["", "no header", "<!DOCTYPE x>" + header(32, 12), header(32, 12).replace("<x>48.0", "<x>wide")]
)
def test_a_header_of_fastmri_that_says_nothing_stops_nothing(tmp_path: Path, text: str) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = rng.normal(size=(1, 32, 12)).astype(np.complex64)
        file["ismrmrd_header"] = text
    assert call("recon", "--fixed", tmp_path / "scan.h5", "-o", tmp_path / "x.nii", "--layers", "3").exit_code == 0
    assert zooms(tmp_path / "x.nii")[1] == (
        "unknown" if "fieldOfView_mm><x>48" not in text or "DOCTYPE" in text else "mm"
    )


def test_a_centred_file_is_as_the_library_has_it(head: np.ndarray) -> None:
    """The conventions of this file's helpers are those of the operators."""
    y = SubsampledFourier(torch.ones(SIDE, SIDE, dtype=torch.bool))(torch.from_numpy(head).to(torch.complex64))
    np.testing.assert_allclose(to_centre(y, 2).numpy(), shift(fft2(unshift(head))), atol=1e-5)


def test_what_a_reader_left_out_is_a_warning_and_in_the_record(tmp_path: Path) -> None:
    path = raw(tmp_path / "scan.h5", 1)
    dataset = ismrmrd.Dataset(path, "dataset")
    line = ismrmrd.Acquisition.from_array(np.ones((1, 32), np.complex64))
    line.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    dataset.append_acquisition(line)
    dataset.close()
    np.save(tmp_path / "maps.npy", np.ones((1, 12, 32), dtype=np.complex64))
    quick = ("--maps", tmp_path / "maps.npy", "--layers", "3", "-o", tmp_path / "x.npy")
    run = call("recon", "--fixed", path, *quick)
    assert run.exit_code == 0, run.stderr
    said = "Lines that are not part of the image were left out: 1 of noise."
    assert f"warning: {said}" in run.stderr
    assert said in json.loads((tmp_path / "x.json").read_text())["warnings"]

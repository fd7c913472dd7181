"""Scans of every kind through the front door: found from the file, reconstructed, certified, recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import firenet
from cases import small_image
from extras import ismrmrd
from file_seeds import mrd, mrd_header
from firenet.errors import BadInput
from firenet.mri.readouts import prepare_readouts
from firenet.mri.scan import prepare_scan
from firenet.scans.describe import describe_file
from firenet.scans.reconstruct import reconstruct_scan
from firenet.scans.record import scan_record, summary
from firenet.scans.source import Source
from firenet.sensing import NonuniformFourier, radial
from firenet.transforms.walsh import WalshHadamard

SIDE = 32


def object_() -> Tensor:
    """An object in the middle of the image, with air around it."""
    whole = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    whole[8:24, 8:24] = small_image(16).abs()
    return whole


def sensitivities(coils: int = 3) -> Tensor:
    """Smooth coil maps whose squares sum to one."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE, dtype=torch.float64)] * 2, indexing="ij")
    angles = 2 * np.pi * torch.arange(coils, dtype=torch.float64) / coils
    away = [(y - torch.sin(a)) ** 2 + (x - torch.cos(a)) ** 2 for a in angles]
    phase = [torch.exp(1j * (0.7 * k + 0.5 * x * (k + 1))) for k in range(coils)]
    maps = torch.stack([torch.exp(-d / 2) * p for d, p in zip(away, phase, strict=True)])
    return maps / maps.abs().square().sum(dim=0).sqrt()


def measured(coils: int = 3, spokes: int = 40) -> tuple[np.ndarray, np.ndarray]:
    path = radial(spokes, 2 * SIDE)
    k = NonuniformFourier(path, (SIDE, SIDE), sensitivities(coils))(object_().to(torch.complex128))
    return k.numpy().astype(np.complex64), path.numpy()


def radial_file(folder: Path) -> Path:
    k, path = measured()
    lines = []
    for j in range(k.shape[1]):
        line: Any = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(k[:, j]), np.ascontiguousarray(path[j, :, ::-1], dtype=np.float32)
        )
        line.idx.kspace_encode_step_1 = j
        lines.append(line)
    return mrd(folder / "radial.h5", mrd_header((1, SIDE, SIDE), kept=SIDE, trajectory="radial"), lines)


def scaled_psnr(image: Tensor, truth: Tensor) -> float:
    image = image.abs().double()
    return firenet.psnr(image * (image * truth).sum() / image.square().sum(), truth)


@pytest.mark.filterwarnings("ignore::firenet.DoubtfulInput")
def test_a_radial_scan_of_several_coils_is_reconstructed_from_its_file(tmp_path: Path) -> None:
    source = Source(radial_file(tmp_path), maps="auto")
    (one,) = reconstruct_scan(source, fixed=True, reweight=0)
    # With 40 diameters every frequency up to some 40 / pi cycles per field of view has a sample within half a cycle.
    assert one.part.maps_method == "ESPIRiT, calibration width 17, of the centre put on a grid"
    assert one.found is not None
    assert one.found.relative_gap.item() <= 1e-3
    assert one.scan.kind == "non-Cartesian k-space"
    record = scan_record([one])
    assert "density compensation" in record["weighting"]
    assert record["kind"] == one.scan.kind
    assert record["voxel_size"] == (2.0, 1.0)
    assert record["conditions"]  # the adjoint of another library
    assert "non-Cartesian k-space" in summary([one])
    # ESPIRiT's maps have a phase of their own, and are zero where there is no object.
    k, path = measured()
    maps = one.part.maps
    assert maps is not None
    combined = (NonuniformFourier(path, (SIDE, SIDE)).adjoint(torch.from_numpy(k)) * maps.conj()).sum(dim=0)
    assert scaled_psnr(one.image, object_()) > scaled_psnr(combined, object_()) + 6


@pytest.mark.filterwarnings("ignore::firenet.DoubtfulInput")
def test_a_choice_holds_out_whole_readouts(tmp_path: Path) -> None:
    k, path = measured(coils=1)
    scan = prepare_readouts(k[None] / sensitivities(1).abs().max().item(), path, (SIDE, SIDE))
    choice = firenet.choose(scan.images[0].y, scan.images[0].operator, sparsify="undecimated:haar:1", reweight=0)
    assert choice.reason is None
    # 8 % of 40 readouts are 4 in each of 4 folds, of 64 samples each.
    assert choice.held_out == 4 * 4 * 2 * SIDE


def test_slices_and_noise_of_readouts() -> None:
    k, path = measured()
    maps = sensitivities().numpy().astype(np.complex64)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 500)) + 1j * rng.standard_normal((3, 500))
    both = np.stack([k, np.zeros_like(k), 2 * k])
    scan = prepare_readouts(both, path, (SIDE, SIDE), maps=maps)
    assert [image.number for image in scan.images] == [0, 1, 2]
    assert [image.empty for image in scan.images] == [False, True, False]
    torch.testing.assert_close(scan.images[2].y, 2 * scan.images[0].y)
    (last,) = prepare_readouts(both, np.stack([path] * 3), (SIDE, SIDE), maps=maps, only=2).images
    torch.testing.assert_close(last.y, scan.images[2].y)
    (white,) = prepare_readouts(k[None], path, (SIDE, SIDE), maps=maps, noise=5 * noise).images
    # Data and maps are mixed alike: the image that explained the data still does, up to single precision.
    measured_again = white.operator(object_().to(torch.complex64))
    assert torch.linalg.vector_norm(measured_again - white.y) < 1e-4 * torch.linalg.vector_norm(white.y)
    wrongs: list[dict[str, Any]] = [{"maps": None}, {"maps": maps, "only": 3}, {"maps": maps[:2]}]
    for wrong in wrongs:
        with pytest.raises(BadInput):
            prepare_readouts(both, path, (SIDE, SIDE), **wrong)
    for path_ in (path[:-1], np.stack([path] * 2), 7 * path, path[..., :1]):
        with pytest.raises(BadInput):
            prepare_readouts(both, path_, (SIDE, SIDE), maps=maps)


def camera_file(folder: Path) -> Path:
    mask = firenet.sensing.multilevel((SIDE, SIDE), 0.5).samples
    index = np.flatnonzero(mask.numpy().ravel())
    values = SIDE * WalshHadamard((SIDE, SIDE))(object_()).numpy().ravel()[index]
    np.savez(folder / "camera.npz", measurements=values, index=index, shape=np.array([SIDE, SIDE]))
    return folder / "camera.npz"


@pytest.mark.filterwarnings("ignore::firenet.DoubtfulInput")
def test_a_camera_is_reconstructed_in_real_numbers(tmp_path: Path) -> None:
    (one,) = reconstruct_scan(
        Source(camera_file(tmp_path), order="sequency", dtype="complex128"), fixed=True, reweight=0
    )
    assert one.image.dtype == torch.float64
    assert one.scan.kind == "Walsh measurements"
    assert one.part.rate == pytest.approx(0.5)
    assert firenet.psnr(one.image, object_()) > firenet.psnr(one.part.operator.adjoint(one.part.y), object_()) + 3
    assert "50 % of the Walsh patterns" in summary([one])


@pytest.mark.parametrize(
    ("options", "refused"),
    [({"rotation_axis": 3.0}, "--rotation-axis"), ({"origin": "middle"}, "--image-origin"), ({"bin": 2}, "--bin")],
)
def test_options_without_a_meaning_are_refused(tmp_path: Path, options: dict[str, Any], refused: str) -> None:
    with pytest.raises(BadInput) as error:
        Source(camera_file(tmp_path), **options).read()
    assert refused in error.value.got
    assert "single-pixel camera" in error.value.needed


def test_files_are_described(tmp_path: Path) -> None:
    found = describe_file(radial_file(tmp_path))
    assert found.kind == "non-Cartesian k-space"
    assert found.facts["coils"] == "3"
    assert found.facts["samples"] == "40 x 64"
    assert "--maps auto" in found.command
    found = describe_file(camera_file(tmp_path))
    assert found.facts["image"] == "32 x 32"
    k = (
        np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(object_().numpy())))
        * firenet.sensing.multilevel((SIDE, SIDE), 0.5).centred().numpy()
    )
    np.save(tmp_path / "grid.npy", k)
    found = describe_file(tmp_path / "grid.npy")
    assert found.facts["zero frequency"] == "in the middle"
    assert found.facts["mask"] == "the samples that are not zero, 50 % sampled"
    assert found.command.endswith("-o grid.png")
    np.save(tmp_path / "corner.npy", np.fft.ifftshift(k))
    assert "--corner-dc" in describe_file(tmp_path / "corner.npy").command


@pytest.mark.parametrize("scale", [1.0, 1e-150])
def test_the_noise_of_k_space_is_estimated_and_said(scale: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 64 - 0.5
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(np.exp(-30 * (x**2 + y**2))), norm="ortho"))
    noise = 0.02 * (rng.standard_normal(k.shape) + 1j * rng.standard_normal(k.shape))
    mask = firenet.sensing.multilevel((64, 64), 0.5).centred().numpy()
    scan = prepare_scan(scale * mask * (k + noise), ("y", "x"), mask=mask, dtype=torch.complex128)
    found = reconstruct_scan(scan, fixed=True, reweight=0, layers=20)
    (result,) = scan_record(found)["results"]
    said, true = result["noise_estimate"], np.linalg.norm(scale * mask * noise)
    # Some 200 samples are beyond the tenth: their median modulus is off by 6 % or so.
    assert said["norm"] == pytest.approx(true, rel=0.2)
    assert said["share"] == pytest.approx(true / np.linalg.norm(scale * mask * (k + noise)), rel=0.2)
    assert said["from"] == "the highest frequencies"

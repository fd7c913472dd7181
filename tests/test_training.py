"""Training: reproducible, resumable to the same weights, in the right direction; stored without a pickle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cases import small_image, small_mask
from draws import normal, uniform
from extras import needs
from firenet import SubsampledFourier
from firenet.errors import BadInput
from firenet.io.files import sha256
from firenet.metrics import psnr
from firenet.nets.automap import Automap
from firenet.nets.cascade import Cascade
from firenet.nets.training import SHIPPED, USUAL, Recipe, load, read_safetensors, save, shipped, train
from firenet.nets.unet import UNet

SMALL = {
    "unet": Recipe("unet", (16, 24), steps=6, batch=2, images="ellipses", noise=0.1),
    "automap": Recipe("automap", (16,), steps=6, batch=4, images="ellipses"),
    "lista": Recipe("lista", (16,), steps=6, batch=4, images="ellipses"),
}
networks = pytest.mark.parametrize("name", list(SMALL))


def weights(net: torch.nn.Module) -> list[torch.Tensor]:
    return [t.clone() for t in net.state_dict().values() if t.is_floating_point()]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@networks
@pytest.mark.usefixtures("few_images")
def test_a_training_that_stops_goes_on_to_the_same_weights(name: str, tmp_path: Path) -> None:
    recipe, state = SMALL[name], torch.random.get_rng_state()
    whole = train(recipe)
    assert torch.equal(state, torch.random.get_rng_state())
    path = tmp_path / "x.safetensors"

    class Stop(Exception):
        pass

    def stop(done: int, most: int, loss: float) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        train(recipe, checkpoint=path, every=3, progress=stop)
    told: list[int] = []
    resumed = train(recipe, checkpoint=path, every=3, progress=lambda done, most, loss: told.append(done))
    assert told == [4, 5, 6]
    assert same(whole, resumed)
    assert same(whole, train(recipe, checkpoint=path))  # nothing left to do
    with pytest.raises(BadInput, match="these settings"):
        train(replace(recipe, seed=1), checkpoint=path)
    assert not same(whole, train(replace(recipe, seed=1)))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@networks
@pytest.mark.usefixtures("few_images")
def test_what_is_saved_is_what_is_loaded(name: str, tmp_path: Path) -> None:
    net = train(SMALL[name]).float()
    save(tmp_path / "net.safetensors", net, SMALL[name])
    again, recipe = load(tmp_path / "net.safetensors")
    assert recipe == SMALL[name]
    y = recipe.sensing(16)(uniform(3, 16, 16, seed=0))
    assert torch.allclose(net(y), again(y), atol=1e-5)
    save(tmp_path / "half.safetensors", net, SMALL[name], half=True)
    half, _ = load(tmp_path / "half.safetensors")
    assert torch.allclose(net(y), half(y), atol=2e-2)
    assert again(y).shape == (3, 16, 16)
    assert torch.allclose(again(y)[1], again(y[1]), atol=1e-5)
    assert not again(y).requires_grad


@networks
def test_a_short_training_moves_in_the_right_direction(name: str) -> None:
    losses: list[float] = []
    steps = {"unet": 40, "automap": 120, "lista": 60}[name]
    recipe = replace(SMALL[name], sides=(16,), steps=steps, noise=0.0, batch=8)
    train(recipe, progress=lambda done, most, loss: losses.append(loss))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_killed_with_nine_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    needs("safetensors")
    options = ["train", "automap", "--images", "ellipses", "--sides", "8", "--steps", "700", "--batch", "2"]
    command = [sys.executable, "-m", "firenet.cli", *options, "--threads", "1", "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "net.checkpoint"
    with subprocess.Popen(
        [*command, str(tmp_path / "net.safetensors")], env=environment, stderr=subprocess.PIPE
    ) as job:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
    assert not (tmp_path / "net.safetensors").exists()
    assert checkpoint.exists()
    for name in ("net", "other"):
        run = subprocess.run(
            [*command, str(tmp_path / f"{name}.safetensors")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert "loss" in run.stderr
        assert "left" in run.stderr
    assert same(load(tmp_path / "net.safetensors")[0], load(tmp_path / "other.safetensors")[0])
    assert not checkpoint.exists()


def test_every_side_sees_every_kind_of_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from firenet.nets import training

    monkeypatch.setattr(training, "load_colin27", lambda slices: torch.full((2, 256, 256), 0.5))
    recipe = replace(USUAL["unet"], sides=(16, 32), steps=40, batch=4)
    images = training._Images(recipe)
    images.pools = {side: [torch.zeros(1, side, side), torch.ones(1, side, side)] for side in recipe.sides}
    for k, side in enumerate(recipe.sides):
        seen = torch.cat([images.batch(step, side)[0].amax((1, 2)) for step in range(k, 40, 2)]) > 0
        assert seen.double().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_networks_are_better_than_no_network_on_another_head(name: str) -> None:
    net, recipe = shipped(name)
    side = recipe.sides[0]
    usual = USUAL[recipe.network]
    assert recipe == (replace(usual, noise=0.1) if name == "unet-jitter" else usual)
    x = small_image(side)
    sensing = recipe.sensing(side)
    y = sensing(x)
    assert psnr(net(y), x) > psnr(sensing.adjoint(y), x) + 1


def test_the_shipped_weights_are_small() -> None:
    import firenet_models

    files = [firenet_models.path(name) for name in firenet_models.NAMES]
    assert {p.stem for p in files} == {*SHIPPED, "d5c5"}
    assert {p.name for p in files} == {p.name for p in files[0].parent.glob("*.safetensors")}
    assert sum(p.stat().st_size for p in files) < 20_000_000
    # The notice names every file with its sum.
    notice = (files[0].parent / "NOTICE.md").read_text()
    for path in files:
        assert f"| `{path.name}` | `{sha256(path)}` |" in notice
    with pytest.raises(KeyError, match="one of"):
        firenet_models.path("../secret")


@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (1, 9)])
def test_a_unet_takes_every_image(shape: tuple[int, int]) -> None:
    sensing = SubsampledFourier(torch.ones(shape, dtype=torch.bool))
    net = UNet(sensing).eval()
    y = sensing(uniform(2, 3, *shape, seed=0))
    assert net(y).shape == (2, 3, *shape)
    other = net.measuring(SubsampledFourier(torch.ones(8, 8, dtype=torch.bool)))
    assert other(torch.zeros(8, 8, dtype=torch.complex64)).shape == (8, 8)
    assert net.sensing is sensing


def test_data_consistency_is_hard() -> None:
    sensing = SubsampledFourier(small_mask(16, 0.3))
    rng = np.random.default_rng(0)
    shapes = [(64, 2), (64, 64), (64, 64), (64, 64), (2, 64)] * 5
    weights = [t for a, b in shapes for t in (0.05 * normal(a, b, 3, 3, seed=rng), torch.zeros(a))]
    net = Cascade(sensing, weights)
    y = sensing(uniform(2, 16, 16, seed=rng))
    image = net(y)
    assert torch.allclose(sensing(image), y, atol=1e-5)
    assert not torch.allclose(image, sensing.adjoint(y), atol=1e-3)
    with pytest.raises(BadInput, match="Fifty"):
        Cascade(sensing, weights[:-1])
    for k, wrong in (
        (0, torch.zeros(64, 1, 3, 3)),
        (2, torch.zeros(64, 2, 3, 3)),
        (9, torch.zeros(3)),
        (8, torch.zeros(())),
    ):
        with pytest.raises(BadInput, match="A kernel of shape"):
            Cascade(sensing, [*weights[:k], wrong, *weights[k + 1 :]])
    with pytest.raises(BadInput, match="zero frequency in the corner"):
        Cascade(SubsampledFourier(small_mask(16, 0.3), centred=True), weights)


def test_bad_input(tmp_path: Path) -> None:
    volume = SubsampledFourier(torch.ones(4, 4, 4, dtype=torch.bool))
    for network in (UNet, Automap):
        with pytest.raises(BadInput, match="two axes"):
            network(volume)
    for wrong in ({"rate": 0.0}, {"steps": 0}, {"noise": -1.0}, {"learning_rate": 0.0}, {"sides": ()}):
        with pytest.raises(BadInput, match="Positive"):
            replace(SMALL["unet"], **wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="One side"):
        replace(SMALL["automap"], sides=(16, 32))
    with pytest.raises(BadInput, match="images"):
        replace(SMALL["unet"], images="photographs")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="One of"):
        shipped("nothing")
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BadInput, match="safetensors"):
        read_safetensors(tmp_path / "x.safetensors")

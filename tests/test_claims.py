"""What files and options claim is not believed: recipes, counts of steps, seeds, deep JSON, scales of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from extras import safetensors
from firenet import SubsampledFourier, choose
from firenet.audit import Settings
from firenet.barriers import witness
from firenet.cli.app import app
from firenet.errors import BadInput
from firenet.io import sealed
from firenet.models.cascade import cascade_model
from firenet.models.load import load_model
from firenet.nets.lista import train_lista
from firenet.nets.training import CHECKPOINT, Recipe, train
from firenet.problems.gap import relative_gap
from firenet.reconstruction import paper_schedule
from firenet.sensing.masks import lines, multilevel, variable_density
from fuzz_records import resealed

SMALL = Recipe("unet", (16,), steps=3, batch=2, images="ellipses")


def weights(path: Path, recipe: Any, tensors: dict[str, torch.Tensor] | None = None) -> str:
    text = recipe if isinstance(recipe, str) else json.dumps(recipe)
    safetensors.save_file(tensors or {"a": torch.ones(1)}, path, {"firenet": text})
    return str(path)


@pytest.mark.parametrize(
    ("network", "changes", "words"),
    [
        ("automap", {"sides": [200]}, "Weights for images of 40000 pixels"),  # 6.7 GiB at 10 kB
        ("automap", {"sides": [30_000]}, "Sides of at most 256"),
        ("lista", {"sides": [64]}, "Weights for images of 4096 pixels"),
        ("unet", {"sides": [10**9]}, "Sides of at most 2048"),
        ("unet", {"sides": [16] * 10**5}, "at most 16 sides"),
        ("unet", {"sides": [16.5]}, "Whole numbers"),
        ("unet", {"sides": "16"}, "Whole numbers"),
        ("unet", {"sides": 16}, "Weights written by firenet train"),
        ("unet", {"seed": 2**80}, "A seed from 0"),
        ("unet", {"seed": None}, "Whole numbers"),
        ("unet", {"rate": "a quarter"}, "Weights written by firenet train"),
        ("unet", {}, "Weights of a UNet"),
    ],
)
def test_a_recipe_asks_for_no_more_than_its_file_has(
    network: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    recipe = asdict(Recipe("unet", (16,))) | {"network": network} | changes
    with pytest.raises(BadInput, match=words):
        load_model(weights(tmp_path / "a.safetensors", recipe))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{}", "[]", "null", "1", '{"network": {}}', ""])
def test_deep_and_odd_json_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="firenet train"):
        load_model(weights(tmp_path / "a.safetensors", text))
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(witness.Refuted):
        witness.main(tmp_path / "w.json")


def test_fifty_arrays_are_fifty_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=np.ones(3))
    with pytest.raises(BadInput, match="Fifty arrays"):
        cascade_model(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="npz"):
        cascade_model(tmp_path / "a.npz")
    safetensors.save_file({f"{k:02}": torch.ones(1) for k in range(49)}, tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="49 in"):
        cascade_model(tmp_path / "a.safetensors")
    safetensors.save_file({f"{k:02}": torch.ones(1) for k in range(50)}, tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="A kernel of shape"):
        cascade_model(tmp_path / "a.safetensors")


@cache
def trained() -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what is in the checkpoint of a training that has ended."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.checkpoint"
        train(SMALL, checkpoint=path)
        return sealed.read(path, CHECKPOINT, SMALL.identity)


@pytest.mark.parametrize("done", [0, -1, 2, 4, 99_999, 3.0, None, "3", True])
def test_a_checkpoint_is_as_far_as_its_optimiser(done: Any, tmp_path: Path) -> None:
    """A done of 99999 once returned unfinished weights as finished, with a digest or without."""
    path, (arrays, about) = tmp_path / "a.checkpoint", trained()
    assert about == {"done": 3}
    sealed.write(path, CHECKPOINT, SMALL.identity, arrays, {"done": done})
    with pytest.raises(BadInput, match="A consistent checkpoint"):
        train(SMALL, checkpoint=path)


@pytest.mark.parametrize("change", ["nan", "shape", "missing", "integers"])
def test_a_forged_checkpoint_is_refused_where_it_makes_no_sense(change: str, tmp_path: Path) -> None:
    path, (whole, about) = tmp_path / "a.checkpoint", trained()
    arrays = dict(whole)
    name = next(n for n in arrays if n.startswith("adam.0.exp_avg"))
    if change == "nan":
        arrays[name] = np.full_like(arrays[name], np.nan)
    elif change == "shape":
        arrays[name] = arrays[name][:-1]
    elif change == "missing":
        del arrays[name]
    else:
        first = next(n for n in arrays if n.startswith("net."))
        arrays[first] = arrays[first].astype(np.int64)
    sealed.write(path, CHECKPOINT, SMALL.identity, arrays, about)
    with pytest.raises(BadInput):
        train(SMALL, checkpoint=path)


@pytest.mark.usefixtures("few_images")
def test_a_checkpoint_that_was_edited_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    train(SMALL, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"done": 3', b'"done": 9') if b'"done": 3' in whole else whole[:-1] + b"x")
    with pytest.raises(BadInput, match="damaged or was altered"):
        train(SMALL, checkpoint=path)
    resealed(path).write_bytes(b"firenet " + CHECKPOINT.encode() + b" 1 x y\n")
    with pytest.raises(BadInput, match="damaged or was altered"):
        train(SMALL, checkpoint=path)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 10**30])
@pytest.mark.parametrize(
    "takes",
    [
        lambda seed: variable_density((8, 8), 0.5, seed=seed),
        lambda seed: multilevel((8, 8), 0.5, seed=seed),
        lambda seed: lines((8, 8), 2.0, seed=seed),
        lambda seed: Settings(seed=seed),
        lambda seed: replace(SMALL, seed=seed),
        lambda seed: train_lista(torch.eye(3), torch.ones(9, 3), torch.ones(9, 3), rate=1e-3, validation=3, seed=seed),
        lambda seed: choose(torch.ones(8, 8) + 0j, SubsampledFourier(torch.ones(8, 8)), seed=seed),
    ],
)
def test_seeds_that_no_generator_takes(takes: Callable[[int], Any], seed: int) -> None:
    with pytest.raises(BadInput, match="A seed from 0 to"):
        takes(seed)


@pytest.mark.parametrize("shape", [(32,), (16, 16), (2, 16, 16), (2, 8, 8, 8)])
def test_the_papers_schedule_is_made_for_data_of_any_dimension(shape: tuple[int, ...]) -> None:
    """Its delta is 1e-9 of the smallest image's norm: a profile has one axis."""
    y = torch.full(shape, 2.0, dtype=torch.complex64)
    size = 2 * math.sqrt(math.prod(shape[-2:]))
    assert paper_schedule(20, y).delta == pytest.approx(paper_schedule(20).delta * size)


ODD = (math.nan, math.inf, 1.0, 0.0)


@pytest.mark.parametrize("gap", ODD)
@pytest.mark.parametrize("bound", [0.0, 1.0, 5e-324, math.inf])
@pytest.mark.parametrize("zero", [True, False])
def test_a_relative_gap_of_zero_stands_beside_a_finite_gap(gap: float, bound: float, zero: bool) -> None:
    size, least, beyond = (torch.tensor(x, dtype=torch.float64) for x in (gap, bound, 0.0))
    found = relative_gap(size, least, torch.tensor(zero), beyond).item()
    if math.isnan(gap):
        assert math.isnan(found)
    elif not math.isfinite(gap):
        assert not math.isfinite(found)
    elif gap > 0 and not zero and bound < math.inf:
        assert found > 0


@pytest.mark.parametrize("unit", [1e-300, 1e-38, 1e-30, 1.0, 1e30, 1e36, 1e37, 1e38, 1e300])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("lam", [None, "5e-324"])
def test_numbers_of_any_size_are_certified_or_not_finite_and_never_proved_by_nan(
    unit: float, dtype: str, lam: str | None, tmp_path: Path
) -> None:
    """NaN and infinity once read as a relative gap of zero."""
    rng = np.random.default_rng(0)
    kspace = rng.normal(size=(16, 16)) + 1j * rng.normal(size=(16, 16))
    np.savez(tmp_path / "k.npz", kspace=unit * kspace, mask=np.ones((16, 16), bool))
    np.save(tmp_path / "x.npy", unit * np.fft.ifft2(kspace))
    options = ["--layers", "20", "--dtype", dtype, *(["--lam", lam] if lam else [])]
    run = CliRunner().invoke(app, ["certify", f"{tmp_path}/k.npz", f"{tmp_path}/x.npy", "--json", *options])
    assert run.exit_code in (0, 2, 3), run.exception
    if run.exit_code == 2:
        assert unit in (1e-300, 1e300, 1e38)
        assert "needed:" in run.stderr
        return
    (result,) = json.loads(run.stdout)["results"]
    assert (result["gap"] is None) == (run.exit_code == 3)
    if result["gap"] is None:
        assert result["relative_gap"] is None
        assert result["relative_gap_reason"]
    elif result["relative_gap"] is not None:
        assert 0 < result["relative_gap"] < math.inf
        assert result["relative_gap"] == pytest.approx(result["gap"] / result["lower_bound"])

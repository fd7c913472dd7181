"""The ASTRA toolbox: projections of two dimensions."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound, disc

from firenet import BadInput
from firenet.interop import from_astra

astra: Any = pytest.importorskip("astra")

ROWS, COLUMNS, DETECTORS = 10, 12, 17
ANGLES = np.linspace(0, np.pi, 9, endpoint=False)


def volume(rows: int = ROWS, columns: int = COLUMNS) -> Any:
    return astra.create_vol_geom(rows, columns)


def geometry(name: str) -> Any:
    beams = {
        "parallel": lambda: astra.create_proj_geom("parallel", 1.0, DETECTORS, ANGLES),
        "fanflat": lambda: astra.create_proj_geom("fanflat", 1.5, DETECTORS, 2 * ANGLES, 40, 20),
    }
    kind, _, vectors = name.partition("_")
    return astra.geom_2vec(beams[kind]()) if vectors else beams[kind]()


CASES = [
    *((name, kind) for name in ("parallel", "parallel_vec") for kind in ("strip", "line", "linear")),
    ("fanflat", "strip"),
    ("fanflat", "line"),
    ("fanflat_vec", "line"),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_is_the_projection(name: str, kind: Any) -> None:
    operator = from_astra(geometry(name), volume(), kind)
    assert (operator.in_shape, operator.out_shape) == ((ROWS, COLUMNS), (9, DETECTORS))
    assert operator.is_own
    assert operator.norm_bound.kind == "proven"
    assert_is_sound(operator)
    x = np.random.default_rng(0).random((ROWS, COLUMNS)).astype(np.float32)
    suffix = "_fanflat" if name.startswith("fan") else ""
    projector = astra.create_projector(kind + suffix, geometry(name), volume())
    number, expected = astra.create_sino(x, projector)
    # ASTRA adds in single precision, at most the 29 pixels on a ray of some two rows each.
    assert np.allclose(operator(torch.from_numpy(x).double()).numpy(), expected, rtol=64 * 2**-24, atol=1e-6)
    astra.data2d.delete(number)
    astra.projector.delete(projector)


@pytest.mark.parametrize("kind", ["strip", "line", "linear"])
def test_without_a_matrix(kind: Any) -> None:
    operator = from_astra(geometry("parallel"), volume(), kind, matrix=False)
    assert operator.title == f"astra.{kind}"
    assert_is_sound(operator, single=True)
    exact = from_astra(geometry("parallel"), volume(), kind).as_matrix(torch.float64)
    assert torch.allclose(operator.as_matrix(torch.float32).double(), exact, atol=1e-6)


def test_nothing_stays_in_the_memory_of_astra(capfd: pytest.CaptureFixture[str]) -> None:
    """ASTRA's objects live until they are deleted: its lists are those of before."""
    gc.collect()

    def lists() -> str:
        for module in (astra.projector, astra.matrix, astra.data2d):
            module.info()
        return capfd.readouterr().out

    before = lists()
    assert from_astra(geometry("parallel"), volume())(torch.ones(ROWS, COLUMNS)).sum() > 0
    assert lists() == before
    functions = from_astra(geometry("parallel"), volume(), matrix=False)
    assert functions(torch.ones(ROWS, COLUMNS)).sum() > 0
    assert lists() != before
    del functions
    gc.collect()
    assert lists() == before


@pytest.mark.parametrize("matrix", [True, False])
def test_a_certified_reconstruction(matrix: bool) -> None:
    angles = np.linspace(0, np.pi, 24, endpoint=False)
    operator = from_astra(astra.create_proj_geom("parallel", 1.0, 23, angles), volume(16, 16), matrix=matrix)
    assert_is_solved(operator, disc(), psnr=30, noise=0.01, single=not matrix)


def test_what_is_refused() -> None:
    parallel, cone = geometry("parallel"), astra.create_proj_geom("cone", 1.0, 1.0, 4, 17, ANGLES, 40, 20)
    with pytest.raises(BadInput, match=r"two dimensions.*CUDA.*mbirtorch"):
        from_astra(cone, astra.create_vol_geom(ROWS, COLUMNS, 4))
    with pytest.raises(BadInput, match="two dimensions"):
        from_astra(cone, volume())
    with pytest.raises(BadInput, match="not their adjoints"):
        from_astra(parallel, volume(), "cuda")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="strip, linear or line"):
        from_astra(parallel, volume(), "joseph")  # pyright: ignore[reportArgumentType]
    for projection, image in ((volume(), parallel), ({}, volume()), (parallel, {})):
        with pytest.raises(BadInput, match="in this order"):
            from_astra(projection, image)
    with pytest.raises(BadInput, match="geometry of ASTRA"):
        from_astra(np.eye(3), volume())  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="'linear' of ASTRA for 'fanflat'"):
        from_astra(geometry("fanflat"), volume(), "linear")
    with pytest.raises(BadInput, match="an error"):
        from_astra(astra.create_proj_geom("parallel", 1.0, 5, ANGLES * np.nan), volume())
    with pytest.raises(BadInput, match="matrix=False alone"):
        from_astra(parallel, volume(), norm=3.0)


def test_the_example_runs() -> None:
    assert_example_runs("ASTRA")

"""The parts of an error: they add up, are verified, and say where the error of the hard family comes from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from firenet import AdaptiveRestarts, BadInput, Firenet, Matrix
from firenet.budget import Part, dense_budget, distance, image_budget, unavoidable
from firenet.cli.app import app
from firenet.paper.error_sources import hard_family
from firenet.scans.budget import scan_budget
from firenet.scans.source import Source
from firenet.solver import FixedSteps


def problem(seed: int, *, cplx: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    A = (random.standard_normal((8, 14)) + (1j * random.standard_normal((8, 14)) if cplx else 0)) / 8**0.5
    x = np.zeros(14, dtype=A.dtype)
    x[:2] = (1, -2)
    return A, x, A @ x + 0.2 * random.standard_normal(8)


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_parts_enclose_what_a_tight_solution_shows(seed: int, cplx: bool) -> None:
    A, x, y = problem(seed, cplx=cplx)
    lam = 0.8 if cplx else 0.4  # complex data that are fitted exactly get a box only
    net = Firenet(Matrix(A), lam=lam)
    best = net.following(AdaptiveRestarts(1e-10, 5000)).solve(torch.from_numpy(y)).coefficients.numpy()
    z = net.following(FixedSteps(30)).solve(torch.from_numpy(y)).coefficients.numpy()
    found = dense_budget(A, y, lam, x, z, bits=40)
    computation, moved, model = found.parts
    assert found.error == pytest.approx(float(np.linalg.norm(z - x)), rel=1e-14)
    assert found.total >= found.error
    for part, value in ((computation, np.linalg.norm(z - best)), (model, np.linalg.norm(x - best))):
        # A point within 1e-10 of optimal is within some 1e-5 of the minimiser.
        assert part.lower - 1e-4 <= value <= part.upper + 1e-4
        assert part.upper - part.lower < 1e-6
    assert 0 < moved.lower <= moved.upper < 1e-6


def test_the_hard_family_is_all_inexact_input() -> None:
    found = hard_family()
    computation, moved, model = found.parts
    assert moved.lower > 0.999 * found.error
    assert max(computation.upper, model.upper) < 1e-10 * found.error
    assert "inexact input" in found.statement


def test_an_image_is_divided_by_a_reference_point() -> None:
    A, x, y = problem(5)
    net = Firenet(Matrix(A), lam=0.4)
    z = net.following(FixedSteps(30)).solve(torch.from_numpy(y)).image
    known = Part("information", 0.1, math.inf, "verified", "told")
    found = image_budget(net, torch.from_numpy(y), torch.from_numpy(x), z, information=known)
    exact = dense_budget(A, y, 0.4, x, z.numpy())
    assert found.parts[0].upper == pytest.approx(exact.parts[0].upper, rel=1e-2)
    assert [(p.name, p.lower, p.upper) for p in found.parts[1:2]] == [("inexact input", 0, 0)]
    assert found.parts[2].lower == found.parts[2].upper == pytest.approx(exact.parts[2].upper, rel=1e-2)
    assert found.total >= found.error
    json.dumps(found.record(), allow_nan=False)
    with pytest.raises(BadInput, match="image of shape"):
        image_budget(net, torch.from_numpy(y), torch.zeros(3), z)


def test_distances_are_exact_on_both_sides() -> None:
    low, high = distance([3.0, 0.0], [0.0, 4.0])
    assert low == high == 5
    low, high = distance([1.0], [1j])
    assert low**2 < 2 < high**2


def test_a_scan_has_one_image_that_is_not_empty(scan: Path) -> None:
    data, image = Source(scan).read(), np.zeros((64, 64))
    empty = replace(data.images[0], empty=True)
    for images, said in (([empty], "Got an empty image"), ([data.images[0], empty], "Got 2 images")):
        with pytest.raises(BadInput, match=said):
            scan_budget(replace(data, images=images), image, image)


def test_mistakes() -> None:
    with pytest.raises(BadInput, match="m rows"):
        dense_budget([1, 2], [1], 1, [1, 2], [1, 2])
    with pytest.raises(BadInput, match="unequal lengths"):
        dense_budget([[1, 2], [3]], [1, 2], 1, [1, 2], [1, 2])
    with pytest.raises(BadInput, match="of shape"):
        dense_budget([[1, 2]], [1], 1, [1], [1, 2])
    with pytest.raises(BadInput, match="A finite truth"):
        dense_budget([[1, 2]], [1], "1/2", [1, math.nan], [1, 2])
    assert dense_budget([[1, 2]], [1], "1/2", [1, 2], [1, 2]).statement == "There is no error."


def test_the_command(tmp_path: Path) -> None:
    A, x, y = problem(1)
    for name, array in (("A", A), ("y", y), ("x", x), ("z", x + 0.1)):
        np.save(tmp_path / f"{name}.npy", array)
    names = [str(tmp_path / f"{n}.npy") for n in ("x", "z")]
    given = ["--matrix", str(tmp_path / "A.npy"), "--data", str(tmp_path / "y.npy"), "--lam", "2/5"]
    run = CliRunner().invoke(app, ["budget", *names, *given])
    assert run.exit_code == 0, run.output
    assert "the part with the largest bound is" in run.output
    pair = tmp_path / "pair.npz"
    options = ["--sparsities", "2", "--bound", "2", "--noise", "0.1", "-o", str(pair)]
    run = CliRunner().invoke(app, ["confuse", str(tmp_path / "A.npy"), *options])
    assert run.exit_code == 0, run.output
    certificate = next(tmp_path.glob("pair*.json"))
    record = json.loads(
        CliRunner().invoke(app, ["budget", *names, *given, "--pair", str(certificate), "--json"]).output
    )
    assert record["information"]["lower"] > 0
    assert record["total"] >= record["error"]
    certificate.write_text(certificate.read_text().replace("1", "2", 1))
    run = CliRunner().invoke(app, ["budget", *names, *given, "--pair", str(certificate)])
    assert run.exit_code == 2
    run = CliRunner().invoke(app, ["budget", *names, *given, "--pair", str(pair)])  # the pair, not its certificate
    assert (run.exit_code, "A certificate that the checker accepts" in run.output) == (2, True)
    matrix, data = given[:2], given[2:4]
    for options, said in (
        ([], "none of them"),
        (matrix, "got:    --matrix\n"),
        ([*matrix, "--scan", names[0]], "--matrix and --scan"),
        ([*matrix, *data, "--scan", names[0]], "--matrix and --data and --scan"),
        (["--scan", names[0], "--bits", "4", "--problem", "P1"], "--bits and --problem"),
        ([*given, "--sparsify", "tv"], "got:    --sparsify\n"),
    ):
        run = CliRunner().invoke(app, ["budget", *names, *options])
        assert run.exit_code == 2
        assert said in run.output


def test_what_no_method_avoids_is_half_the_distance() -> None:
    assert unavoidable(3.0, 0.1).lower == 1.5

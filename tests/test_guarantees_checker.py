"""The checker of null space certificates: it stands alone, finds every edit, and accepts no false claim."""

from __future__ import annotations

import ast
import copy
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firenet.guarantees import NullSpaceProof, checker, prove_null_space, refute_null_space
from firenet.sparsity import SparsityLevels
from null_space_cases import gaussian, proved

FILE = Path(str(checker.__file__))


def certificate(claim: str = "holds") -> dict[str, Any]:
    levels = SparsityLevels((3, 5), (1, 1))
    if claim == "holds":
        proof = prove_null_space(gaussian(0, 7, 8, is_complex=True), levels)
        assert isinstance(proof, NullSpaceProof)
        return proof.certificate()
    violation = refute_null_space(gaussian(0, 3, 8, is_complex=True), levels, 0.5, 1.0)
    assert violation is not None
    return violation.certificate()


HOLDS, FAILS = certificate(), certificate("fails")
both = pytest.mark.parametrize("data", [HOLDS, FAILS], ids=["holds", "fails"])


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """The certificate with digests of what it now says, as a forger would write it."""
    data = data | {"matrix_sha256": checker.sha256(data["matrix"])}
    return data | {"sha256": checker.sha256({k: v for k, v in data.items() if k != "sha256"})}


def edited(data: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to(at[path[-1]]) if callable(to) else to
    return changed


def refused(data: Any) -> str:
    with pytest.raises(checker.Refused) as error:
        checker.check(data)
    return str(error.value)


def no_certificate(data: Any) -> str:
    with pytest.raises(checker.NotACertificate) as error:
        checker.check(data)
    return str(error.value)


@both
def test_it_accepts_what_the_library_writes(data: dict[str, Any]) -> None:
    digest, said = checker.check(checker.parse(json.dumps(data)))
    assert digest == data["matrix_sha256"]
    assert ("has no weighted" in said) == (data is FAILS)
    assert sealed(data) == data


@both
def test_every_edited_digit_is_found(data: dict[str, Any]) -> None:
    text, chosen = json.dumps(data), random.Random(0)
    places = [at.start() for at in re.finditer(r"[0-9]", text)]
    for at in chosen.sample(places, 100):
        digit = chosen.choice([d for d in "0123456789" if d != text[at]])
        with pytest.raises((checker.Refused, checker.NotACertificate)):
            checker.check(checker.parse(text[:at] + digit + text[at + 1 :]))


def test_an_edit_with_new_digests_is_found_or_the_claim_is_still_true() -> None:
    """A forger may write the digests anew; then the claim has to be true, which fractions and all supports confirm."""
    text, chosen, kept, found = json.dumps(HOLDS), random.Random(1), 0, 0
    places = [at.start() for at in re.finditer(r"[0-9]", text[: text.index('"sha256"')])]
    for at in chosen.sample(places, 40):
        digit = chosen.choice([d for d in "0123456789" if d != text[at]])
        try:
            data = sealed(checker.parse(text[:at] + digit + text[at + 1 :]))
            checker.check(data)
        except (checker.Refused, checker.NotACertificate):
            found += 1
            continue
        kept += 1
        product, b, _ = proved(data)
        rho, gamma = (float(checker.rational(data[k], k)) for k in ("rho", "gamma"))
        assert product * (1 + rho) <= rho * (1 + 1e-12)
        assert b * (1 + rho) <= gamma * (1 + 1e-12)
    assert min(found, kept) > 2  # both happen


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("rho",), "1/1000", "rho: a sqrt"),
        (("rho",), "1", "0 < rho < 1"),
        (("rho",), "0", "0 < rho < 1"),
        (("gamma",), "1/1000", "gamma: b is"),
        (("gamma",), "0", "gamma > 0"),
        (("rho",), None, "has rho and gamma"),
        (("gamma",), None, "has rho and gamma"),
        (("rho",), "-1/2", "p/q"),
        (("rho",), "1/0", "p/q"),
        (("rho",), "1e-1", "p/q"),
        (("levels", "sparsities", 0), 4, "at most the size"),
        (("levels", "sparsities", 0), 2, "rho: a sqrt"),
        (("levels", "sparsities", 0), 0, "at most the size"),
        (("levels", "sizes", 0), 4, "together 8 columns"),
        (("levels", "weights", 0), "0", "weights"),
        (("levels", "weights", 0), "1/100", "rho: a sqrt"),
        (("vectors", 0, "real", 0), 10**40, "rho: a sqrt"),
        (("vectors", 0, "exponent"), 9, "rho: a sqrt"),
        (("vectors", 0, "exponent"), 10**6, "exponent"),
        (("matrix", "real", 0, 0), 10**40, "rho: a sqrt"),
        (("matrix", "exponent"), 3, "rho: a sqrt"),
        (("matrix", "rows"), 0, "rows"),
        (("matrix", "columns"), 3000, "columns"),
    ],
)
def test_forged_claims_are_refused_with_the_reason(path: tuple[Any, ...], to: Any, said: str) -> None:
    assert said in refused(sealed(edited(HOLDS, *path, to=to)))


def by_hand() -> dict[str, Any]:
    """A = I and x = (2, 1) with rho = 1/4, gamma = 1/2: 2 > 1/4 + 5^(1/2) / 2 = 1.37."""
    matrix = {"rows": 2, "columns": 2, "exponent": 0, "real": [[1, 0], [0, 1]], "imaginary": None}
    data = {"format": checker.FORMAT, "version": 1, "claim": "fails", "matrix": matrix, "rho": "1/4", "gamma": "1/2"}
    data |= {"levels": {"sizes": [2], "sparsities": [1], "weights": ["1"]}}
    return sealed(data | {"vectors": [{"exponent": 0, "real": [2, 1]}]})


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("rho",), "9/10", "violates nothing"),
        (("rho",), None, "violates nothing"),
        (("gamma",), "9/10", "violates nothing"),
        (("gamma",), None, "Ax is not zero"),
        (("vectors", 0, "real"), [0, 0], "x is zero"),
        (("vectors",), [], "1 vectors"),
        (("matrix", "real", 0, 0), 2, "violates nothing"),
        (("matrix", "exponent"), 1, "violates nothing"),
    ],
)
def test_forged_violations_are_refused_with_the_reason(path: tuple[Any, ...], to: Any, said: str) -> None:
    assert "rho = 0.25 and gamma = 0.5" in checker.check(by_hand())[1]
    with pytest.raises((checker.Refused, checker.NotACertificate), match=said):
        checker.check(sealed(edited(by_hand(), *path, to=to)))


@pytest.mark.parametrize("exponents", [(0, 0), (-2, 2), (3, -3), (3, 2)])
def test_units_of_the_matrix_and_of_a_violation(exponents: tuple[int, int]) -> None:
    """A = ((1, i), (1, 1)), x = (2, i): Ax = (1, 2 + i), so that gamma up to (2 - rho) / 6^(1/2) = 0.714 fails; the
    unit of x does not matter."""
    matrix = {
        "rows": 2,
        "columns": 2,
        "exponent": exponents[0],
        "real": [[1, 0], [1, 1]],
        "imaginary": [[0, 1], [0, 0]],
    }
    x = {"exponent": exponents[1], "real": [2, 0], "imaginary": [0, 1]}
    data = by_hand() | {"matrix": matrix, "vectors": [x]}
    unit = checker.power(-exponents[0])
    assert "no weighted null space" in checker.check(sealed(data | {"gamma": str(checker.Fraction(71, 100) * unit)}))[1]
    assert "violates nothing" in refused(sealed(data | {"gamma": str(checker.Fraction(72, 100) * unit)}))


def test_the_zero_vector_violates_nothing() -> None:
    zero = {"exponent": 0, "real": [0] * 8, "imaginary": [0] * 8}
    for rho, gamma in (("1/2", "1"), (None, None)):
        assert "x is zero" in refused(sealed(FAILS | {"rho": rho, "gamma": gamma, "vectors": [zero]}))


NO_CERTIFICATES: list[Any] = [
    None,
    [],
    {},
    {"format": checker.FORMAT, "version": True},
    {"format": checker.FORMAT, "version": 2},
    HOLDS | {"more": 1},
    {k: v for k, v in HOLDS.items() if k != "rho"},
    edited(HOLDS, "matrix", to=[]),
    edited(HOLDS, "matrix", "real", to=lambda rows: rows[1:]),
    edited(HOLDS, "matrix", "real", 0, to=lambda row: row[1:]),
    edited(HOLDS, "matrix", "real", 0, 0, to=True),
    edited(HOLDS, "matrix", "real", 0, 0, to="1"),
    edited(HOLDS, "matrix", "rows", to=1.5),
    sealed(edited(HOLDS, "claim", to="may hold")),
    sealed(edited(HOLDS, "vectors", to=lambda v: v[1:])),
    sealed(edited(HOLDS, "vectors", 0, to=[])),
    sealed(edited(HOLDS, "rho", to=0)),
    sealed(edited(HOLDS, "levels", "sizes", to=[8])),
    sealed(edited(HOLDS, "levels", to=[])),
]


@pytest.mark.parametrize("data", NO_CERTIFICATES, ids=range(len(NO_CERTIFICATES)))
def test_what_is_no_certificate_is_said_to_be_none(data: Any) -> None:
    assert no_certificate(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"format": 1.5}',
        '{"format": NaN}',
        '{"format": Infinity}',
        '{"a": 1, "a": 1}',
        "9" * 5000,
        '{"a": {"b": 1e999}}',
        "\0",
    ],
)
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(checker.NotACertificate):
        checker.check(checker.parse(text))


def test_it_stands_alone(tmp_path: Path) -> None:
    """It is run without the package, by an interpreter that finds nothing but the standard library."""
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, float)]

    copied, file = tmp_path / "checker.py", tmp_path / "certificate.json"
    copied.write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-I", "-S", str(copied), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    file.write_text(json.dumps(HOLDS), encoding="utf-8")
    code, out, _ = run(str(file), "--matrix-sha256")
    assert (code, HOLDS["matrix_sha256"] in out) == (0, True)
    assert run(str(file))[1].startswith("accepted: the matrix has the weighted null space property")
    file.write_text(json.dumps(sealed(edited(HOLDS, "rho", to="1/1000"))), encoding="utf-8")
    code, out, error = run(str(file))
    assert (code, out, error.startswith("refused: rho")) == (1, "", True)
    file.write_text("{}", encoding="utf-8")
    for arguments in ((str(file),), (str(tmp_path / "none"),), (str(tmp_path),), (), (str(file), "--more")):
        code, out, error = run(*arguments)
        assert (code, out, error.startswith("not a certificate")) == (2, "", True), error
    assert "usage: python checker.py FILE.json" in run()[2]
    file.write_bytes(b"\xff\xfe\x00")
    assert run(str(file))[0] == 2


def test_tiny_certificates_that_can_be_read_by_eye() -> None:
    """A = (2 1), s = 1: the kernel is spanned by (1, -2), so that every rho below 1 fails."""
    kernel = {"rows": 1, "columns": 2, "exponent": 0, "real": [[2, 1]], "imaginary": None}
    data = by_hand() | {"matrix": kernel, "rho": None, "gamma": None, "vectors": [{"exponent": 0, "real": [1, -2]}]}
    assert checker.check(sealed(data))[1].endswith("with any rho and any gamma")
    # A = I, h_i = e_i proves rho = 0 and gamma = 1, and so every larger rho for gamma = 1 + rho.
    units = [{"exponent": 0, "real": [1, 0]}, {"exponent": 0, "real": [0, 1]}]
    data = by_hand() | {"claim": "holds", "rho": "1/100", "gamma": "101/100", "vectors": units}
    assert "rho = 0.01 and gamma = 1.01" in checker.check(sealed(data))[1]
    assert "gamma" in refused(sealed(data | {"gamma": "100999/100000"}))

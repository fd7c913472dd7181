"""The house: which module may know which, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import firenet

SOURCE = Path(firenet.__file__).parent

# Lowest first, as docs/architecture.md draws it. A module imports only from lines before its own.
ORDER = [
    {"errors"},
    {"safely"},
    {"formats", "numerics", "archives"},
    {"io", "gap", "sealed"},
    {"operators", "levels", "files", "barriers"},
    {"transforms", "restarts", "espirit", "check"},
    {"sensing", "problems", "frames", "guarantee", "differences"},
    {"layer", "evidence", "ascent"},
    {"search", "analysis", "real", "survey"},
    {"sampling", "network", "certificate", "attack", "meaning"},
    {"reweighting", "export", "baselines", "stabilised", "outside"},
    {"recon", "specimens", "tensors"},
    {"selection", "demo", "training"},
    {"gallery", "terminal", "models"},
    {"audit"},
    {"report", "showcase"},
    {"paper"},
    {"cli_barriers", "cli_audit", "scans"},
    {"cli_train"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
PACKAGES = ["audit", "barriers", "io", "paper"]
MODULES = sorted([*PACKAGES, *(p.stem for p in SOURCE.glob("*.py") if p.stem != "__init__")])
FILES = {"formats", "io", "files"}
WITHOUT_TORCH = [
    "errors",
    "safely",
    "archives",
    "sealed",
    "levels",
    *sorted(FILES),
    "guarantee",
    "barriers",
    "terminal",
    "scans",
    "cli",
]


def imports(source: str) -> set[str]:
    """The modules of firenet that a module imports anywhere: at its top, in a function, for type checking only.

    >>> sorted(imports("from firenet import sampling, Matrix; import firenet.files as f; from . import network"))
    ['files', 'network', 'operators', 'sampling']
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("firenet.")]
            found |= {name.split(".")[1] for name in names}
        elif isinstance(node, ast.ImportFrom):
            parts = ["firenet"] * (node.level > 0) + (node.module.split(".") if node.module else [])
            if parts[0] == "firenet" and len(parts) > 1:
                found.add(parts[1])
            elif parts == ["firenet"]:
                for alias in node.names:
                    home = firenet._MODULE.get(alias.name, alias.name)
                    found |= {home} & set(MODULES)
    return found


def sources(name: str) -> list[Path]:
    """The files of a module or package."""
    return sorted((SOURCE / name).glob("*.py")) if name in PACKAGES else [SOURCE / f"{name}.py"]


KNOWS = {
    name: set[str]().union(*(imports(p.read_text(encoding="utf-8")) for p in sources(name))) - {name}
    for name in MODULES
}


def test_every_module_has_its_place() -> None:
    assert set(MODULES) == set(RANK)
    assert not [p for p in SOURCE.iterdir() if p.is_dir() and p.name not in ("data", "__pycache__", *PACKAGES)]


def test_the_document_draws_the_same_house() -> None:
    document = SOURCE.parent.parent / "docs" / "architecture.md"
    if not document.exists():
        pytest.skip("an installed package has no docs")
    drawn = {}
    for line in document.read_text(encoding="utf-8").splitlines():
        fields = re.split(r"\s{2,}", line.strip())  # number, names, what they are for
        if fields[0].isdigit() and len(fields) > 2:
            drawn[int(fields[0])] = set(" ".join(fields[1:-1]).split())
    assert [drawn[k] for k in sorted(drawn)] == ORDER


def test_the_reader_of_imports_reads() -> None:
    assert KNOWS["transforms"] == {"errors", "operators"}
    assert {"recon", "files"} <= KNOWS["cli"]  # inside functions


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    up = {other for other in KNOWS[name] if RANK[other] >= RANK[name]}
    assert not up, f"{name} imports {sorted(up)}, which are not below it"


def test_the_barriers_know_nobody_and_the_checker_not_even_them() -> None:
    assert KNOWS["barriers"] == set()
    allowed = {"__future__", *sys.stdlib_module_names}
    for path in sources("barriers"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        found |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert found <= allowed | ({"firenet"} if path.stem != "witness" else set())
    assert len((SOURCE / "barriers" / "witness.py").read_text(encoding="utf-8").splitlines()) < 200


def test_no_float_decides_about_a_barrier() -> None:
    """No decimal literal, no call of float, nothing of math but whole numbers."""
    for path in sources("barriers"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), path
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("float", "complex")), path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "math":
                assert node.attr in ("comb", "prod", "isqrt"), path
            if isinstance(node, ast.ImportFrom) and node.module == "math":
                assert {a.name for a in node.names} <= {"isqrt", "lcm"}, path


def test_few_know_the_network() -> None:
    assert {name for name in MODULES if "network" in KNOWS[name]} <= {
        "reweighting",
        "recon",
        "selection",
        "export",
        "demo",
        "gallery",
        "stabilised",
        "models",
        "scans",
        "cli",
    }


def test_attacks_and_audits_know_no_network() -> None:
    for name in ("attack", "meaning", "audit", "report"):
        assert not KNOWS[name] & {"network", "stabilised", "baselines"}


def test_files_and_mathematics_do_not_know_each_other() -> None:
    for name in MODULES:
        if name in FILES:
            assert KNOWS[name] <= FILES | {"errors", "safely"}
        elif RANK[name] < RANK["recon"]:
            assert not KNOWS[name] & FILES


def test_no_module_without_a_subject() -> None:
    assert not {"utils", "util", "common", "helpers", "base", "misc", "core"} & set(MODULES)


def package() -> tuple[list[ast.ImportFrom | ast.Import], list[ast.ImportFrom]]:
    """The imports of ``firenet/__init__``: those that run, and those for type checkers only."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    typed = [
        inner
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in node.body
        if isinstance(inner, ast.ImportFrom)
    ]
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [node for node in nodes if node not in typed], typed


def test_the_package_imports_nothing_when_it_runs() -> None:
    found = set()
    for node in package()[0]:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        else:
            assert node.level == 0
            found.add((node.module or "").split(".")[0])
    assert found <= {"__future__", "importlib", "typing"}


def test_type_checkers_see_the_names_that_are_there() -> None:
    seen = {(node.module or "").removeprefix("firenet."): {a.name for a in node.names} for node in package()[1]}
    assert seen == {module: set(names) for module, names in firenet._HOME.items()}
    assert set(firenet.__all__) == set(firenet._MODULE) | {"__version__"}
    assert set(dir(firenet)) >= set(firenet.__all__)


@pytest.mark.parametrize("module", ["firenet", *(f"firenet.{name}" for name in WITHOUT_TORCH)])
def test_import_without_torch(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'pywt', 'matplotlib', 'h5py'}} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("module", sorted(firenet._HOME))
def test_every_public_name_is_at_home(module: str) -> None:
    home = importlib.import_module(f"firenet.{module}")
    for name in firenet._HOME[module]:
        public = getattr(firenet, name)
        assert public is getattr(home, name)
        assert getattr(public, "__module__", home.__name__) == home.__name__
        assert public.__doc__


def test_a_public_name_has_one_home() -> None:
    names = [name for names in firenet._HOME.values() for name in names]
    assert len(names) == len(set(names))
    assert set(firenet._HOME) <= set(MODULES)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match=r"firenet.*no attribute 'Nothing'"):
        _ = firenet.Nothing
    assert not hasattr(firenet, "torch")


def test_version_is_that_of_the_package() -> None:
    assert isinstance(firenet.__version__, str)
    project = SOURCE.parent.parent / "pyproject.toml"
    if project.exists():  # not beside an installed package
        assert tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] == firenet.__version__

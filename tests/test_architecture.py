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
from firenet.optional import lazy

SOURCE = Path(firenet.__file__).parent
DOCUMENT = SOURCE.parent.parent / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}
PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
# These load neither torch nor another large library.
LIGHT = [
    "errors",
    "optional",
    "sparsity",
    "guarantees.constants",
    "barriers",
    "io.files",
    "io.sealed",
    "cli.app",
    *PACKAGES,
]


def read_house() -> tuple[dict[str, int], dict[str, list[str]]]:
    """Returns from the first block of the document the line of every department, and the files of every package."""
    block = DOCUMENT.read_text(encoding="utf-8").split("```")[1]
    line, package = 0, ""
    lines: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    for text in block.splitlines():
        head, words = text[:20].split(), text[20:].split()
        if head and head[0].isdigit():
            line = int(head.pop(0))
        if head:
            package = head[0].removesuffix("/")
            lines[package] = line
        if words:
            files.setdefault(package, []).extend(words)
    return lines, files


HOUSE, FILES = read_house() if DOCUMENT.exists() else ({}, {})


def place(module: str) -> tuple[int, int]:
    """Returns where a module is: its line, and its place among the files of its package, the first being the highest.

    A package itself is above its files, and so is what runs it.
    """
    package, _, file = module.partition(".")
    files = FILES.get(package, [])
    return HOUSE[package], len(files) - files.index(file) if file in files else len(files) + 1


def imports(module: str, *, typed: bool) -> set[str]:
    """Returns the modules of firenet that a module imports, at its top or in a function; with ``typed`` also those for
    type checkers alone."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    unused = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unused and not typed:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("firenet.") for a in node.names if a.name.startswith("firenet.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "firenet":
            assert node.module is not None
            home = node.module.removeprefix("firenet").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".removeprefix(".")
                found.add(inner if inner in MODULES else listed(home).get(alias.name, home))
    return found - {""}


def listed(package: str) -> dict[str, str]:
    """Returns the public names of a package, "" for firenet itself, each with the module that it is from."""
    stub = SOURCE / package / "__init__.pyi"
    if package not in ("", *PACKAGES) or not stub.exists():
        return {}
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        a.name: (node.module or "").removeprefix("firenet").removeprefix(".") or a.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for a in node.names
    }


KNOWS = {module: imports(module, typed=False) for module in MODULES}


def reaches(*modules: str) -> set[str]:
    """Returns all that is imported by these, and by what they import, whenever it is."""
    found, todo = set[str](), list(modules)
    while todo:
        for other in KNOWS[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


def inside(package: str) -> list[str]:
    return [module for module in MODULES if module.split(".")[0] == package]


drawn = pytest.mark.skipif(not DOCUMENT.exists(), reason="an installed package has no docs")


@drawn
def test_every_module_has_its_place() -> None:
    assert {module.split(".")[0] for module in MODULES} == set(HOUSE)
    for package in PACKAGES:
        there = {module.partition(".")[2] for module in inside(package)} - {"", "__main__"}
        assert there == set(FILES.get(package, [])), package


# The methods of LinearOperator that make operators, such as A + B, import their classes when they are called.
MAKES = {"operators.linear": {"operators.algebra", "operators.functions"}}


@drawn
@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    here = place(module)
    for other in imports(module, typed=True):
        there = place(other)
        if other.split(".")[0] != module.split(".")[0]:
            assert there[0] < here[0], f"{module} imports {other}, which is not below it"
        elif other in KNOWS[module] - MAKES.get(module, set()):
            assert there < here or module == other, f"{module} imports {other}, which is not below it in its package"


def test_the_reader_of_imports_reads() -> None:
    assert {"errors", "operators.linear"} <= KNOWS["transforms.analysis_operator"]
    assert "io.files" in KNOWS["cli.recon"]  # inside a function
    assert "reconstruction.prepared" in imports("cli.scans", typed=True) - KNOWS["cli.scans"]
    assert imports("models.audit_demo", typed=False) >= {"audit.records", "audit.run"}  # by names of the package
    assert "numerics" in reaches("network")


def test_the_barriers_know_nobody_and_the_checker_not_even_them() -> None:
    assert {name.split(".")[0] for name in reaches(*inside("barriers"))} == {"barriers"}
    allowed = {"__future__", *sys.stdlib_module_names}
    for module in inside("barriers"):
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        found = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        found |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert found <= allowed | ({"firenet"} if module != "barriers.witness" else set())
    assert len(MODULES["barriers.witness"].read_text(encoding="utf-8").splitlines()) < 200


def test_no_float_decides_about_a_barrier() -> None:
    """No decimal literal, no call of float, nothing of math but whole numbers."""
    for module in inside("barriers"):
        path = MODULES[module]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), path
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("float", "complex")), path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "math":
                assert node.attr in ("comb", "prod", "isqrt"), path
            if isinstance(node, ast.ImportFrom) and node.module == "math":
                assert {a.name for a in node.names} <= {"isqrt", "lcm"}, path


def test_what_an_audit_reaches_has_no_network() -> None:
    """Whatever is imported, and whenever: what is certified about a model is a field that the model brings."""
    forbidden = {"network", "nets", "solver", "certificate", "stabilised", "models", "mri", "cli"}
    assert not {name for name in reaches(*inside("audit")) if name.split(".")[0] in forbidden}


def test_the_network_and_the_certificate_do_not_know_each_other() -> None:
    assert "certificate" not in reaches("network")
    assert "network" not in reaches("certificate")


def test_files_and_mathematics_do_not_know_each_other() -> None:
    scans = [module for module in inside("io") if module != "io.tensors"]  # weights are tensors
    assert {name.split(".")[0] for name in reaches(*scans)} <= {"io", "errors", "optional"}
    assert "io.tensors" not in reaches(*scans)
    mathematics = ("numerics", "operators", "sparsity", "transforms", "sensing", "problems", "guarantees", "solver")
    for department in (*mathematics, "network", "certificate", "reweighting", "stabilised", "theorem"):
        assert not {name for name in reaches(*inside(department)) if name.split(".")[0] == "io"}, department


def test_no_module_without_a_subject() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert not {"utils", "util", "common", "helpers", "base", "misc", "core"} & names


def run(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.parametrize("module", ["firenet", *(f"firenet.{name}" for name in sorted(set(LIGHT)))])
def test_import_without_torch(module: str) -> None:
    assert (
        run(f"import sys, {module}; print(*sorted({{'torch', 'pywt', 'matplotlib', 'h5py'}} & set(sys.modules)))") == ""
    )


def test_an_audit_loads_neither_network_nor_training() -> None:
    loaded = run(
        "import sys; from firenet.audit import *; print(*(m for m in sys.modules if m.startswith('firenet.')))"
    )
    assert "firenet.audit.run" in loaded
    assert not re.search(r"firenet\.(network|nets|solver|models|mri)\b", loaded)


# --- public names -----------------------------------------------------------------------------------------------------

LAZY = [package for package in PACKAGES if (SOURCE / package / "__init__.pyi").exists()]


@pytest.mark.parametrize("package", ["", *LAZY])
def test_public_names_are_listed_once_and_are_there(package: str) -> None:
    """The stub is the list; what is in it exists, says what it is, and is from where the stub says."""
    loaded = importlib.import_module(f"firenet.{package}".removesuffix("."))
    names = listed(package)
    stub = ast.parse((SOURCE / package / "__init__.pyi").read_text(encoding="utf-8"))
    aliases = [a for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert len(aliases) == len(names) == len({a.asname for a in aliases})
    assert all(a.name == a.asname for a in aliases)
    assert loaded.__all__ == sorted(names) == dir(loaded)
    assert len(names) <= (45 if package == "" else 15)
    if package:  # a file that is imported would take the place of the name
        assert not set(names) & set(FILES.get(package, []))
    for name, home in names.items():
        public = getattr(loaded, name)
        assert public.__doc__
        if home != name:
            module = importlib.import_module(f"firenet.{home}")
            assert public is getattr(module, name)
            assert getattr(public, "__module__", module.__name__) == module.__name__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match=r"firenet.*no attribute 'Nothing'"):
        _ = firenet.Nothing  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(firenet, "torch")


def test_a_stub_is_all_that_a_package_needs(tmp_path: Path) -> None:
    (tmp_path / "__init__.pyi").write_text("from math import pi as pi\n", encoding="utf-8")
    load, names, public = lazy("shelf", str(tmp_path / "__init__.py"))
    assert (load("pi"), names(), public) == (pytest.approx(3.14159, abs=1e-5), ["pi"], ["pi"])
    with pytest.raises(AttributeError, match="shelf"):
        load("tau")


def test_version_is_that_of_the_package() -> None:
    assert isinstance(firenet.__version__, str)
    project = SOURCE.parent.parent / "pyproject.toml"
    if project.exists():  # not beside an installed package
        assert tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] == firenet.__version__

"""Writes the sources of the reference: the public names, found where the packages list them, by department.

A public name is one in the ``__all__`` of firenet or of a package of it. Its department is the module or package below
firenet that it comes from; the sentence below its heading is the first one of that module's docstring. So nothing here
has to change when a module is moved, renamed or split.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

OPENING = """\
Reference
=========

Every public name, by the part of the library that it comes from, each with a page of its own. Names that stand directly
below ``firenet`` are imported from there: ``from firenet import Firenet``.
"""

TABLE = """\
.. autosummary::
   :toctree: .
   :nosignatures:

"""


def packages(package: ModuleType) -> Iterator[ModuleType]:
    """Yields the package and every package below it that lists its public names."""
    if hasattr(package, "__all__"):
        yield package
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.ispkg and not found.name.rpartition(".")[2].startswith("_"):
            yield from packages(importlib.import_module(found.name))


def public_names(package: ModuleType) -> dict[str, Any]:
    """Returns the public objects by the shortest name under which each can be imported."""
    names: dict[str, Any] = {}
    seen: list[Any] = []
    for home in packages(package):
        for name in home.__all__:
            thing = getattr(home, name)
            if name.startswith("_") or inspect.ismodule(thing) or any(thing is other for other in seen):
                continue
            seen.append(thing)
            names[f"{home.__name__}.{name}"] = thing
    return names


def department(package: ModuleType, name: str, thing: Any) -> str:
    """Returns the module or package directly below ``package`` that a public object comes from."""
    home = getattr(thing, "__module__", None) or name.rpartition(".")[0]
    if not home.startswith(f"{package.__name__}."):  # a constant: it knows no home
        home = name.rpartition(".")[0]
    return ".".join(home.split(".")[:2])


def summary(module: ModuleType) -> str:
    """Returns the first sentence of the module's docstring."""
    first = " ".join((inspect.getdoc(module) or module.__name__).partition("\n\n")[0].split())
    return re.split(r"(?<=[.?])\s+(?=[A-Z])", first)[0]


def has_page(thing: Any) -> bool:
    """Tells classes and functions from constants and type aliases, which have no docstring of their own."""
    return inspect.isclass(thing) or inspect.isroutine(thing)


def write(package: ModuleType, folder: Path) -> None:
    """Writes ``index.rst`` into the folder, a section a department; autosummary makes the page of each name."""
    departments: dict[str, list[str]] = defaultdict(list)
    names = public_names(package)
    for name, thing in names.items():
        departments[department(package, name, thing)].append(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = [OPENING]
    for home in sorted(departments):
        title = home.rpartition(".")[2]
        described = [name for name in departments[home] if has_page(names[name])]
        others = [f"``{name}``" for name in departments[home] if name not in described]
        parts.append(f"{title}\n{'-' * len(title)}\n\n{summary(importlib.import_module(home))}\n")
        if described:
            parts.append(TABLE + "".join(f"   {name}\n" for name in described))
        if others:
            parts.append(f"Constants and type aliases: {', '.join(others)}.\n")
    (folder / "index.rst").write_text("\n".join(parts), encoding="utf-8")

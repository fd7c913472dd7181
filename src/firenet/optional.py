"""Imports at the moment of use: libraries of the extras, public names, and objects named ``module:name`` by users."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from firenet.errors import BadInput, MissingExtra


def optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports a library of an extra, for a purpose.

    Raises:
        MissingExtra: If it is not installed; the error names the purpose.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(module.partition(".")[0], extra, purpose) from error


def named(text: str, kind: str, do: str) -> Callable[..., Any]:
    """Returns the function or class named ``module:name``. The module is imported from the current folder or from the
    installed packages; ``kind`` names the object in errors, and ``do`` says what it must do.

    Raises:
        BadInput: If there is no such module, it raises an error, or has no such name, and if that cannot be called.
    """
    module, _, name = text.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module may raise anything
        where = "It is imported from the current folder or from the installed packages"
        raise BadInput(f"module:{kind}", f"{text!r}: {type(error).__name__}: {error}", where) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise BadInput(f"A {kind}", f"{text!r}, which is of type {type(found).__name__}", do)
    return found


def lazy(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose public names are loaded at their first
    use.

    The list of names is the package's stub, ``__init__.pyi``, which type checkers read, too: it consists of
    ``from module import name as name``.

    Args:
        package: The name of the package.
        file: Its ``__file__``.
    """
    tree = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    home = {a.name: node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{name}" if home[name] == package else home[name])
        return module if home[name] == package else getattr(module, name)

    return load, lambda: sorted(home), sorted(home)

"""Objects of other libraries, which are recognised without importing the library."""

from __future__ import annotations

import sys
from typing import Any

from firenet.errors import BadInput


def need_instance(theirs: Any, module: str, name: str, needed: str, do: str, *methods: str) -> None:
    """Checks that an object is an instance of a class of another library, and has what the bridge uses.

    A library that has not been imported has made no object, so nothing is imported here.

    Args:
        theirs: The object.
        module: The module of the class.
        name: The name of the class.
        needed: What is needed, for the error.
        do: What to do instead, for the error.
        methods: The names of attributes that the bridge uses.

    Raises:
        BadInput: For other objects, and for those of a version of the library that has other attributes.
    """
    kind = getattr(sys.modules.get(module), name, None)
    if not (isinstance(kind, type) and isinstance(theirs, kind)):
        raise BadInput(needed, type(theirs).__name__, do)
    missing = [method for method in methods if not hasattr(theirs, method)]
    if missing:
        library = module.partition(".")[0]
        got = f"{type(theirs).__name__} of {library} {version_of(library)} without {', '.join(missing)}"
        raise BadInput(f"{needed} with {', '.join(methods)}", got, f"Install a version of {library} that has them")


def version_of(library: str) -> str:
    """Returns the version that an imported library states, or a text that says that it states none."""
    return str(getattr(sys.modules.get(library), "__version__", "of an unknown version"))

"""The versions of the software on which a result depends."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Returns the versions of firenet, of the numerical libraries, and of Python.

    Those of the libraries are those of the installed packages, since the ``__version__`` of a library may be outdated.
    """
    from firenet import __version__

    libraries = {name: metadata.version(name) for name in ("torch", "numpy", "pywavelets")}
    return {"firenet": __version__, **libraries, "python": platform.python_version()}

"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Returns those of firenet, of the libraries that compute, and of Python, as they were installed: what libraries
    say of themselves may be old."""
    from firenet import __version__

    libraries = {name: metadata.version(name) for name in ("torch", "numpy", "pywavelets")}
    return {"firenet": __version__, **libraries, "python": platform.python_version()}

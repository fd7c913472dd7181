"""The weights of trained networks, to be audited beside FIRENETs; see NOTICE.md for where they come from.

>>> path("unet").name
'unet.safetensors'
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("unet", "unet-jitter", "automap", "lista", "d5c5")
__version__ = "0.1.0"


def path(name: str) -> Path:
    """Returns the file of a network's weights, one of ``NAMES``."""
    if name not in NAMES:
        raise KeyError(f"one of {', '.join(NAMES)}, not {name!r}")
    return Path(__file__).with_name(f"{name}.safetensors")

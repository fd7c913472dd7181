"""Tests of the bridges, each against the real library: ``make interop``, not collected by ``make test``."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
# Where torch has no CUDA and torchvision has, a module of this name on the path lets torchvision, and deepinv, import.
if importlib.util.find_spec("torchvision_cpu") is not None:
    import torchvision_cpu  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]

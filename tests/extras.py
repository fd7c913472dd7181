"""Libraries of the extras, each loaded when a test first uses it.

So a file is collected without them, and only those of its tests fail that need one; with FIRENET_EXTRAS=none, and only
then, conftest.py has such tests skip.
"""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """A module that is imported with its first attribute.

    >>> Later("math").floor(2.5)
    2
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(importlib.import_module(self._module), name)
        except ModuleNotFoundError as error:  # whoever looks for marks or doctests in a file asks what everything has
            raise AttributeError(f"{self._module} is not installed") from error


def needs(*modules: str) -> None:
    """For a test whose processes need them: it fails here, with the library's name, and not there."""
    for module in modules:
        importlib.import_module(module)


# Typed as anything: some of them have no types.
cvxpy: Any = Later("cvxpy")
h5py: Any = Later("h5py")
ismrmrd: Any = Later("ismrmrd")
nibabel: Any = Later("nibabel")
onnx: Any = Later("onnx")
onnxruntime: Any = Later("onnxruntime")
pydicom: Any = Later("pydicom")
safetensors: Any = Later("safetensors.torch")

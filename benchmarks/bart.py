"""BART's ``pics`` against our network at equal PSNR.

BART's prior is another one (wavelets without the coarsest levels, shifted at random in each iteration), so there is no
common minimiser. Both run until they reach the lower of their two best PSNRs, less 0.05 dB: a best value itself is only
approached. BART's lambda is the best of six. Its time is that of the command, start and files included; how long the
command takes to do nothing is recorded beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from problems import Problem, Skip

from firenet.metrics import psnr
from firenet.mri.kspace import to_centre

LAMBDAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
PROBE = 100
SLACK = 0.05


def _write(path: Path, array: np.ndarray) -> None:
    """BART's cfl format: dimensions in a text file, complex64 in Fortran order beside it."""
    dims = (*array.shape, *(1,) * (16 - array.ndim))
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    path.with_suffix(".cfl").write_bytes(array.astype(np.complex64).tobytes(order="F"))


class Pics:
    """``bart pics`` on one problem, files in a temporary folder that goes with the object."""

    def __init__(self, problem: Problem) -> None:
        if shutil.which("bart") is None:
            raise Skip("bart is not installed (apt-get install bart)")
        if problem.truth is None or problem.real or problem.maps is not None or problem.only or problem.exact:
            raise Skip("only where there is a true image and one coil")
        if min(problem.shape) < 64:
            raise Skip("BART's wavelets want larger images")
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._shape = problem.shape
        # A command's data: centred k-space, a third axis of length one, coils fourth.
        _write(self._path / "kspace", to_centre(problem.y, 2).numpy()[:, :, None, None])
        _write(self._path / "maps", np.ones((*problem.shape, 1, 1)))
        self.version = self._bart("version").strip()
        start = time.perf_counter()
        self._bart("version")
        self.start_seconds = time.perf_counter() - start
        truth = problem.truth
        self.lam = max(LAMBDAS, key=lambda lam: psnr(torch.from_numpy(self(PROBE, lam)), truth))

    def _bart(self, *arguments: str) -> str:
        command = ["bart", *arguments]
        done = subprocess.run(command, cwd=self._path, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            raise Skip(f"bart {arguments[0]} failed: {done.stderr.strip()[-200:]}")
        return done.stdout

    def __call__(self, iterations: int, lam: float | None = None) -> np.ndarray:
        lam = self.lam if lam is None else lam
        options = ["-S", "-e", "-i", str(iterations), "-R", f"W:3:0:{lam:g}"]
        self._bart("pics", *options, "kspace", "maps", "image")
        return np.fromfile(self._path / "image.cfl", np.complex64).reshape(self._shape, order="F")


def quality(problem: Problem) -> Callable[[np.ndarray], float]:
    """Minus the PSNR, so that less is better as it is for distances."""
    truth = problem.truth
    assert truth is not None
    return lambda image: -psnr(torch.from_numpy(np.ascontiguousarray(image)), truth)

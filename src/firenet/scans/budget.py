"""The budget of the error of a scan's image: where its distance to a reference comes from."""

from __future__ import annotations

import numpy as np
import torch

from firenet.budget import Budget, Part, image_budget
from firenet.errors import BadInput
from firenet.io.safely import AnyPath
from firenet.reconstruction.defaults import default_network
from firenet.reconstruction.prepared import ScanData
from firenet.scans.reconstruct import Progress, scan_of
from firenet.scans.source import Source


def scan_budget(
    data: AnyPath | Source | ScanData,
    truth: np.ndarray,
    image: np.ndarray,
    *,
    sparsify: str | None = None,
    lam: float | None = None,
    layers: int = 2000,
    information: Part | None = None,
    progress: Progress | None = None,
) -> Budget:
    """Divides the error of an image of a scan into parts by their causes, as :func:`.image_budget` does.

    Args:
        data: A scan with one image, as in :func:`.reconstruct_scan`.
        truth: The image that is taken for the truth, complex.
        image: The image whose error is divided, from any method.
        sparsify: The transform of the problem whose minimiser the image is compared with.
        lam: The lambda of that problem.
        layers: The largest number of layers for the reference point, which stands for that minimiser.
        information: The error that no method can avoid, from :func:`.unavoidable`, or None.
        progress: As in :func:`.reconstruct_scan`.

    Raises:
        BadInput: For scans with several images, an empty one, and images of other shapes.
    """
    scan = scan_of(data, progress)
    if len(scan.images) != 1 or scan.images[0].empty:
        got = "an empty image" if len(scan.images) == 1 else f"{len(scan.images)} images"
        raise BadInput("A scan with one image that is not empty", got, "Give a file of one slice")
    part = scan.images[0]
    net = default_network(part.operator, sparsify=sparsify, lam=lam).to(part.y.device)
    x, z = (
        torch.from_numpy(np.ascontiguousarray(v)).to(device=part.y.device, dtype=part.y.dtype) for v in (truth, image)
    )

    def tell(done: int, total: int, gap: float | None = None) -> None:
        if progress is not None:
            progress("reference point", done, total, gap)

    return image_budget(net, part.y, x, z, layers=layers, information=information, progress=tell)

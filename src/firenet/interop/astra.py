"""Projections of the ASTRA toolbox."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Literal

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.operators.sparse import SparseMatrix
from firenet.optional import optional

Kind = Literal["strip", "linear", "line"]
# The geometries of two dimensions, and what ASTRA appends to the kind of a projector for them.
_GEOMETRIES = {"parallel": "", "parallel_vec": "", "fanflat": "_fanflat", "fanflat_vec": "_fanflat"}


def from_astra(
    proj_geom: Mapping[str, Any],
    vol_geom: Mapping[str, Any],
    kind: Kind = "strip",
    *,
    matrix: bool = True,
    norm: NormBound | float | None = None,
) -> LinearOperator:
    """Returns the projection of an ASTRA geometry of two dimensions as an operator, on the CPU.

    Images have shape (rows, columns), sinograms (angles, detectors). The entries of ASTRA's matrix are lengths or areas
    and none of them is negative, so its norm bound is proven (:class:`.SparseMatrix`).

    Args:
        proj_geom: From ``astra.create_proj_geom``: parallel or fan beam.
        vol_geom: From ``astra.create_vol_geom``.
        kind: How a ray weighs a pixel: ``strip`` by the area that they share, ``line`` by the length of its
            intersection, ``linear`` by interpolation between two pixels. Fan beams have ``strip`` and ``line``, and
            those given by vectors ``line`` alone.
        matrix: Whether to compute the sparse matrix once. It takes some 16 bytes for each pixel that a ray meets. If
            false, ASTRA computes the entries again in every projection, in single precision.
        norm: Without a matrix, as in :meth:`.LinearOperator.from_functions`; a matrix has its own bound.

    Raises:
        BadInput: For other objects; for geometries of three dimensions and projectors of CUDA; for kinds that ASTRA
            does not have for the geometry.
        MissingExtra: If ASTRA is missing.
    """
    shapes = _shapes(proj_geom, vol_geom, kind)
    astra = optional("astra", "astra", "A projection of ASTRA")
    if matrix and norm is not None:
        raise BadInput("A norm for matrix=False alone", f"{norm} and a matrix", "Leave it out: the matrix has a bound")
    geometry = proj_geom["type"]
    try:
        projector = astra.create_projector(kind + _GEOMETRIES[geometry], dict(proj_geom), dict(vol_geom))
    except Exception as error:  # ASTRA's own errors differ between its versions
        do = "Take another kind, or make the geometries with create_proj_geom and create_vol_geom"
        raise BadInput(
            f"A projector {kind!r} of ASTRA for {geometry!r}", f"an error: {error}".rstrip(" ."), do
        ) from error
    if matrix:
        try:
            return SparseMatrix(_matrix(astra, projector)).reshaped(*shapes)
        finally:
            astra.projector.delete(projector)
    theirs = astra.OpTomo(projector)
    weakref.finalize(theirs, astra.projector.delete, projector)
    how: dict[str, Any] = {"numpy": True, "real": True, "name": f"astra.{kind}"}
    return LinearOperator.from_functions(theirs.FP, theirs.BP, *shapes, norm=norm, **how)


def _matrix(astra: Any, projector: int) -> Any:
    number = astra.projector.matrix(projector)
    try:
        return astra.matrix.get(number)
    finally:
        astra.matrix.delete(number)


def _shapes(
    proj_geom: Mapping[str, Any], vol_geom: Mapping[str, Any], kind: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the shapes of an image and of a sinogram, before ASTRA sees the geometries: without CUDA it ends the
    process on those of three dimensions."""
    if not (isinstance(proj_geom, Mapping) and isinstance(vol_geom, Mapping)):
        got = f"{type(proj_geom).__name__} and {type(vol_geom).__name__}"
        do = "Call from_astra(astra.create_proj_geom(...), astra.create_vol_geom(...))"
        raise BadInput("A projection geometry and a volume geometry of ASTRA", got, do)
    geometry = proj_geom.get("type")
    if "GridSliceCount" in vol_geom or str(geometry).startswith(("cone", "parallel3d", "cyl_cone")):
        do = "Take slices, or mbirtorch with firenet.interop.from_mbirtorch"
        raise BadInput("An ASTRA geometry of two dimensions", "three, which needs CUDA there", do)
    if geometry not in _GEOMETRIES or not {"GridRowCount", "GridColCount"} <= set(vol_geom):
        got = f"the type {geometry!r} and a volume with {sorted(vol_geom)}"
        do = "Make them with astra.create_proj_geom and astra.create_vol_geom, in this order"
        raise BadInput(f"A projection geometry of type {', '.join(_GEOMETRIES)}, and a volume geometry", got, do)
    if kind not in ("strip", "linear", "line"):
        do = (
            "The back projections of ASTRA's CUDA projectors are not their adjoints"
            if "cuda" in str(kind)
            else "Name one"
        )
        raise BadInput("A projector of kind strip, linear or line", repr(kind), do)
    angles = len(proj_geom["Vectors" if geometry.endswith("_vec") else "ProjectionAngles"])
    image = int(vol_geom["GridRowCount"]), int(vol_geom["GridColCount"])
    return image, (angles, int(proj_geom["DetectorCount"]))

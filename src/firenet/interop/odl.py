"""Linear operators of ODL, whose spaces have weighted inner products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.interop.instances import need_instance
from firenet.operators.check import check_adjoint
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.optional import optional


@dataclass
class _Applied:
    """An operator of ODL as a function of arrays, with weights before and after."""

    operator: Any
    before: NDArray[Any]
    after: NDArray[Any]

    def __call__(self, x: NDArray[Any]) -> Any:
        found = self.operator(self.operator.domain.element(np.asarray(x / self.before)))
        array = found.asarray()
        array = array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)
        return array * self.after.astype(np.real(array).dtype)


def from_odl(operator: Any, *, norm: NormBound | float | None = None) -> LinearOperator:
    """Returns a linear ``odl.Operator`` as an operator of this library, for arrays of the shapes of its spaces.

    ODL's adjoint T' belongs to the inner products of its spaces, which are weighted,
    :math:`\\langle a,b\\rangle_X=\\sum_iw_ia_i\\overline{b_i}`: a discretised function on a fine grid has weights equal
    to the volume of a cell. From :math:`\\langle Tx,y\\rangle_Y=\\langle x,T'y\\rangle_X` follows

    .. math:: T^*y=w_X\\cdot T'(y/w_Y)

    for the adjoint in the unweighted inner products, which all methods here use. The weights may be numbers or arrays,
    also of product spaces. Some operators of ODL, such as ``MatrixOperator``, return T* itself as their adjoint,
    whatever the weights are: if the formula fails the dot test and T' passes it, T' is taken.

    Args:
        operator: The operator; it must have an ``adjoint``, and both of its spaces must be real, or both complex.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects, for operators that are not linear or have no adjoint, and for spaces whose inner
            product is not a weighted sum, or whose elements are no arrays.
    """
    needed = "A linear operator of ODL"
    names = ("domain", "range", "is_linear")
    need_instance(operator, "odl", "Operator", needed, "Pass an odl.Operator, not its matrix or a function", *names)
    name = f"odl.{type(operator).__name__}"
    if not operator.is_linear:
        raise BadInput(needed, f"{name}, which is not linear", "Pass its derivative at a point: op.derivative(x)")
    try:
        theirs = operator.adjoint
    except NotImplementedError as error:  # ODL's own error for that is one of these
        raise BadInput(f"{needed} with an adjoint", name, "Define its adjoint") from error
    spaces = [operator.domain, operator.range]
    weights = [weights_of(space, name) for space in spaces]
    kinds = ["real" if space.is_real else "complex" if space.is_complex else str(space.dtype) for space in spaces]
    if kinds not in (["real", "real"], ["complex", "complex"]):
        got = f"{name} from a space of {kinds[0]} numbers to one of {kinds[1]} numbers"
        raise BadInput("Two real or two complex spaces of ODL", got, "Use space.complex_space for both")
    shapes = [tuple(int(n) for n in space.shape) for space in spaces]
    how: dict[str, Any] = {"numpy": True, "real": kinds[0] == "real", "name": name, "norm": norm}
    one = np.ones(())
    forward = _Applied(operator, one, one)
    found = LinearOperator.from_functions(forward, _Applied(theirs, weights[1], weights[0]), *shapes, **how)
    if all(np.array_equal(w, np.broadcast_to(weights[0].ravel()[0], w.shape)) for w in weights):
        return found
    plain = LinearOperator.from_functions(forward, _Applied(theirs, one, one), *shapes, **how)
    return plain if not check_adjoint(found).passed and check_adjoint(plain).passed else found


def weights_of(space: Any, name: str) -> NDArray[Any]:
    """Returns the weights of the inner product of a space of ODL, as an array that broadcasts to its shape.

    Args:
        space: The space.
        name: The operator, for errors.

    Raises:
        BadInput: If the inner product is not a sum with positive weights.
    """
    odl = optional("odl", "odl", "A bridge to ODL")
    weighting = getattr(space, "weighting", None)
    product = isinstance(space, odl.ProductSpace)
    if weighting is None or (product and not space.is_power_space) or not hasattr(space, "shape"):
        got = "a product of different spaces" if product else f"{type(space).__name__}"
        raise BadInput(f"Spaces of arrays for {name}", got, "A product space must be a power of one space")
    if getattr(weighting, "exponent", 2.0) != 2.0:
        do = "Make the space with exponent 2; another norm belongs to the penalty, not to the space"
        raise BadInput(f"Spaces with an inner product for {name}", f"the exponent {weighting.exponent}", do)
    given = getattr(weighting, "const", None)
    given = getattr(weighting, "array", None) if given is None else given
    if given is None:
        do = "Make the space with weighting=None, a number, or an array of positive numbers"
        raise BadInput(f"Spaces with constant weights or an array of weights for {name}", type(weighting).__name__, do)
    given = given.detach().cpu().numpy() if hasattr(given, "detach") else np.asarray(given)
    own = given.astype(np.float64)
    if not product:
        return own
    parts = np.stack([np.broadcast_to(weights_of(part, name), part.shape) for part in space])
    return parts * own.reshape(*own.shape, *(1,) * (parts.ndim - own.ndim))

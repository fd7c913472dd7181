"""Bounds for a linear map: of its norm, and of the rounding errors of computing it and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass

UNIT = 2.0**-53
# The numbers below are sums and products of a few thousand floats, which lose less than this share.
_SAFE = 1 + 1e-9


def gamma(n: int) -> float:
    """Returns :math:`\\gamma_n=n\\,u/(1-n\\,u)` with the unit roundoff u, rounded up."""
    return n * UNIT / (1 - n * UNIT) * _SAFE


# The error of a product of complex numbers over its modulus, fused or not, rounded up.
PRODUCT = 1.4142136 * gamma(2)


@dataclass(frozen=True)
class Loss:
    """Numbers with :math:`\\|T\\|\\le` ``norm``, :math:`\\|\\widehat T(x)-Tx\\|\\le` ``forward`` :math:`\\|x\\|`, and
    the same for the adjoint with ``backward``, where :math:`\\widehat T` is what is computed.

    Attributes:
        norm: An upper bound of the norm of T.
        forward: The bound of the error of Tx.
        backward: The bound of the error of T*y.
    """

    norm: float = 1.0
    forward: float = 0.0
    backward: float = 0.0

    def then(self, outer: Loss) -> Loss:
        """Returns the loss of the composition that applies this map first."""
        forward = self.norm * outer.forward + self.forward * outer.norm + self.forward * outer.forward
        backward = self.norm * outer.backward + self.backward * outer.norm + self.backward * outer.backward
        return Loss(self.norm * outer.norm * _SAFE, forward * _SAFE, backward * _SAFE)

    def beside(self) -> Loss:
        """Returns the loss of the direct sum of this map and the identity."""
        return Loss(max(self.norm, 1.0), self.forward, self.backward)

    def times(self, factor: float, error: float = 0.0) -> Loss:
        """Returns the loss of this map followed by a multiplication by ``factor``, a positive number, which is computed
        with the relative error ``error``."""
        return self.then(Loss(factor * _SAFE, factor * error * _SAFE, factor * error * _SAFE))


def stacked(*losses: Loss) -> Loss:
    """Returns the loss of maps one above the other, whose adjoints are summed."""
    norm = sum(loss.norm**2 for loss in losses) ** 0.5 * _SAFE
    forward = sum(loss.forward**2 for loss in losses) ** 0.5 * _SAFE
    backward = sum(loss.backward**2 for loss in losses) ** 0.5 * _SAFE
    size = sum((loss.norm + loss.backward) ** 2 for loss in losses) ** 0.5
    return Loss(norm, forward, (backward + gamma(len(losses) - 1) * size) * _SAFE)

"""A FIRENET initialised with the image of another network, to combine that network's accuracy with stability."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.network import Firenet


@final
class Stabilised(nn.Module):
    """The network :math:`y\\mapsto\\Phi(y;x_0)`, :math:`x_0=N(y)`: a FIRENET initialised with another network's image.

    The image of N is only the first point. Let x be the true image. In theory (:class:`firenet.PaperSchedule`) the
    first point enters the error bound only through a number :math:`\\varepsilon_0\\ge F(x_0)-F(x)`, which n restarts
    multiply by :math:`\\nu^n`; the rest of the bound is that of the FIRENET alone, which is stable for every N. If a
    restart has far fewer layers than the theorem requires, as usual, the objective decreases fast, but the effect of N
    in directions in which the objective is nearly constant decreases slowly; the audit (:mod:`firenet.audit`) measures
    the remaining effect. A good first image saves restarts; a bad one costs more restarts than the first point zero
    only if its objective is larger than that of zero. Gradients pass through both networks, so that an attack includes
    both.

    Args:
        network: N, a function from measurements (..., \\*out_shape) to images (..., \\*in_shape).
        firenet: The FIRENET; the ``outer`` of a :class:`firenet.PaperSchedule` is the number of restarts.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], firenet: Firenet) -> None:
        super().__init__()
        if not isinstance(firenet, Firenet) or not callable(network):
            got = f"{type(network).__name__}, {type(firenet).__name__}"
            raise BadInput("A network and a Firenet", got, "Stabilised(network, firenet)")
        self.network = network
        self.firenet = firenet

    @property
    def sensing(self) -> nn.Module:
        """The measurement operator."""
        return self.firenet.sensing

    def forward(self, y: Tensor) -> Tensor:
        """Computes images from measurements, differentiable through both networks."""
        return self.firenet(y, self.network(y))

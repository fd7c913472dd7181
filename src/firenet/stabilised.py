"""A trained network with a FIRENET behind it: as accurate as the one, as stable as the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.network import Firenet


@final
class Stabilised(nn.Module):
    """The network :math:`y\\mapsto\\Phi(y;x_0)`, :math:`x_0=N(y)`: restarts of a FIRENET from another network's image.

    The image of N enters only as the first point. In theory (Theorem 3) its effect is that of :math:`\\varepsilon_0\\ge
    F(x_0)-F(x)`, damped by :math:`\\nu^n` after n restarts; what is left is the FIRENET's own answer, stable whatever N
    is. With far fewer layers a restart than the theorem asks for, as usual, the objective is damped fast, and slowly
    what N does in directions that it hardly sees; the audit measures how much is left. A good first image saves
    restarts; a bad one costs no more than zero would, up to its objective. Gradients go through both, so that an attack
    sees all of it.

    Args:
        network: N, measurements (..., \\*out_shape) to images (..., \\*in_shape).
        firenet: The FIRENET; :class:`firenet.PaperSchedule` has the number of restarts in its ``outer``.
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
        """What is measured."""
        return self.firenet.sensing

    def forward(self, y: Tensor) -> Tensor:
        """Measurements to images, differentiable through both networks."""
        return self.firenet(y, self.network(y))

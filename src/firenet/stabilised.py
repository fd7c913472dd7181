"""A FIRENET initialised with the image of another network, to combine that network's accuracy with stability."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.reweighting import Round, check_floor, weights_from
from firenet.solver.solution import Progress


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

    With ``floor`` the image of N also gives the weights of the penalty, as a round of reweighting does
    (:func:`.weights_from`): coefficients that are large in N(y) are penalised less. Then N has an effect on the problem
    itself, which no number of layers removes; the data still decide, and what is certified is the problem with these
    weights. One more such network around this one is one more round of reweighting.

    Args:
        network: N, a function from measurements (..., \\*out_shape) to images (..., \\*in_shape).
        firenet: The FIRENET; the ``outer`` of a :class:`firenet.PaperSchedule` is the number of restarts.
        floor: The floor of the weights that the image of N gives, which multiply those of the FIRENET; None leaves the
            weights as they are.

    Raises:
        BadInput: For other objects, a floor that is not positive, or a floor and a FIRENET without a transform.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], firenet: Firenet, *, floor: float | None = None) -> None:
        super().__init__()
        if not isinstance(firenet, Firenet) or not callable(network):
            got = f"{type(network).__name__}, {type(firenet).__name__}"
            raise BadInput("A network and a Firenet", got, "Stabilised(network, firenet)")
        if floor is not None:
            check_floor(floor)
            if firenet.sparsify is None:
                raise BadInput("A FIRENET with a transform, for weights", "sparsify=None", "Leave out the floor")
        self.network = network
        self.firenet = firenet
        self.floor = floor

    @property
    def sensing(self) -> nn.Module:
        """The measurement operator."""
        return self.firenet.sensing

    def forward(self, y: Tensor) -> Tensor:
        """Computes images from measurements, differentiable through both networks."""
        x0 = self.network(y)
        if self.floor is None:
            return self.firenet(y, x0)
        shapes = self.firenet.sensing.out_shape, self.firenet.sensing.in_shape
        batch = y.shape[: y.ndim - len(shapes[0])]
        pairs = zip(y.reshape(-1, *shapes[0]), x0.reshape(-1, *shapes[1]), strict=True)
        images = [self._weighted(first)(one, first) for one, first in pairs]
        return torch.stack(images).view(*batch, *shapes[1]) if images else x0

    @torch.no_grad()
    def solve(self, y: Tensor, *, progress: Progress | None = None) -> Round:
        """Reconstructs one image and certifies it.

        Args:
            y: Measurements of one image, shape ``sensing.out_shape``.
            progress: As in :meth:`.Firenet.solve`.

        Returns:
            The solution with the FIRENET of this image, whose problem has the weights that N(y) gives, and these
            weights.

        Raises:
            BadInput: For a batch.
        """
        if y.shape != self.firenet.sensing.out_shape:
            needed = f"Measurements of one image, shape {self.firenet.sensing.out_shape}"
            raise BadInput(needed, f"shape {tuple(y.shape)}", "Loop over the batch")
        x0 = self.network(y)
        net = self._weighted(x0)
        return Round(net, net.weights, net.solve(y, x0=x0, progress=progress))

    def _weighted(self, image: Tensor) -> Firenet:
        """Returns the FIRENET with the weights that an image of N gives."""
        net, frame = self.firenet, self.firenet.sparsify
        if self.floor is None or frame is None:
            return net
        weights, own = weights_from(image, frame, floor=self.floor), net.problem.weights
        return net.reweighted(weights if own is None else weights * own)

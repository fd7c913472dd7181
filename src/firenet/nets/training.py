"""Trains the networks to compare with, reproducibly, and stores them: the library behind ``firenet train``.

A :class:`Recipe` determines the result: the same recipe gives the same weights on one machine with one number of
threads, also if the training was killed and resumed from its checkpoint. The random numbers of a step depend only on
the seed and the number of the step.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.images import ellipses, load_colin27, resampled
from firenet.io.safely import replacing
from firenet.io.tensors import read_safetensors
from firenet.nets import checkpoints
from firenet.nets.automap import Automap
from firenet.nets.lista import ListaImage
from firenet.nets.unet import UNet
from firenet.numerics import check_seed
from firenet.operators.linear import LinearOperator
from firenet.optional import optional
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import variable_density

Trained = UNet | Automap | ListaImage
SLICES = range(5, 80)  # of Colin27; networks are tested on other heads and on z >= 100
SHIPPED = ("unet", "unet-jitter", "automap", "lista")
_POOL = 256
_MOST_SIDES = 16
# The largest side of an image: the weights of the dense networks grow with its fourth power.
_LARGEST = {"unet": 2048, "automap": 256, "lista": 64}


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on.

    Attributes:
        network: The kind of network.
        sides: The sides of the images. A U-Net is trained on one after the other in turn; other networks have one side.
        rate: The share of k-space that is measured, by ``variable_density`` with seed 0.
        noise: Jitter: for every image the norm of complex Gaussian noise, relative to that of the measurements, is
            drawn between 0 and this number. 0 is training without noise.
        steps: The number of steps of Adam, on the mean squared error.
        batch: The number of images of a step at the first side. At larger sides there are fewer, so that the number of
            pixels is about the same.
        learning_rate: The initial learning rate; it falls to 0 as half a cosine.
        images: ``both``: half ellipses and half slices of Colin27 with z from 5 to 79; or only one of the two.
        seed: Seeds weights, images, augmentation and noise.

    Raises:
        BadInput: If a number is outside its range, a name is unknown, or the sides do not fit the network.
    """

    network: Literal["unet", "automap", "lista"]
    sides: tuple[int, ...] = (128, 256)
    rate: float = 0.25
    noise: float = 0.0
    steps: int = 2000
    batch: int = 8
    learning_rate: float = 1e-3
    images: Literal["both", "ellipses", "colin27"] = "both"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sides", tuple(self.sides))
        whole = (self.steps, self.batch, self.seed, *self.sides)
        if any(type(n) is not int for n in whole) or len(self.sides) > _MOST_SIDES:
            got = f"steps={self.steps!r}, batch={self.batch!r}, seed={self.seed!r}, sides={self.sides!r}"
            raise BadInput(f"Whole numbers, and at most {_MOST_SIDES} sides", got, "Start from the defaults")
        numbers = (self.rate, self.noise, self.steps, self.batch, self.learning_rate, *self.sides)
        sensible = all(math.isfinite(n) and n >= 0 for n in numbers) and min(self.steps, self.batch, *self.sides) >= 1
        if not (sensible and self.sides) or not 0 < self.rate <= 1 or self.learning_rate <= 0:
            raise BadInput(
                "Positive numbers (noise may be 0), a rate of at most 1", f"{self}", "Start from the defaults"
            )
        if self.network not in ("unet", "automap", "lista") or self.images not in ("both", "ellipses", "colin27"):
            needed = "network: unet, automap or lista; images: both, ellipses or colin27"
            raise BadInput(needed, f"{self.network!r}, {self.images!r}", "Choose one of these")
        if self.network != "unet" and len(self.sides) != 1:
            do = "Train one network for each side"
            raise BadInput(f"One side for {self.network}, whose layers have a fixed size", f"{self.sides}", do)
        largest = _LARGEST[self.network]
        if max(self.sides) > largest:
            got = f"a side of {max(self.sides)}"
            raise BadInput(f"Sides of at most {largest} for {self.network}", got, "Larger networks need gigabytes")
        # The generators of the steps are seeded by seed * 1000003 + step, which must fit into 64 bits.
        check_seed(self.seed, 2**32)

    @property
    def identity(self) -> str:
        """The SHA-256 of the recipe."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def sensing(self, side: int) -> SubsampledFourier:
        """Returns the measurement operator for images of this side."""
        return SubsampledFourier(variable_density((side, side), self.rate).samples)

    def build(self, sensing: LinearOperator) -> Trained:
        """Returns the network with its initial weights."""
        if self.network == "unet":
            return UNet(sensing, seed=self.seed)
        return (Automap if self.network == "automap" else ListaImage)(sensing, seed=self.seed)


USUAL = {
    "unet": Recipe("unet", steps=6000, batch=4),
    "automap": Recipe("automap", (32,), steps=6000, batch=64),
    "lista": Recipe("lista", (32,), steps=3000, batch=64),
}


class _Images:
    """The training images: drawn once, and varied at every step."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        drawn = torch.Generator().manual_seed(recipe.seed)
        self.pools: dict[int, list[Tensor]] = {side: [] for side in recipe.sides}
        slices = load_colin27(SLICES) if recipe.images != "ellipses" else None
        for side, pool in self.pools.items():
            if recipe.images != "colin27":
                pool.append(torch.stack([ellipses(side, drawn) for _ in range(_POOL)]))
            if slices is not None:
                pool.append(resampled(slices, side))

    def batch(self, step: int, side: int) -> tuple[Tensor, Tensor]:
        """Returns images (number, side, side), and for each the norm of its noise relative to its measurements."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        # Fewer images at larger sides, so that the number of pixels is about the same.
        number = max(1, round(self.recipe.batch * (self.recipe.sides[0] / side) ** 2))
        chosen = []
        for k in range(number):
            # The kinds of images alternate at every side, also if a step has only one image.
            pool = self.pools[side][(k + step // len(self.recipe.sides)) % len(self.pools[side])]
            image = pool[int(torch.randint(len(pool), (1,), generator=generator))]
            turn, flip, down, across = torch.randint(1 << 30, (4,), generator=generator).tolist()
            image = torch.rot90(image, turn % 4)
            image = image.flip(0) if flip % 2 else image
            reach = max(side // 8, 1)
            image = torch.roll(image, (down % (2 * reach) - reach, across % (2 * reach) - reach), (0, 1))
            chosen.append(image * (0.5 + 0.5 * torch.rand((), generator=generator)))
        return torch.stack(chosen), self.recipe.noise * torch.rand(number, generator=generator)


def train(
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    every: int = 100,
    progress: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Trains a network and returns it, ready to reconstruct.

    Args:
        recipe: The network, its images and the optimisation.
        checkpoint: A file to resume from if it exists, and to write regularly.
        every: The number of steps between two checkpoints.
        progress: Called with the number of steps done, the number of all steps, and the loss.

    Raises:
        BadInput: If the checkpoint is damaged or of another recipe, if images are missing, or if the loss is NaN or
            infinite.
    """
    sensing = {side: recipe.sensing(side) for side in recipe.sides}
    net = recipe.build(sensing[recipe.sides[0]])
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=recipe.learning_rate)
    learned, done = {f"net.{name}": t for name, t in _learned(net).items()}, 0
    if checkpoint is not None and checkpoint.exists():
        done = checkpoints.read(checkpoint, CHECKPOINT, recipe.identity, learned, adam, recipe.steps, 1)
    images = _Images(recipe) if done < recipe.steps else None
    net.train()
    for step in range(done, recipe.steps):
        assert images is not None
        side = recipe.sides[step % len(recipe.sides)]
        x, levels = images.batch(step, side)
        y = sensing[side](x)
        if recipe.noise:
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step + (1 << 40))
            e = sensing[side].restrict(torch.randn(y.shape, dtype=y.dtype, generator=generator))
            sizes = [torch.linalg.vector_norm(t, dim=(-2, -1), keepdim=True) for t in (y, e)]
            y = y + e * (levels[:, None, None] * sizes[0] / sizes[1])
        seen = net.measuring(sensing[side]) if isinstance(net, UNet) else net
        for group in adam.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        adam.zero_grad(set_to_none=True)
        loss = (seen(y) - x).square().mean()
        if not torch.isfinite(loss):
            raise BadInput("A finite loss", f"{loss.item()} after {step} steps", "Lower the learning rate")
        loss.backward()
        adam.step()
        if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == recipe.steps):
            checkpoints.write(checkpoint, CHECKPOINT, recipe.identity, learned, adam, step + 1)
        if progress is not None:
            progress(step + 1, recipe.steps, loss.item())
    return net.eval().requires_grad_(False)


CHECKPOINT = "training-checkpoint"


def _learned(net: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters and the running means; the buffers of operators and matrices follow from the recipe."""
    buffers = {name: t for name, t in net.named_buffers() if "running_" in name or "num_batches" in name}
    return {name: t.detach() for name, t in net.named_parameters()} | buffers


def _place(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = _learned(net)
    wanted = {name: (tuple(t.shape), t.is_floating_point()) for name, t in own.items()}
    if wanted != {name: (tuple(t.shape), t.is_floating_point()) for name, t in tensors.items()}:
        raise BadInput(
            f"Weights of a {type(net).__name__}", f"other weights in {path}", "Check which network they belong to"
        )
    with torch.no_grad():
        for name, t in own.items():
            t.copy_(tensors[name])


def save(path: Path, net: Trained, recipe: Recipe, *, half: bool = False) -> None:
    """Writes the weights of a network as safetensors, with the recipe in the file's metadata.

    Args:
        path: The file.
        net: The network.
        recipe: Its recipe.
        half: Whether to store large matrices in float16.
    """
    tensors = {
        name: (t.half() if half and t.is_floating_point() and t.numel() > 10_000 else t).contiguous()
        for name, t in _learned(net).items()
    }
    safetensors = optional("safetensors.torch", "audit", "Weights in files")
    with replacing(path) as (temporary,):
        temporary.write_bytes(safetensors.save(tensors, {"firenet": json.dumps(asdict(recipe))}))


def load(path: Path, sensing: LinearOperator | None = None) -> tuple[Trained, Recipe]:
    """Returns a network that :func:`save` has written, ready to reconstruct, and its recipe.

    Args:
        path: The file.
        sensing: The measurement operator; None is the one that the network was trained with, at its first side. A U-Net
            takes any other; the layers of the other networks have a fixed size.

    Raises:
        BadInput: If the file was not written by :func:`save`, or its network has another size.
    """
    tensors, about = read_safetensors(path)
    try:
        stored: dict[str, Any] = json.loads(about["firenet"])
        recipe = Recipe(**{f.name: stored[f.name] for f in fields(Recipe)})
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        do = "Give a factory with the weights: --model module:factory --weights FILE"
        raise BadInput("Weights written by firenet train", f"{path}: {str(error)[:300]}", do) from None
    _check_claim(recipe, tensors, recipe.sides[0] ** 2 if sensing is None else math.prod(sensing.in_shape), path)
    net = recipe.build(recipe.sensing(recipe.sides[0]) if sensing is None else sensing)
    if recipe.network == "lista":
        net = net.float()
    _place(net, tensors, path)
    return net.eval().requires_grad_(False), recipe


def _check_claim(recipe: Recipe, tensors: dict[str, Tensor], pixels: int, path: Path) -> None:
    """Raises an error for a recipe whose network has another size than the weights, before memory is allocated."""
    name, axis = {"automap": ("second.bias", 0), "lista": ("network.mixing", -1)}.get(recipe.network, ("", 0))
    stored = tensors[name].shape[axis] if name in tensors and tensors[name].ndim else 0
    if name and stored != pixels:
        do = "Such a network fits images of one size: give a mask of that size"
        raise BadInput(f"Weights for images of {pixels} pixels", f"{path}, for {stored}", do)


def shipped(name: str, sensing: LinearOperator | None = None) -> tuple[Trained, Recipe]:
    """Returns a network of the distribution firenet-models that :func:`train` made, and its recipe.

    Args:
        name: ``unet``, ``unet-jitter``, ``automap`` or ``lista``.
        sensing: As for :func:`load`.

    Raises:
        BadInput: If there is no network of this name.
        MissingExtra: If firenet-models is not installed.
    """
    if name not in SHIPPED:
        raise BadInput(f"One of {', '.join(SHIPPED)}", repr(name), "Or train one: firenet train")
    return load(weights_of(name), sensing)


def weights_of(name: str) -> Path:
    """Returns the file of weights of this name in the distribution firenet-models.

    Raises:
        MissingExtra: If firenet-models is not installed.
    """
    return optional("firenet_models", "audit", "Trained networks").path(name)

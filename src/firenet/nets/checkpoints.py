"""The checkpoints of trainings: the tensors that are learned, the state of Adam, and the number of rounds done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.io import sealed

_MOMENTS = ("exp_avg", "exp_avg_sq")


def write(
    path: Path, kind: str, identity: str, learned: Mapping[str, Tensor], adam: torch.optim.Adam, done: int
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: The file.
        kind: As in :func:`.sealed.write`.
        identity: As in :func:`.sealed.write`: the training.
        learned: The tensors that change during the training.
        adam: The optimiser.
        done: The number of rounds done: steps or epochs.
    """
    state = {f"adam.{k}.{name}": adam.state[p][name] for k, p in _parameters(adam) for name in ("step", *_MOMENTS)}
    arrays = {name: t.detach().numpy() for name, t in {**learned, **state}.items()}
    sealed.write(path, kind, identity, arrays, {"done": done})


def read(
    path: Path, kind: str, identity: str, learned: Mapping[str, Tensor], adam: torch.optim.Adam, most: int, steps: int
) -> int:
    """Reads a checkpoint of :func:`write` into ``learned`` and ``adam``, and returns the number of rounds done.

    Args:
        path: The file.
        kind: As in :func:`write`.
        identity: As in :func:`write`.
        learned: The tensors to be overwritten.
        adam: The optimiser, which has made no step.
        most: The number of all rounds.
        steps: The number of Adam's steps in a round.

    Raises:
        BadInput: If the file is damaged, or belongs to another training.
    """
    arrays, about = sealed.read(path, kind, identity)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    done = about.get("done")
    counts = [f"adam.{k}.step" for k, _ in _parameters(adam)]
    wanted = {**learned, **{f"adam.{k}.{name}": p for k, p in _parameters(adam) for name in _MOMENTS}}
    # Adam counts its steps itself: this count must be that of the rounds done.
    sound = (
        isinstance(done, int)
        and 0 < done <= most
        and tensors.keys() == {*wanted, *counts}
        and all(bool((tensors[name] == done * steps).all()) for name in counts)
        and all((tensors[name].shape, tensors[name].dtype) == (t.shape, t.dtype) for name, t in wanted.items())
        and all(bool(torch.isfinite(t).all()) for t in tensors.values())
    )
    if not sound:
        raise BadInput("A consistent checkpoint", f"{path}, {done} rounds", "Remove the file")
    for name, t in learned.items():
        t.copy_(tensors[name])
    for k, p in _parameters(adam):
        adam.state[p] = {name: tensors[f"adam.{k}.{name}"] for name in ("step", *_MOMENTS)}
    assert isinstance(done, int)
    return done


def _parameters(adam: torch.optim.Adam) -> list[tuple[int, Tensor]]:
    return list(enumerate(p for group in adam.param_groups for p in group["params"]))

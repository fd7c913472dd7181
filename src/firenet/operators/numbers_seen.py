"""The buffers and parameters of an operator as they were when its norm was bounded."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Numbers:
    """Tensors and their version counters: two records are equal if no tensor was changed or replaced in between.

    A copied or unpickled operator has new tensors, to which the old record does not apply. So the record is copied as
    None, and the first comparison makes a new one. If the tensors were changed between the record and the copy, it is
    copied as a record of no tensors, which is equal to no other record of the operator: the change is still detected.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._versions = [_version(t) for t in tensors]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numbers) or len(self._tensors) != len(other._tensors):
            return False
        same = all(a is b for a, b in zip(self._tensors, other._tensors, strict=True))
        return same and self._versions == other._versions

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __deepcopy__(self, memo: dict[int, Any]) -> Numbers | None:
        return _copied(self._versions == [_version(t) for t in self._tensors])

    def __reduce__(self) -> tuple[Any, ...]:
        return (_copied, (self._versions == [_version(t) for t in self._tensors],))


def _copied(unchanged: bool) -> Numbers | None:
    """Returns the copy of a record, for tensors that were changed since it was made or not."""
    return None if unchanged else Numbers([])


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version

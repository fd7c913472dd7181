"""What the library says when it cannot go on: what is needed, what it got, what to do."""

from __future__ import annotations


class FirenetError(Exception):
    """An error in three parts, so that a command line can show them one under the other.

    Each part is a phrase without the closing full stop.
    """

    def __init__(self, needed: str, got: str, do: str) -> None:
        super().__init__(f"{needed}. Got {got}. {do}.")
        self.needed = needed
        self.got = got
        self.do = do


class BadInput(FirenetError, ValueError):
    """An argument or a file that cannot be used as it is.

    >>> raise BadInput("A Walsh transform needs sides of powers of two", "100", "Crop or pad the image to 128")
    Traceback (most recent call last):
    ...
    firenet.errors.BadInput: A Walsh transform needs sides of powers of two. Got 100. Crop or pad the image to 128.
    """


class NumericalError(FirenetError, ArithmeticError):
    """Numbers that contradict a theorem: something that was taken for granted does not hold."""


class MissingExtra(FirenetError, ImportError):
    """An optional library that is not installed; ``do`` says which extra brings it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}",
            "an environment without it",
            f"Install the extra: pip install 'firenet[{extra}]'",
        )


class DoubtfulInput(UserWarning):
    """Says that the data contradict what was given or estimated with them, coil maps for example, but not outright."""

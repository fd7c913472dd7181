"""What the library says when it cannot go on: what is needed, what it got, what to do."""

from __future__ import annotations

from contextlib import suppress


def plain(text: object) -> str:
    r"""Returns a text that is safe to show on one line: what is not printable is written as an escape.

    That is what a terminal would obey: control characters, direction overrides, line separators. File names, titles
    and messages come from files and from the shell. A newline in one must not begin a line of ours, and a colour must
    not hide one. Bytes of a path that the locale could not decode are shown as UTF-8 where they are.

    >>> plain("a name\ndo: delete everything\x1b[31m")
    'a name\\ndo: delete everything\\x1b[31m'
    """
    text = str(text)
    with suppress(UnicodeEncodeError):  # surrogates that stand for no byte
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class FirenetError(Exception):
    """An error in three parts, so that a command line can show them one under the other.

    Each part is a phrase without the closing full stop, on one line: what comes from files in it is escaped here.
    """

    def __init__(self, needed: str, got: str, do: str) -> None:
        needed, got, do = plain(needed), plain(got), plain(do)
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

"""The errors of the library, in three parts: what is needed, what was given, and what to do."""

from __future__ import annotations

from contextlib import suppress


def plain(text: object) -> str:
    r"""Returns a text that is safe to show on one line, with unprintable characters written as escapes.

    Unprintable characters are those that control a terminal: control characters, direction overrides, line separators.
    File names, titles and messages come from files and from the shell. A newline in such a text must not imitate a line
    of this library, and a colour must not hide one. Bytes of a path that the locale could not decode are shown as
    UTF-8 if they are valid UTF-8.

    >>> plain("a name\ndo: delete everything\x1b[31m")
    'a name\\ndo: delete everything\\x1b[31m'
    """
    text = str(text)
    with suppress(UnicodeEncodeError):  # surrogates that stand for no byte
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class FirenetError(Exception):
    """An error in three parts, which the command line shows on separate lines.

    Each part is a phrase on one line, without a full stop. Characters that cannot be printed, for example in text from
    a file, are escaped here.
    """

    def __init__(self, needed: str, got: str, do: str) -> None:
        self.needed, self.got, self.do = plain(needed), plain(got), plain(do)
        super().__init__(f"{self.needed}. Got {self.got}. {self.do}.")


class BadInput(FirenetError, ValueError):
    """An error for an argument or a file that cannot be used as it is.

    >>> raise BadInput("A Walsh transform needs sides of powers of two", "100", "Crop or pad the image to 128")
    Traceback (most recent call last):
    ...
    firenet.errors.BadInput: A Walsh transform needs sides of powers of two. Got 100. Crop or pad the image to 128.
    """


class NumericalError(FirenetError, ArithmeticError):
    """An error for numbers that contradict a theorem: one of its assumptions cannot hold."""


class MissingExtra(FirenetError, ImportError):
    """An error for an optional library that is not installed; ``do`` names its extra."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        needed, do = f"{purpose} needs the library {library}", f"Install the extra: pip install 'firenet[{extra}]'"
        super().__init__(needed, "an environment without it", do)


class DoubtfulInput(UserWarning):
    """A warning that the data probably contradict other input or estimates, for example coil maps."""

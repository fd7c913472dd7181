"""What all commands do alike: words from files are escaped, signals end a command as Ctrl-C does."""

from __future__ import annotations

import json
import signal
import warnings
from typing import Any

import pytest
import typer

from firenet.cli import console
from firenet.errors import BadInput, DoubtfulInput, plain
from firenet.io.files import to_json

FORGED = "scan\ndo: run this\x1b[31m\x9b2J\u202e\u2066\u2028\r\x07\x00\x7f\U000e0041\ud800"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Größe ä.npy", "Größe ä.npy"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("k\udcff", "k\\xff"),  # a byte that is no UTF-8
        ("\udcc3\udcbc", "ü"),  # bytes that are, in a locale that is not
        ("\ud800", "\\ud800"),
        (FORGED, None),
    ],
)
def test_words_are_shown_on_one_line(text: str, wanted: str | None) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)
    if wanted is not None:
        assert plain(text) == wanted


def test_errors_tables_and_lines_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    @console.reports
    def command() -> None:
        raise BadInput(FORGED, FORGED, FORGED)

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == console.BAD_INPUT
    said = capsys.readouterr().err
    assert [line[:8] for line in said.splitlines()] == ["needed: ", "got:    ", "do:     "]
    console.table(FORGED, ["model", FORGED], [[FORGED, FORGED]])
    console.say(FORGED)
    console.print_json({FORGED: FORGED, "ä": "ü"})
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert not any(line.startswith("do: run") for line in out.splitlines())


def test_json_is_escaped_and_the_same_text() -> None:
    record = {"name": FORGED, "ü": "é"}
    text = to_json(record)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert json.loads(text) == record
    assert "é" in text
    text.encode("utf-8")
    assert to_json(record, ascii=True).isascii()


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_as_ctrl_c_does(name: str, handlers: None) -> None:
    number, cleaned = getattr(signal, name), []
    for each in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, each), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console.prepare()

    @console.reports
    def command() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one does not keep it from cleaning up
            cleaned.append(name)

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 128 + number
    assert ended.value.exit_code in console.EXIT_CODES
    assert cleaned == [name]


def test_nohup_is_respected(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    console.prepare()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_doubts_are_shown_as_warnings(handlers: None, capsys: pytest.CaptureFixture[str]) -> None:
    console.prepare()
    warnings.showwarning(DoubtfulInput(f"a part is measured again: {FORGED}"), DoubtfulInput, "x.py", 1)
    said = capsys.readouterr().err
    assert said.startswith("warning: a part is measured again")
    assert len(said.splitlines()) == 1


def test_a_table_of_eighty_columns_cuts_no_number_and_no_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    heads = ["sampled (%)", "objective", "gap", "relative gap", "layers", "status"]
    rows = [["raw 2-coil scan", "100.0", "0.00086003", "6.16e-07", "7.2e-04", "2000", "tolerance reached"]]
    console.table(None, ["slice", *heads], rows)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for word in " ".join([*rows[0], "sampled objective relative layers status slice"]).split():
        assert word in shown, word

"""The process in which libhdf5 runs: what hangs, crashes or takes memory there ends there, and Ctrl-C works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from file_seeds import hdf5, mrd, mrd_header, mrd_line, noise, read_here, refusal
from firenet.errors import BadInput
from firenet.io import apart, hdf5 as hdf5_reader
from firenet.io.files import read_array, read_scan
from firenet.io.stored import Stored

LIMITED = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits")


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """An ISMRMRD file in which sixteen zero bytes stand where libhdf5 looks for the first object of its heap."""
    path = mrd(tmp_path / "hang.h5", mrd_header((1, 2, 8), kept=8), [mrd_line(noise(2, 8), y=y) for y in range(2)])
    raw = bytearray(path.read_bytes())
    start = raw.index(b"GCOL") + 16
    raw[start : start + 16] = bytes(16)
    path.write_bytes(raw)
    return path


@LIMITED
def test_a_library_that_finds_no_end_is_ended(hanging: Path) -> None:
    start = os.times()
    assert "finds no end" in refusal(read_scan, hanging).got
    end = os.times()
    spent = end.children_user + end.children_system - start.children_user - start.children_system
    assert apart.SECONDS < spent < apart.SECONDS + 3  # of computing; the second more is that of its start


@LIMITED
def test_ctrl_c_ends_a_read_that_hangs(hanging: Path) -> None:
    # Where the tests run in the background of a shell, Ctrl-C is ignored by whatever they start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"from firenet.io.files import read_scan; print(1, flush=True); read_scan({str(hanging)!r})"
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, env=surroundings) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said  # it was Ctrl-C and not the limit
    assert b"finds no end" not in said


def python(code: str) -> str:
    """What Python prints."""
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=surroundings)
    return run.stdout + run.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say how much memory is used")
def test_memory_is_limited_and_the_limit_grows_with_what_is_allowed() -> None:
    code = """
import numpy as np
from firenet.io import apart
apart.allow(2**30)  # without limits nothing is changed
apart.limit()
for claimed in (0, 2**28):
    apart.allow(claimed)
    try:
        np.ones(2**29, np.uint8)
        print("fits")
    except MemoryError:
        print("too much")
"""
    assert python(code).split("\n")[:2] == ["too much", "fits"]


@pytest.mark.parametrize(
    ("start", "word"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.exit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("print('[1, 2', end='')", "exit code 0"),
        ("""print('{"array": ["<c8", [3, 4]]}'); print('{"bytes": 96}'); print('half')""", "exit code 0"),
        ("""print('{"array": ["<c8", [3, 4]]}'); print('{"fields": {"name": "a"}}')""", "exit code 0"),
        ("""print('{"fields": {"name": "a"}}')""", "exit code 0"),
    ],
)
@LIMITED
def test_a_process_that_ends_early_is_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, word: str
) -> None:
    monkeypatch.setattr(apart, "_START", start)
    error = refusal(read_array, hdf5(tmp_path / "a.h5", kspace=noise(3, 4)))
    assert word in error.got
    assert "sound HDF5 file" in error.needed


@pytest.mark.parametrize(
    "answer",
    ["nonsense", "{}", '{"array": ["O", [3]]}', '{"array": ["<c8", [100000, 100000, 10]]}', '{"refused": []}'],
)
def test_an_answer_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(apart, "_START", f"print({answer!r})")
    refusal(read_array, hdf5(tmp_path / "a.h5", kspace=noise(3, 4)))


def test_what_comes_back_is_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = mrd_header((1, 5, 4), kept=2)
    path = hdf5(
        tmp_path / "ä\udcff.h5", kspace=noise(2, 3, 4, 5).astype(">c16"), mask=np.ones(5), ismrmrd_header=header
    )
    there, here = (read(path, None, "kspace") for read in (hdf5_reader.read_hdf5, read_here))
    for name, value in vars(here).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(there, name), value)
            assert getattr(there, name).flags.writeable
        else:
            assert getattr(there, name) == value
    assert set(vars(there)) == set(Stored.__dataclass_fields__)


def test_the_readers_process_sees_what_this_one_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another installation: the same sys.path, and nothing from the surroundings."""
    path = hdf5(tmp_path / "a.h5", kspace=noise(3, 4))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise RuntimeError")
    np.testing.assert_array_equal(read_scan(path).kspace, noise(3, 4))
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(BadInput, match="exit code 1"):
        read_scan(path)

"""Finds large files, files without a newline at their end and leftovers of a merge: ``make check`` and pre-commit.

python tests/tidy.py            # every file that git knows
python tests/tidy.py FILE ...   # these
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000
# The weights of trained networks, which are a distribution of their own.
MAY_BE_LARGE = "models/src/firenet_models/*.safetensors"


def faults(path: Path) -> Iterator[str]:
    """Yields what is wrong with a file."""
    data = path.read_bytes()
    if len(data) > LARGEST and not path.match(MAY_BE_LARGE):
        yield f"has {len(data)} bytes; at most {LARGEST} belong in the repository"
    if b"\0" in data[:8000]:
        return  # not a text
    if data and (not data.endswith(b"\n") or data.endswith(b"\n\n")):
        yield "does not end with exactly one newline"
    for number, line in enumerate(data.splitlines(), 1):
        if line.startswith((b"<" * 7 + b" ", b">" * 7 + b" ")):
            yield f"has the mark of a merge conflict in line {number}"


def main(names: Sequence[str]) -> int:
    if not names:
        known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in known.stdout.split("\0") if name]
    found = [
        f"{name}: {fault}"
        for name in names
        if (ROOT / name).is_file()  # not one that is about to be deleted
        for fault in faults(ROOT / name)
    ]
    print("\n".join(found) if found else f"{len(names)} files are tidy")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

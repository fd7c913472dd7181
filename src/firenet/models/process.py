"""A compiled network in a process of its own, so that loading it, or its crash, does not affect this process.

This is no sandbox. Code in the file runs with the rights of the user, who must trust its author. The other process
protects this one from crashes and from whatever the file does to the memory of its process. Nothing that comes back is
unpickled: arrays are sent as npy.

``python -m firenet.models.process FILE`` starts the other process. It answers ``run`` (the image) and ``pull`` (the
gradient of the image's inner product with a given array) until its input ends.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput

PATIENCE = 2.0  # seconds until a process whose answer is broken counts as one that goes on


class Outside:
    """A differentiable network in another process, which starts at the first call and ends with the calling process.

    Args:
        path: A TorchScript file (.pt, .pth) or an exported program (.pt2), whose author is trusted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __call__(self, y: Tensor) -> Tensor:
        """Returns the image that the network computes from y, which has the layout that the network takes."""
        out: Tensor = _Remote.apply(y, self)  # pyright: ignore[reportAssignmentType]
        return out

    def ask(self, what: str, *arrays: np.ndarray) -> np.ndarray:
        """Sends one question, ``run`` or ``pull`` (see the module), and returns the answer.

        Raises:
            BadInput: If the process reports an error, ends, or sends something else than an answer.
        """
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _send(process.stdin, {"ask": what, "arrays": len(arrays)}, arrays)
                head, answers = _receive(process.stdout)
            except (OSError, EOFError, ValueError):
                got, do = "something else from its process", "Remove what it writes to the standard output"
                with suppress(subprocess.TimeoutExpired):  # a process that is about to end closes its pipes first
                    got = f"its process ended with exit code {process.wait(PATIENCE)}"
                    do = "Look at the file's own needs: libraries, memory, device"
                self.close()
                raise BadInput("A model that answers", got, do) from None
        if "error" in head:
            needed = "A model that can be loaded, run and differentiated"
            raise BadInput(needed, head["error"], "Try it by itself in Python")
        return answers[0]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-P", "-m", "firenet.models.process", str(self.path.resolve())]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # a dead process: what was not sent is lost
                        pipe.close()
            process.terminate()
            process.wait()

    def __del__(self) -> None:
        self.close()


class _Remote(torch.autograd.Function):
    """Asks the process for the image, and for the derivative when autograd needs it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, outside: Outside) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.outside = outside
        ctx.save_for_backward(y)
        return torch.from_numpy(outside.ask("run", y.detach().cpu().numpy())).to(y.device)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        arrays = (t.detach().resolve_conj().cpu().numpy() for t in (y, grad_outputs[0]))
        return torch.from_numpy(ctx.outside.ask("pull", *arrays)).to(y), None


def _send(stream: IO[bytes], head: dict[str, Any], arrays: tuple[np.ndarray, ...]) -> None:
    packets = []
    for array in arrays:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        packets.append(buffer.getvalue())
    stream.write(json.dumps({**head, "sizes": [len(p) for p in packets]}).encode() + b"\n")
    for packet in packets:
        stream.write(packet)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[np.ndarray]]:
    line = stream.readline(1 << 16)
    if not line:
        raise EOFError
    head = json.loads(line)
    if not isinstance(head, dict) or not isinstance(head.get("sizes"), list):
        raise ValueError("no head of a message")
    packets = [stream.read(int(size)) for size in head["sizes"]]
    return head, [np.load(io.BytesIO(packet), allow_pickle=False) for packet in packets]


def _first_line(error: BaseException) -> str:
    return " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])[:500]


def _serve(path: Path, asked: IO[bytes], answered: IO[bytes]) -> None:
    """Answers questions until the input ends; errors of the network are answers, too."""
    module: Any = None
    cannot = ""
    try:
        if path.suffix.lower() == ".pt2":
            module = torch.export.load(str(path)).module()
        else:
            module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        cannot = f"it cannot be loaded: {_first_line(error)}"
    while True:
        try:
            head, arrays = _receive(asked)
        except EOFError:
            return
        if cannot:
            _send(answered, {"error": cannot}, ())
            continue
        try:
            y = torch.from_numpy(arrays[0]).requires_grad_(head["ask"] == "pull")
            out = module(y)
            if head["ask"] == "pull":
                (out,) = torch.autograd.grad(out, y, torch.from_numpy(arrays[1]))
            _send(answered, {}, (out.detach().resolve_conj().numpy(),))
        except Exception as error:
            _send(answered, {"error": _first_line(error)}, ())


if __name__ == "__main__":
    # What the file prints goes to stderr, since stdout is the pipe to the other process.
    line, sys.stdout = sys.stdout.buffer, sys.stderr
    _serve(Path(sys.argv[1]), sys.stdin.buffer, line)

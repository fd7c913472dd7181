"""Undecimated wavelets by FFT or by separable convolutions: W and W* once each, one thread.

    python benchmarks/frames.py

Both give the same coefficients (checked). The convolutions are torch's, dilated by 2^j and circular, low- and high-pass
of an axis in one call.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

import firenet
from firenet.transforms.filters import filter_bank


class Separable:
    """The same transform in space, for real images and for complex ones as two real ones."""

    def __init__(self, wavelet: str, levels: int, dtype: torch.dtype) -> None:
        low, high = (f[::-1].copy() / np.sqrt(2) for f in filter_bank(wavelet))
        self.taps = torch.tensor(np.stack([low, high]), dtype=dtype)
        self.levels = levels

    def _along(self, x: Tensor, axis: int, step: int) -> Tensor:
        """(n, 1, h, w) to (n, 2, h, w): low and high."""
        length = self.taps.shape[1]
        # The middle of the filter lies at 0, as in firenet.
        before, after = (length - 1 - length // 2) * step, (length // 2) * step
        shape = (2, 1, length, 1) if axis == 0 else (2, 1, 1, length)
        side = (0, 0, before, after) if axis == 0 else (before, after, 0, 0)
        return conv2d(
            pad(x, side, mode="circular"), self.taps.view(shape), dilation=(step, 1) if axis == 0 else (1, step)
        )

    def forward(self, x: Tensor) -> Tensor:
        low, bands = x[:, None], []
        for j in range(self.levels):
            rows = self._along(low, 0, 2**j)
            both = self._along(rows.flatten(0, 1)[:, None], 1, 2**j).unflatten(0, (-1, 2)).flatten(1, 2)  # LL LH HL HH
            bands += [both[:, k] for k in (1, 2, 3)]
            low = both[:, :1]
        return torch.stack([*bands, low[:, 0]], dim=1)


def seconds(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    print("| image | wavelet, levels | FFT, W then W* (ms) | separable, W alone (ms) |\n|---|---|---|---|")
    for n in (256, 512):
        for wavelet, levels in (("haar", 1), ("sym4", 2), ("sym4", 3), ("db8", 3)):
            x = torch.randn(2, n, n, generator=torch.Generator().manual_seed(0))  # real and imaginary part
            W, S = firenet.UndecimatedWavelet((n, n), wavelet, levels), Separable(wavelet, levels, x.dtype)
            a, b = W(x), S.forward(x)
            off = (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a)).item()
            assert off < 1e-5, f"{wavelet}: {off}"
            z = torch.complex(x[0], x[1])
            there, back = seconds(lambda z=z, W=W: W.adjoint(W(z))), seconds(lambda x=x, S=S: S.forward(x))
            print(f"| {n} x {n}, complex64 | {wavelet}, {levels} | {1e3 * there:.1f} | {1e3 * back:.1f} |")


if __name__ == "__main__":
    main()

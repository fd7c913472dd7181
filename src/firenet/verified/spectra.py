"""The unitary Fourier transform and the Walsh transform, by elementwise operations with bounds of their rounding."""

from __future__ import annotations

import math

import numpy as np

from firenet.transforms.walsh import sequency_order
from firenet.verified.arithmetic import TWIDDLE, Arithmetic, Array, inverse_root_loss
from firenet.verified.losses import Loss, gamma


def factors(n: int) -> list[int]:
    """Returns the radices of a Fourier transform of length n: fours, at most one two, then odd primes."""
    found, p = [], 4
    while n > 1:
        if p > 4 and p * p > n:
            p = n
        if n % p == 0:
            found.append(p)
            n //= p
        else:
            p = {4: 2, 2: 3}.get(p, p + 2)
    return found


def dft_loss(p: int) -> float:
    """Returns a bound of the error of a Fourier transform of prime length p, or of length 4, divided by the norm of the
    transform and by that of its argument."""
    if p <= 4 and p != 3:
        return (1 if p == 2 else 2) * gamma(1)
    # Sums of p products of a root and a number; the matrix of moduli has norm p, the transform sqrt(p).
    return math.sqrt(p) * (TWIDDLE * (1 + gamma(p)) + gamma(p)) * (1 + 1e-9)


def fourier_loss(shape: tuple[int, ...]) -> Loss:
    """Returns the loss of the unitary Fourier transform over all axes."""
    loss = Loss()
    for n in shape:
        radices = factors(n)
        for k, p in enumerate(radices):
            loss = loss.then(Loss(1.0, dft_loss(p), dft_loss(p)))
            if k + 1 < len(radices):
                loss = loss.then(Loss(1.0, TWIDDLE, TWIDDLE))
    scale = inverse_root_loss(math.prod(shape))
    return loss.then(Loss(1.0, scale, scale))


def fourier(x: Array, axes: int, k: Arithmetic) -> Array:
    """Computes the unitary Fourier transform over the last axes."""
    shape = x.shape
    for axis in range(len(shape) - axes, len(shape)):
        n = shape[axis]
        x = _along(x.reshape(-1, n, math.prod(shape[axis + 1 :])), factors(n), k).reshape(shape)
    return x * k.inverse_root(math.prod(shape[len(shape) - axes :]))


def _along(x: Array, radices: list[int], k: Arithmetic) -> Array:
    """Computes the transform along the middle axis: with i = i1 m + i2 and k = k1 + p k2, small transforms over i1,
    products with roots, and transforms over i2."""
    b, n, c = x.shape
    if n == 1:
        return x
    p, m = radices[0], n // radices[0]
    x = _small(x.reshape(b, p, m, c), p, k)
    if m > 1:
        turns = k.roots(n)[np.outer(np.arange(p), np.arange(m))]
        x = _along((x * turns[None, :, :, None]).reshape(b * p, m, c), radices[1:], k).reshape(b, p, m, c)
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, n, c)


def _small(x: Array, p: int, k: Arithmetic) -> Array:
    """Computes the transform of length p, a prime or 4, along the second axis."""
    if p == 2:
        return np.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], axis=1)
    if p == 4:
        even, odd = x[:, 0] + x[:, 2], x[:, 1] + x[:, 3]
        first, second = x[:, 0] - x[:, 2], k.turned(x[:, 1] - x[:, 3])
        return np.stack([even + odd, first + second, even - odd, first - second], axis=1)
    roots = k.roots(p)
    total = np.repeat(x[:, :1], p, axis=1)
    for j in range(1, p):
        total = total + x[:, j : j + 1] * roots[j * np.arange(p) % p][None, :, None, None]
    return total


def walsh_loss(shape: tuple[int, ...]) -> Loss:
    """Returns the loss of the Walsh transform: an addition in every stage, and the scale."""
    n = math.prod(shape)
    stages, scale = gamma(n.bit_length() - 1), inverse_root_loss(n)
    return Loss(1.0, stages, stages).then(Loss(1.0, scale, scale))


def walsh(x: Array, axes: int, k: Arithmetic) -> Array:
    """Computes the orthonormal Walsh transform in sequency order over the last axes; it is its own adjoint."""
    shape = x.shape
    for axis in range(len(shape) - axes, len(shape)):
        n = shape[axis]
        x = x.reshape(-1, n, math.prod(shape[axis + 1 :]))
        for _ in range(n.bit_length() - 1):
            first, second = x[:, : n // 2], x[:, n // 2 :]
            x = np.stack([first + second, first - second], axis=2).reshape(x.shape)
        x = x[:, sequency_order(n).numpy()].reshape(shape)
    return x * k.inverse_root(math.prod(shape[len(shape) - axes :]))

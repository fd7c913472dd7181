r"""
A single-pixel camera
=====================

A single-pixel camera has one detector. A mirror array shows one pattern after the other, and the detector
reads the sum of the light. With Walsh-Hadamard patterns, a quarter as many readings as pixels make an
image, with a bound of how far its objective is from the minimum.
"""

# %%
# What the camera delivers
# ------------------------
#
# The scene is a photograph of 128 by 128 pixels. Its patterns are rows of the Hadamard matrix over the
# flattened image, in natural order (Sylvester's), and a list has the number of the pattern of each
# measurement. Which patterns are shown is drawn at random: all of the lowest sequencies, the numbers of sign
# changes along each axis, and fewer of the others, the higher they are.

import matplotlib.pyplot as plt
import numpy as np
import pywt
import torch

import firenet
from firenet.camera import place
from firenet.transforms.walsh import sequency_positions

side = 128
scene = pywt.data.camera().reshape(side, 4, side, 4).mean(axis=(1, 3)) / 255
random = np.random.default_rng(0)

mask = firenet.sensing.multilevel((side, side), 0.25, transform="walsh", seed=0)
position = sequency_positions((side, side), "natural").numpy()
numbers = random.permutation(np.flatnonzero(mask.samples.numpy().ravel()[position]))

# %%
# A mirror is on or off, so each row :math:`H_k` of the matrix takes two readings: one of the pattern with
# ones where :math:`H_k` is 1, and one of its complement. Their difference is :math:`H_kx`. The order of the
# measurements is shuffled, and every reading has noise, here white with 1 % of the differences' root mean
# square.

hadamard = np.ones((1, 1))
while len(hadamard) < side:
    hadamard = np.kron([[1, 1], [1, -1]], hadamard)
# The matrix over the flattened image is the Kronecker product of those of its axes.
differences = (hadamard @ scene @ hadamard).ravel()[numbers]
bright, dark = (scene.sum() + differences) / 2, (scene.sum() - differences) / 2
sigma = 0.01 * np.sqrt(np.mean(differences**2)) / np.sqrt(2)
readings = np.stack([bright, dark], axis=1) + sigma * random.standard_normal((len(numbers), 2))

# %%
# From readings to measurements
# -----------------------------
#
# :func:`.place` subtracts the pairs, divides by the root of the number of pixels, and puts each measurement
# at its place in the grid of the Walsh transform in sequency order. The order of the patterns can be said;
# ``None`` finds it: a wrong one would scramble the photograph.

made = place(readings, (side, side), index=numbers, order=None)
print(*made.notes, sep="\n")

# %%
# The image
# ---------
#
# The rest is as for any measurement operator. All numbers are real, and the network ends when the relative
# duality gap of the last problem is at most 0.1 %.

solution = firenet.reconstruct(made.y, made.operator)
plain = made.operator.adjoint(made.y)
truth = torch.from_numpy(scene)

print(solution)
print(f"{made.operator.samples} of {side * side} patterns were shown, the order found is {made.order}.")
print(f"Transform alone: {firenet.psnr(plain, truth):.1f} dB, network: {firenet.psnr(solution.image, truth):.1f} dB")

# %%

panels = {
    "scene": truth,
    "patterns shown (sequency)": made.operator.mask,
    "transform alone": plain,
    "reconstruction": solution.image,
    "error × 5": 5 * (solution.image - truth).abs(),
}
figure, axes = plt.subplots(1, len(panels), figsize=(13, 3), layout="constrained")
for axis, (title, values) in zip(axes, panels.items(), strict=True):
    axis.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

r"""
A first reconstruction, with a certificate
==========================================

A quarter of the k-space of a real head slice is enough to reconstruct it. The network that does so has
no trained weights: its layers are the steps of a primal-dual iteration, and it stops when a duality gap
*proves* that the objective is at most 0.1 % above its minimum.
"""

# %%
# The image
# ---------
#
# Matplotlib ships a slice of a magnetic resonance scan. It is a magnitude image, so its k-space is
# computed: the undersampling is retrospective, without coil phase and without noise.

import matplotlib.cbook
import matplotlib.pyplot as plt
import numpy as np
import torch

import firenet

with matplotlib.cbook.get_sample_data("s1045.ima.gz") as file:
    pixels = np.frombuffer(file.read(), dtype=">u2").reshape(256, 256).astype(np.float32)
image = torch.from_numpy(pixels / pixels.max())

# %%
# What is measured
# ----------------
#
# A sampling mask takes 25 % of the frequencies: all of the low ones, and fewer of the others, the
# higher they are. The measurement operator :math:`A` is the Fourier transform of the image at these
# frequencies.

mask = firenet.sensing.multilevel((256, 256), 0.25, seed=0)
operator = firenet.SubsampledFourier(mask.samples)
y = operator(image)
zero_filled = operator.adjoint(y).abs()

# %%
# The problem that is solved
# --------------------------
#
# Images have few large wavelet coefficients. The network computes a minimiser of
#
# .. math:: F(x)=\lambda\|Wx\|_{l^1_w}+\|Ax-y\|_2
#
# for an undecimated wavelet transform :math:`W` (symlets, three levels). The schedule finds the
# step sizes and restarts by itself, and ends when the relative duality gap is at most
# ``tolerance``.

wavelet = firenet.UndecimatedWavelet((256, 256), "sym4", levels=3)
network = firenet.Firenet(operator, wavelet, schedule=firenet.AdaptiveRestarts(tolerance=1e-3))
solution = network.solve(y)
reconstruction = solution.image.abs()

print(solution)
print(f"The objective is {float(solution.objective):.5g}, the minimum at least {float(solution.lower_bound):.5g}.")
print(f"Zero-filled: {firenet.psnr(zero_filled, image):.1f} dB, network: {firenet.psnr(reconstruction, image):.1f} dB")

# %%
# The gap says how far the image is from the minimum *of the stated problem*. That the minimiser is
# near the truth is what the model assumes; here the truth is known, and the last panel shows the
# error.

panels = {
    "truth": image,
    "25 % of k-space": mask.centred(),
    "zero-filled": zero_filled,
    "reconstruction": reconstruction,
    "error × 5": 5 * (reconstruction - image).abs(),
}
figure, axes = plt.subplots(1, len(panels), figsize=(13, 3), layout="constrained")
for axis, (title, values) in zip(axes, panels.items(), strict=True):
    axis.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%
# A plain network
# ---------------
#
# What the schedule did can be frozen. The result is a feed-forward network with a fixed number of
# layers, differentiable in its measurements, which computes the same image.

fixed = network.following(solution.schedule.frozen())
again = fixed(y).abs()
print(f"The largest difference between the two images is {float((again - reconstruction).abs().max()):.1e}.")

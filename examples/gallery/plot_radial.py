r"""
Radial k-space of a raw scan
============================

Frequencies need not be on a grid. This example reconstructs a phantom from 32 diameters of k-space, with coil
maps estimated from the same data, and with a bound of how far the image is from optimal.
"""

# %%
# The data
# --------
#
# The scan that comes with firenet is raw k-space of two coils, measured on a grid and completely. The radial
# samples are **retrospective**: they are computed from the images of the coils, with their measured noise.
# A scanner's radial file would be read by ``firenet recon FILE --maps auto``.

import matplotlib.pyplot as plt
import torch

import firenet
from firenet.mri.readouts import prepare_readouts
from firenet.scans.demo import load_raw
from firenet.sensing import NonuniformFourier, radial

k = load_raw()
shape = k.shape[-2:]
axes = (-2, -1)
coils = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, dim=axes), norm="ortho"), dim=axes)
full = coils.abs().square().sum(dim=0).sqrt()

trajectory = radial(32, 2 * shape[0])
samples = NonuniformFourier(trajectory, shape)(coils)
print(tuple(samples.shape), "samples: coils, diameters, and along a diameter")

# %%
# From samples to an image
# ------------------------
#
# ``prepare_readouts`` puts the centre of k-space on a grid and estimates the coil maps from it, computes the
# density compensation M, and makes the weighted operator :math:`M^{1/2}A`. Its norm bound is proven.

scan = prepare_readouts(samples[None].numpy(), trajectory.numpy(), shape, maps="auto")
prepared = scan.images[0]
print(prepared.operator.norm_bound)
print(prepared.maps_method)

(found,) = firenet.reconstruct_scan(scan, fixed=True)
print(found.found)
print(found.found.conditions)

# %%
# The image before the network is the adjoint of the weighted operator, which is gridding with density
# compensation. All are compared with the root sum of squares of the whole scan, whose noise they share.

gridded = prepared.operator.adjoint(prepared.y).abs()
image = found.image.abs()


def scaled(x: torch.Tensor) -> torch.Tensor:
    """The multiple of an image that is nearest to the whole scan, where there are coil maps."""
    inside = ~prepared.undetermined
    return x * (x[inside] @ full[inside]) / x[inside].square().sum()


panels = {
    "whole scan": full,
    f"gridding, {firenet.psnr(scaled(gridded), full):.1f} dB": scaled(gridded),
    f"network, {firenet.psnr(scaled(image), full):.1f} dB": scaled(image),
    "difference × 5": 5 * (scaled(image) - full).abs(),
}
figure, axes = plt.subplots(1, len(panels), figsize=(11, 3.1), layout="constrained")
for axis, (title, values) in zip(axes, panels.items(), strict=True):
    axis.imshow(values, cmap="gray", vmin=0, vmax=full.max(), interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()

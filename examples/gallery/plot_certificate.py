r"""
A certificate for somebody else's image
=======================================

How many iterations does a solver need? The duality gap answers this for any image from any source.
Here FISTA, written in a few lines of NumPy and PyWavelets, solves a LASSO problem; the library, which
had no part in that, certifies the iterates.
"""

# %%
# The data
# --------
#
# A head slice of 128 x 128 pixels, 30 % of whose Fourier samples are measured, with noise. NumPy
# computes everything.

import matplotlib.cbook
import matplotlib.pyplot as plt
import numpy as np
import pywt

import firenet

with matplotlib.cbook.get_sample_data("s1045.ima.gz") as file:
    pixels = np.frombuffer(file.read(), dtype=">u2").reshape(256, 256).astype(float)
image = pixels.reshape(128, 2, 128, 2).mean(axis=(1, 3)) / pixels.max()

mask = firenet.sensing.multilevel(image.shape, 0.3, seed=0)
samples = mask.samples.numpy()
random = np.random.default_rng(0)
noise = random.normal(size=image.shape) + 1j * random.normal(size=image.shape)
y = samples * (np.fft.fft2(image, norm="ortho") + 0.01 * noise)

# %%
# The solver
# ----------
#
# The unknown is the array :math:`z` of wavelet coefficients; the objective is
#
# .. math:: F(z)=\lambda\|z\|_1+\|Az-y\|_2^2,\qquad A=P_\Omega\mathcal F W^*.
#
# FISTA takes gradient steps of length 1/2, for :math:`\|A\|\le1`, soft thresholds, and
# extrapolates.

LAM = 0.01
WAVELET, LEVELS = "db4", 3
_, layout = pywt.coeffs_to_array(pywt.wavedec2(image, WAVELET, mode="periodization", level=LEVELS))


def synthesis(z):
    coefficients = pywt.array_to_coeffs(z, layout, output_format="wavedec2")
    return pywt.waverec2(coefficients, WAVELET, mode="periodization")


def analysis(x):
    return pywt.coeffs_to_array(pywt.wavedec2(x, WAVELET, mode="periodization", level=LEVELS))[0]


def fista(iterations):
    """Yields the iterates."""
    z = point = np.zeros(image.shape, dtype=complex)
    t = 1.0
    for _ in range(iterations):
        residual = samples * np.fft.fft2(synthesis(point), norm="ortho") - y
        v = point - analysis(np.fft.ifft2(residual, norm="ortho"))
        size = np.abs(v)
        new = v * np.maximum(1 - LAM / 2 / np.maximum(size, 1e-300), 0)
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        point = new + (t - 1) / t_new * (new - z)
        z, t = new, t_new
        yield z


iterates = list(fista(300))

# %%
# The certificate
# ---------------
#
# The library is told the problem: the measurement operator, the transform, :math:`\lambda`, and
# that the residual is squared. ``certify`` then takes any coefficients and looks for a dual point
# that proves a lower bound of the minimum. The objective minus this bound is the gap:
# :math:`F(z)-\min F` is at most the gap plus its rounding, whoever computed :math:`z`.

problem = firenet.Firenet(
    firenet.SubsampledFourier(mask.samples),
    firenet.Wavelet(image.shape, WAVELET, levels=LEVELS),
    lam=LAM,
    fidelity="squared",
).problem

counts = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300]
certificates = [firenet.certify(problem, iterates[k - 1], y) for k in counts]
for k, certificate in zip(counts, certificates, strict=True):
    print(f"{k:>3} iterations: at most {float(certificate.relative_gap):.1e} above the minimum, relative to it")

# %%
# A solver sees only its own objective, on the left, which says little about when to stop. The gap,
# on the right, does: below the dashed line the objective is proved to be at most 0.1 % above the
# minimum.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.semilogx(counts, [float(c.objective) for c in certificates], "o-")
left.set(xlabel="iterations of FISTA", ylabel="objective $F(z)$")
right.loglog(counts, [float(c.relative_gap) for c in certificates], "o-")
right.axhline(1e-3, color="gray", linewidth=1, linestyle="dashed")
right.set(xlabel="iterations of FISTA", ylabel="relative duality gap")
plt.show()

# %%
# The certified image, and its error. A small gap means that the image is near the optimum of the
# stated problem; it does not mean that it is near the truth, which this problem, with its
# orthonormal wavelets, reaches only so far.

final = np.abs(synthesis(iterates[-1]))
figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
panels = {"truth": image, "FISTA, 300 iterations": final, "error × 5": 5 * np.abs(final - image)}
for axis, (title, values) in zip(axes, panels.items(), strict=True):
    axis.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

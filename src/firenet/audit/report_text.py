"""Explains the tests of an audit in plain words, for its report."""

from __future__ import annotations

EXPLAINED: dict[str, tuple[str, str, str]] = {
    "accuracy": (
        "Accuracy without perturbation",
        "How near the reconstruction is to the image that was measured. Stability is worth nothing without it: a black "
        "image is perfectly stable.",
        "PSNR of magnitudes; SSIM of Wang et al. (2004), by scikit-image.",
    ),
    "worst": (
        "Worst perturbations",
        "The search is for a perturbation of the measurements that is too small to notice and changes the image most. "
        "It follows the gradient of the reconstruction. Random noise of the same size is the control. Amplification is "
        "the norm of the change over the norm of the perturbation: 1 is what a measured frequency always has.",
        "Antun et al., PNAS 2020; Genzel, Macdonald, März 2020. The numbers are lower bounds: there may be worse "
        "perturbations.",
    ),
    "localised": (
        "Worst perturbation of one place",
        "The same search, but for the largest change of one pixel in a window: an artefact in one place. This is the "
        "known weak spot of compressed sensing, whose theory bounds only the norm of the whole image.",
        "Alaifari, Alberti, Gauksson 2022. Amplification is the change of the pixel over the size of the perturbation: "
        "at most 1 for a map of norm 1, whatever the size of the image. The change is relative to the image's maximum.",
    ),
    "details": (
        "Details: lost or invented",
        "A text, a disc like a lesion and thin lines are put into the object with falling contrast. Recovered is the "
        "share of the contrast that the image shows. The index is what an ideal observer sees of the detail, in "
        "standard deviations of the error elsewhere. Below 3 the detail is lost. Where the object does not have the "
        "detail, it is invented if the index is 3 or more.",
        "After Antun et al. 2020 and Colbrook, Antun, Hansen, PNAS 2022, figure 4; the limit of 3 is Rose's (1948).",
    ),
    "kernel": (
        "A detail that is almost invisible to the measurement",
        "The text is changed until its measurements are as small as the reference budget. A reconstruction that shows "
        "it nevertheless must be unstable: the local Lipschitz constant is at least (distance - 2 error) / difference. "
        "A bound of 0 means that the reconstruction does not show it; then nothing follows. If a pair of images is "
        "given that no method can tell apart (firenet confuse), the model gets the data halfway between theirs: its "
        "error on one of them is at least half their distance, so a smaller promised error is refuted.",
        "Gottschling, Antun, Hansen, Adcock, The troublesome kernel, SIAM Review 2025.",
    ),
    "noise": (
        "More noise",
        "Gaussian noise is added to the measurements, more than in training: the image should get worse slowly.",
        "Adcock, Hansen, Compressive Imaging, 2021, chapter 17.",
    ),
    "scaling": (
        "Another unit",
        "The measurements are multiplied by a number, and the image divided by it. Scanners have no common unit, so "
        "nothing should change.",
        "The minimisers of FIRENET's problem scale with the data exactly.",
    ),
    "samples": (
        "More and fewer samples",
        "Samples are added, so that each mask is a subset of the next. More data should never give a worse image.",
        "Antun et al. 2020 found networks that get worse.",
    ),
    "anatomy": (
        "Other anatomy",
        "The accuracy of images of another kind than those of the other tests.",
        "PSNR of magnitudes, and that of the adjoint for comparison.",
    ),
    "transfer": (
        "Perturbations found elsewhere",
        "The perturbations that were found for other models, and in the test of one place, are applied to this model. "
        "If one of them changes the image much, the model can be attacked by somebody who does not know it. One more "
        "ascent begins at the worst of them.",
        "Amplification at the reference budget.",
    ),
    "certificate": (
        "Certificate",
        "For every perturbation e the objective of FIRENET's image is within gap + 2 |e| of the best possible one for "
        "the data without e. This is proven; here it is checked against every perturbation that was found for any "
        "model. It bounds the objective, not the distance to the truth. For the synthesis form with a known null space "
        "property the distance between the coefficients of the two images is bounded, too.",
        "The objective (P3) of a point changes by at most |e| with the data; the gap is weak duality. The distance: "
        "docs/stability.md.",
    ),
}

"""What the tests of an audit mean, in words, for its report."""

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
        "A perturbation of the measurements too small to notice is searched for, by following the gradient of the "
        "reconstruction, that changes the image most. Random noise of the same size is the control. Amplification is "
        "the size of the change over the size of the perturbation: 1 is what a measured frequency always has.",
        "Antun et al., PNAS 2020; Genzel, Macdonald, März 2020. Lower bounds: there may be worse ones.",
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
        "share of the contrast that comes out; the index says by how many band_noise of the error elsewhere an ideal "
        "observer sees it. Below 3 it is lost. Where the object is empty the index must be below 3, or it is invented.",
        "After Antun et al. 2020 and Colbrook, Antun, Hansen, PNAS 2022, figure 4; the limit of 3 is Rose's (1948).",
    ),
    "kernel": (
        "A detail that is almost invisible to the measurement",
        "The text is changed until its measurements are as small as the reference budget. Who shows it nevertheless "
        "must be unstable: the local Lipschitz constant is at least (distance - 2 error) / difference. A bound of 0 "
        "means that the reconstruction does not show it, and says nothing.",
        "Gottschling, Antun, Hansen, Adcock, The troublesome kernel, SIAM Review 2025.",
    ),
    "noise": (
        "More noise",
        "Gaussian noise on the measurements, more than in training: the image should get worse slowly.",
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
        "Samples are added, each mask within the next. More data should never make worse images.",
        "Antun et al. 2020 found networks that get worse.",
    ),
    "anatomy": (
        "Other anatomy",
        "Images of another kind than those that were audited.",
        "PSNR of magnitudes, and of the adjoint for comparison.",
    ),
    "transfer": (
        "Perturbations found elsewhere",
        "What was found for other models, and in the test of one place, is shown to this one: who falls for it can be "
        "attacked without being known. From the worst of them one more ascent begins.",
        "Amplification at the reference budget.",
    ),
    "certificate": (
        "Certificate",
        "For every perturbation e the objective of FIRENET's image is within gap + 2 |e| of the best possible one for "
        "the data without e. This is proven; here it is checked against every perturbation that was found for any "
        "model. It speaks of the objective, not of the distance to the truth.",
        "The objective (P3) of a point changes by at most |e| with the data; the gap is weak duality.",
    ),
}

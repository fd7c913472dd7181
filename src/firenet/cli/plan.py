"""``firenet plan``: the theorem's network for an operator, before any data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from firenet.cli import console, options, scans
from firenet.cli.problem import coefficients_of, level_of, levels_of, operator_of
from firenet.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.guarantees.guarantee import Guarantee
    from firenet.guarantees.planning import Plan
    from firenet.guarantees.sampling import BandSamples
    from firenet.operators.linear import LinearOperator
    from firenet.sparsity import SparsityLevels
    from firenet.transforms.wavelet import Wavelet


@console.reports
def plan(
    matrix: Annotated[Path | None, Argument(help="The file of the matrix A. Or give --mask or --shape.")] = None,
    mask: Annotated[Path | None, Option(help="The file of a sampling mask.")] = None,
    shape: Annotated[
        str | None, Option(help="The sides of the image, N1,N2,...; its mask is drawn as by `firenet mask --rate`.")
    ] = None,
    rate: options.DrawnRate = None,
    seed: Annotated[int | None, Option(help="The seed of the mask that is drawn. Default: 0.")] = None,
    transform: options.Transform = None,
    corner_dc: Annotated[
        bool, Option("--corner-dc", help="Zero frequency of the mask lies in the corner, not in the middle.")
    ] = False,
    wavelet: Annotated[str | None, Option(help="The orthonormal wavelet of a mask's image. Default: haar.")] = None,
    sizes: Annotated[
        str | None, Option(help="The sizes of the levels of a matrix's columns. Default: one level of all.")
    ] = None,
    sparsities: Annotated[str | None, Option(help="The number of large coefficients in each level, s1,s2,...")] = None,
    image: Annotated[
        Path | None, Option(help="The file of an image or signal, from which sparsities, defect and norm are taken.")
    ] = None,
    share: options.Share = None,
    rho: Annotated[float | None, Option(help="rho of the null space property. Default for a mask: 1/2.")] = None,
    gamma: Annotated[float | None, Option(help="gamma of that property. Default for a mask: the root of 2.")] = None,
    accuracy: Annotated[
        str,
        Option(help="The largest error that a finite depth may add: a number, or a share of the signal such as 1%."),
    ] = "1%",
    noise: Annotated[float, Option(help="A bound of the 2-norm of the noise, in the unit of the data.")] = 0.0,
    defect: Annotated[
        float | None, Option(help="A bound of the weighted sparsity defect. Default: --image's, or 0.")
    ] = None,
    signal: Annotated[float | None, Option(help="A bound of the signal's 2-norm. Default: that of --image.")] = None,
    nu: Annotated[
        float | None,
        Option(help="Each restart multiplies the error bound by this. Default: exp(-1), for the fewest layers."),
    ] = None,
    sampling: Annotated[
        str | None,
        Option(
            help="CONSTANT,LOGARITHMS,KAPPA,FAILURE: also show how many samples each box of the mask needs by the "
            "sampling theorem, with your numbers for its three unknown factors and its probability of failure."
        ),
    ] = None,
    build: Annotated[
        Path | None, Option(help="Write all numbers of the network (.npz), and the plan beside it (.json).")
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Plan the network of the recovery theorem for a matrix or a mask, before any data: depth, parameters, error bound.

    The bound holds for every signal and all data within the stated bounds, if the operator has the null space property
    in levels with rho and gamma. That is assumed here, and the plan says so.

    Examples:
      firenet plan --shape 256,256 --image slice.npy --accuracy 1%
      firenet plan matrix.npy --sparsities 1 --rho 0.5 --gamma 1.6 --signal 1 --accuracy 1e-6
      firenet plan --mask mask.npy --image slice.npy --sampling 1,1,1,0.01 --build network.npz
    """
    import numpy as np

    from firenet.guarantees.planning import plan as planned
    from firenet.io.files import check_beside, check_output
    from firenet.sparsity import defect as sparsity_defect

    if build is not None:
        check_output(build, suffixes=(".npz",))
        scans.check_overwriting([build, scans.beside(build)], [p for p in (matrix, mask, image) if p is not None])
        check_beside(scans.beside(build), overwrite=overwrite)
    if matrix is not None:
        options.refuse_unused("with a matrix", {"--transform": transform, "--wavelet": wavelet})
    if shape is None:
        options.refuse_unused("without --shape", {"--seed": seed})
    transform, wavelet = "fourier" if transform is None else transform, "haar" if wavelet is None else wavelet
    sensing, frame = operator_of(matrix, mask, shape, rate, seed or 0, transform, corner_dc, wavelet)
    level = level_of(sensing, frame, sizes)
    coefficients = None if image is None else coefficients_of(image, sensing, frame)
    levels = levels_of(level, frame, sparsities, coefficients, share)
    guarantee = _guarantee(sensing, frame, levels, rho, gamma)
    b1, measured = signal, 0.0
    if coefficients is not None:
        b1 = float(np.linalg.norm(coefficients)) if signal is None else signal
        measured = sparsity_defect(coefficients, level, levels)
    if b1 is None:
        raise BadInput("--signal, a bound of the signal's norm", "none", "Or give --image, an image of that norm")
    arguments: dict[str, Any] = {} if nu is None else {"nu": nu}
    made = planned(
        guarantee,
        accuracy=_accuracy(accuracy, b1),
        noise=noise,
        sparsity_defect=measured if defect is None else defect,
        signal=b1,
        **arguments,
    )
    boxes = None if sampling is None else _sampling(sampling, sensing, levels, transform)
    record = made.record() | ({} if boxes is None else {"sampling": boxes.record()})
    if build is not None:
        _write(made, build, record, {"transform": transform, "wavelet": wavelet} if frame is not None else {})
    if as_json:
        console.print_json(record)
        return
    _show(made)
    if boxes is not None:
        _show_boxes(boxes)
    if build is not None:
        console.say(f"wrote {build}, the numbers of the network, and {scans.beside(build)}, this plan")


def _guarantee(
    sensing: LinearOperator, frame: Wavelet | None, levels: SparsityLevels, rho: float | None, gamma: float | None
) -> Guarantee:
    from firenet.guarantees.constants import Constants
    from firenet.guarantees.guarantee import Guarantee

    if frame is None and (rho is None or gamma is None):
        do = "Give the constants of your matrix; a mask has those of the sampling theorem by default"
        raise BadInput("--rho and --gamma for a matrix", f"rho={rho}, gamma={gamma}", do)
    # The dataclass has the values of the sampling theorem as its defaults.
    rho, gamma = (Constants.rho if rho is None else rho), (Constants.gamma if gamma is None else gamma)
    return Guarantee(sensing, Constants(levels, rho, gamma), frame)


def _sampling(text: str, sensing: LinearOperator, levels: SparsityLevels, transform: str) -> BandSamples:
    from firenet.guarantees.sampling import band_samples
    from firenet.sensing.masked import Masked

    numbers = options.parse_numbers(text, "--sampling")
    if len(numbers) != 4 or not isinstance(sensing, Masked):
        needed = "Four numbers CONSTANT,LOGARITHMS,KAPPA,FAILURE for --sampling, and a mask"
        raise BadInput(needed, f"{text} with {type(sensing).__name__}", "For example --sampling 1,1,1,0.01")
    given = dict(zip(("constant", "logarithms", "kappa", "failure"), numbers, strict=True))
    kind = "walsh" if transform == "walsh" else "fourier"
    return band_samples(sensing.in_shape, levels, kind, **given, mask=sensing.mask.cpu().numpy())


def _accuracy(text: str, signal: float) -> float:
    """Returns the accuracy in the unit of the signal."""
    try:
        return float(text.removesuffix("%")) * (signal / 100 if text.endswith("%") else 1)
    except ValueError:
        raise BadInput("--accuracy: a number, or a share of the signal", repr(text), "For example 1%") from None


def _write(made: Plan, path: Path, record: dict[str, Any], words: dict[str, str]) -> None:
    """Writes the numbers of the network, and beside it the plan."""
    import numpy as np

    from firenet.io.archives import write_arrays
    from firenet.io.files import write_json
    from firenet.io.safely import replacing, together
    from firenet.operators.matrix import Matrix
    from firenet.sensing.masked import Masked
    from firenet.theorem.planned import network, steps

    net = network(made)
    arrays: dict[str, NDArray[Any]] = {"matrix": net.sensing.matrix.numpy()} if isinstance(net.sensing, Matrix) else {}
    if isinstance(net.sensing, Masked):
        arrays = {"mask": net.sensing.mask.numpy()}
    arrays |= dict(zip(("tau", "sigma"), steps(made), strict=True))
    arrays |= {"weights": made.guarantee.weights, "lam": np.array(made.lam), "layers_per_restart": np.array(made.inner)}
    with together():
        with replacing(path) as (temporary,):
            write_arrays(temporary, arrays)
        write_json(scans.beside(path), record | words)


def _show(made: Plan) -> None:
    """Prints a sentence, the numbers of the network, the error in parts, and all that they rest on."""
    error, c = made.error, made.guarantee.constants
    console.say(made.summary)
    m, n = made.measurements, made.coefficients
    rows = [
        ("restarts n x layers p", f"{made.outer} x {made.inner}"),
        ("affine maps, 3np + 1", f"{made.affine_maps}"),
        ("widths", f"{m}, ({2 * n + m}, {2 * (n + m)}, {2 * n + m + 1}) x {made.layers}, {n}"),
        ("dense parameters", f"{made.parameters:.4g} ({_bytes(made.dense_bytes)})"),
        ("stored here", _bytes(made.operator_bytes)),
        ("lambda", f"{made.lam:.4g}"),
        ("weights", ", ".join(f"{w:.3g}" for w in c.level_weights)),
        ("sparsities", ", ".join(map(str, c.levels.sparsities))),
        ("C2, nu, delta", f"{made.second:.4g}, {made.nu:.4g}, {made.delta:.4g}"),
        ("epsilon_0 = b2", f"{made.size:.4g}"),
    ]
    console.table("network", ["number", "value"], rows)
    parts = (("model (sparsity defect)", error.model), ("noise", error.noise), ("depth", error.depth))
    rows = [(name, f"{v:.4g}", f"{100 * v / made.signal:.3g} %") for name, v in (*parts, ("sum", made.bound))]
    console.table("error bound, in the unit of the signal", ["part", "bound", "of the signal"], rows)
    if made.vacuous:
        console.say("vacuous: the zero image is as close to the signal as this bound promises")
    console.say("It holds if")
    for text in made.assumptions:
        console.say(f"* {text}")


def _show_boxes(found: BandSamples) -> None:
    """Prints the boxes, those with the same largest band added up."""
    rows = []
    for top in range(1, len(found.levels.sizes) + 1):
        boxes = [box for box in found.boxes if max(box.box) == top]
        lacking = sum(not box.enough for box in boxes)
        needed = sum(min(box.needed, box.size) for box in boxes)
        row = (sum(box.size for box in boxes), sum(box.samples or 0 for box in boxes), needed)
        density, coherence = sum(box.density for box in boxes), max(max(box.coherence) for box in boxes)
        ends = [f"{lacking} of {len(boxes)}", f"{density:.4g}", f"{coherence:.3g}"]
        rows.append([f"{top}", *(f"{v:.0f}" for v in row), *ends])
    largest = f"largest of the {found.coherences}"
    columns = ["band", "size", "samples", "needed", "boxes that lack", "M(s, k)", largest]
    console.table("samples by the largest band of a box", columns, rows)
    console.say(f"needed: {found.assumption}")
    said = "the sampling theorem's gamma is that of a matrix with rescaled boxes: multiply it for the mask's operator"
    console.say(f"{said} by {found.rescaling:.3g}")


def _bytes(number: int) -> str:
    power = min(max(number.bit_length() - 1, 0) // 10, 5)
    return f"{number / 2 ** (10 * power):.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power]}"

"""``firenet confuse``: two images that a measurement cannot tell apart, as a proof about every method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from firenet.cli import console, options, scans
from firenet.cli.problem import coefficients_of, level_of, levels_of, operator_of
from firenet.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.guarantees.confusion import Confusion
    from firenet.guarantees.planning import Plan
    from firenet.operators.linear import LinearOperator
    from firenet.sparsity import SparsityLevels


@console.reports
def confuse(
    matrix: Annotated[Path | None, Argument(help="The file of the matrix A. Or give --mask or --shape.")] = None,
    mask: Annotated[Path | None, Option(help="The file of a sampling mask.")] = None,
    shape: Annotated[
        str | None, Option(help="The sides of the image, N1,N2,...; its mask is drawn as by `firenet mask --rate`.")
    ] = None,
    rate: options.DrawnRate = None,
    sensing: options.Transform = None,
    coils: Annotated[Path | None, Option(help="The file of coil maps, shape (coils, N1, N2).")] = None,
    corner_dc: Annotated[
        bool, Option("--corner-dc", help="Zero frequency of the mask lies in the corner, not in the middle.")
    ] = False,
    wavelet: Annotated[
        str | None, Option(help="The orthonormal wavelet in which the images are sparse. Default: haar.")
    ] = None,
    depth: Annotated[
        int | None, Option("--levels", help="The number of levels of the wavelet. Default: as many as fit.")
    ] = None,
    sizes: Annotated[
        str | None, Option(help="The sizes of the levels of a matrix's columns. Default: one level of all.")
    ] = None,
    sparsities: Annotated[str | None, Option(help="The number of non-zeros in each level, s1,s2,...")] = None,
    bound: Annotated[
        str | None,
        Option(help="The largest modulus of a coefficient: one number, or one for each level. Default: as in --image."),
    ] = None,
    image: Annotated[
        Path | None, Option(help="The file of an image: sparsities and bounds are taken from its coefficients.")
    ] = None,
    share: options.Share = None,
    around: Annotated[
        bool, Option("--around", help="Take a sparse approximation of --image as one of the two images.")
    ] = False,
    noise: Annotated[
        str,
        Option(
            help="The 2-norm of the noise: a number in the unit of the data, or a share of the norm of --image's data "
            "such as 1%."
        ),
    ] = "1%",
    allow_complex: Annotated[
        bool, Option("--complex", help="Look for complex images, not only for real ones.")
    ] = False,
    rho: Annotated[
        float | None,
        Option(help="Assume the null space property with this rho: also show the error bound of `firenet plan`."),
    ] = None,
    gamma: Annotated[float | None, Option(help="The gamma of that property.")] = None,
    iterations: Annotated[int, Option(min=1, help="The number of steps of the search.")] = 300,
    starts: Annotated[int, Option(min=1, help="The number of random starts of the search.")] = 2,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, Option("--out", "-o", help="Write the pair (.npz), and its certificate beside it (.json).")
    ] = None,
    picture: Annotated[Path | None, Option(help="Draw both images and their difference (.png).")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Find two plausible images that a measurement cannot tell apart within the noise.

    Both are in the class: sparse in levels, with bounded coefficients. Their measurements differ by at most twice the
    noise, so that some data are within the noise of both, and every method, trained or not, errs by at least half the
    distance of the images on one of them. Distance and measurements are checked in integers, and python -m
    firenet.guarantees.pair_checker PAIR.json checks them again. A pair that is further apart may exist.

    Exit code 3 if the pair that was found is no proof for this noise, which is usual for noise 0; it is then a proof
    for a larger noise, which is printed.

    Examples:
      firenet confuse --mask mask.npy --image slice.npy --noise 1% --picture pair.png
      firenet confuse --mask mask.npy --image slice.npy --around --picture pair.png
      firenet confuse --shape 64,64 --sparsities 4,12,30,80,150,200 --bound 1 --noise 0.1 -o pair.npz
      firenet confuse matrix.npy --sparsities 2 --bound 1 --noise 0.01 --rho 0.5 --gamma 2
    """
    from firenet.guarantees.confusion import confuse as search
    from firenet.io.files import check_beside, check_output

    if out is not None:
        check_output(out, suffixes=(".npz",))
        inputs = [p for p in (matrix, mask, image, coils) if p is not None]
        scans.check_overwriting([out, scans.beside(out)], inputs)
        check_beside(scans.beside(out), overwrite=overwrite)
    if picture is not None:
        check_output(picture, suffixes=(".png",))
    if (rho is None) != (gamma is None):
        raise BadInput("Both --rho and --gamma, or neither", f"rho={rho}, gamma={gamma}", "Give both")
    if matrix is not None:
        options.refuse_unused("with a matrix", {"--sensing": sensing, "--wavelet": wavelet, "--levels": depth})
    sensing, wavelet = "fourier" if sensing is None else sensing, "haar" if wavelet is None else wavelet
    operator, frame = operator_of(matrix, mask, shape, rate, seed, sensing, corner_dc, wavelet, depth, coils)
    if around and image is None:
        raise BadInput("--image for --around", "none", "Give the image whose approximation is one of the two")
    level = level_of(operator, frame, sizes)
    coefficients = None if image is None else coefficients_of(image, operator, frame)
    levels = levels_of(level, frame, sparsities, coefficients, share)
    with console.progress("search", "steps") as tell:
        found = search(
            operator,
            levels,
            noise=_noise(noise, operator, image),
            bound=_bound(bound, levels, level, coefficients),
            sparsify=frame,
            around=coefficients if around else None,
            real=not allow_complex,
            seed=seed,
            starts=starts,
            iterations=iterations,
            progress=tell,
        )
    upper = None if rho is None or gamma is None else found.upper_bound(rho, gamma)
    record = found.record() | ({} if upper is None else {"plan": upper.record()})
    if out is not None:
        _write(found, out, record)
    if picture is not None:
        draw(found, picture)
    if as_json:
        console.print_json(record)
    else:
        _show(found, upper, [p for p in (out, picture) if p is not None])
    if not found.reached:
        raise Exit(console.NOT_REACHED)


def _noise(text: str, operator: LinearOperator, image: Path | None) -> float:
    """Returns the noise in the unit of the data."""
    import numpy as np
    import torch

    from firenet.io.files import read_array

    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        do = "For example --noise 1%"
        raise BadInput("--noise: a number, or a share of the norm of the data", repr(text), do) from None
    if not text.endswith("%"):
        return number
    if image is None:
        raise BadInput("An --image for --noise as a share of its data", "none", "Give the noise as a number")
    x = torch.from_numpy(np.ascontiguousarray(read_array(image, purpose="image")))
    kind = operator.state_dtype(torch.complex128 if x.is_complex() else torch.float64)
    return number / 100 * torch.linalg.vector_norm(operator(x.to(kind))).item()


def _bound(
    text: str | None, levels: SparsityLevels, level: NDArray[Any], coefficients: NDArray[Any] | None
) -> float | list[float]:
    """Returns the bounds of the moduli that are given, or the largest ones of the image in each level."""
    import numpy as np

    if text is not None:
        given = options.parse_numbers(text, "--bound")
        return given[0] if len(given) == 1 else list(given)
    if coefficients is None:
        do = "Give the largest modulus that a coefficient may have"
        raise BadInput("--bound, or an --image whose coefficients give the bounds", "neither", do)
    index, moduli = levels.index(level).ravel(), np.abs(coefficients).ravel()
    largest = [float(moduli[index == k].max()) for k in range(len(levels.sizes))]
    least = min((b for b in largest if b > 0), default=0.0)
    return [b or least for b in largest]  # a level without a coefficient has the smallest bound of the others


def _write(found: Confusion, path: Path, record: dict[str, Any]) -> None:
    """Writes the pair, and beside it the certificate."""
    import numpy as np

    from firenet.io.archives import write_arrays
    from firenet.io.files import to_json
    from firenet.io.safely import replacing, together

    first, second = (x.numpy() for x in found.images)
    arrays = {"coefficients_first": found.first.numpy(), "coefficients_second": found.second.numpy()}
    arrays |= {"first": first, "second": second, "noise": np.array(found.noise), "distance": np.array(found.distance)}
    with together(), replacing(path, scans.beside(path)) as (temporary, certificate):
        write_arrays(temporary, {"record": np.array(to_json(record)), **arrays})
        certificate.write_text(found.to_json(), encoding="utf-8")


def draw(found: Confusion, path: Path) -> None:
    """Draws both images and their difference on one scale; signals of one axis as lines."""
    import numpy as np
    from matplotlib.figure import Figure

    from firenet.guarantees.pair_checker import under
    from firenet.io.safely import replacing

    first, second = (x.numpy() for x in found.images)
    first, second = (x[len(x) // 2] if x.ndim == 3 else x for x in (first, second))
    shown = [np.abs(x) if np.iscomplexobj(x) else np.real(x) for x in (first, second, first - second)]
    most = max(float(np.abs(x).max()) for x in shown)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    titles = ("one image", "another image", "their difference")
    for axes, x, title in zip(figure.subplots(1, 3), shown, titles, strict=True):
        axes.set_title(title)
        if x.ndim == 1:
            axes.plot(x, linewidth=0.8)
            axes.set_ylim(-1.05 * most, 1.05 * most)
            continue
        drawn = axes.imshow(x, cmap="gray", vmin=-most, vmax=most, interpolation="nearest")
        axes.axis("off")
        if title == titles[-1]:
            figure.colorbar(drawn, ax=axes, shrink=0.75)
    figure.suptitle(
        f"indistinguishable at noise {found.noise_text}: every method errs by at least {under(found.lower_bound)} on "
        f"one of them (distance {under(found.distance)})"
    )
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=100, format="png")


def _show(found: Confusion, upper: Plan | None, written: list[Path]) -> None:
    """Prints the statement, the upper bound, the numbers, and what it rests on."""
    from firenet.guarantees.pair_checker import above, under

    console.say(found.summary)
    if not found.reached:
        console.say(f"For the noise {found.asked:.3g} that was asked for no pair was found; that proves nothing.")
    if upper is None:
        console.say(
            "No upper bound is known: --rho and --gamma assume one, and `firenet prove` verifies small matrices."
        )
    else:
        vacuous = ", vacuous: more than the signal itself" if upper.vacuous else ""
        console.say(
            f"If A has the null space property, the network of `firenet plan` errs by at most {upper.bound:.4g}"
            f"{vacuous}."
        )
        if found.lower_bound > upper.bound:
            console.say("The pair refutes this rho and gamma: no method can be that good.")
    rows = [
        ("|x - x'|", under(found.distance, 6), "at least, verified"),
        ("half of it: lower bound", under(found.lower_bound, 6), "at least, verified"),
        ("|A(x - x')|", above(found.misfit, 6), "at most, verified"),
        ("noise", found.noise_text, "half of that or more"),
        ("|x| in the class", f"{found.signal:.6g}", "at most"),
    ]
    if found.noise:
        rows.append(("lower bound / noise", f"{found.lower_bound / found.noise:.4g}", ""))
    console.table("pair", ["number", "value", "it is"], rows)
    console.say("It rests on")
    for text in found.assumptions:
        console.say(f"* {text}")
    for path in written:
        console.say(f"wrote {path}")

"""A command of your own: how much of k-space does a mask sample?"""

from pathlib import Path
from typing import Annotated

import typer

from firenet.cli import console

app = typer.Typer(add_completion=False)


@app.command()
@console.reports
def rate(
    mask: Annotated[Path, typer.Argument(help="The mask: npy, npz, PNG, HDF5.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the share of the grid that a sampling mask takes.

    Everything slow is imported here, so that --help answers at once. What cannot be used is a BadInput, which `reports`
    turns into three lines and exit code 2.
    """
    from firenet.io.files import read_array
    from firenet.mri.scan import binary_mask

    samples = binary_mask(read_array(mask, purpose="mask"))
    share = samples.double().mean().item()
    if as_json:
        console.print_json({"samples": int(samples.sum()), "rate": share})
    else:
        console.say(f"{int(samples.sum())} of {samples.numel()} samples ({share:.1%}) in {mask}")


if __name__ == "__main__":
    app()

"""Writes ``d5c5.safetensors`` from the published weights of D5-C5, as it lies in this distribution.

    python models/convert_d5c5.py d5_c5.npz models/src/firenet_models/d5c5.safetensors

The input is ``models/pretrained/d5_c5.npz`` of https://github.com/js3611/Deep-MRI-Reconstruction (Apache-2.0): fifty
arrays, weight and bias of 25 convolutions by turns. The one change is their rounding to half precision.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

SHA256 = "4a117a9285e4026e33a18887464863671f73f68f6a92b405544cb6b69cadd939"


def main() -> None:
    """Reads, checks and converts."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{source} has SHA-256 {found}, not {SHA256}")
    with np.load(source, allow_pickle=False) as stored:
        arrays = {f"{k:02d}": stored[f"arr_{k}"].astype(np.float16) for k in range(50)}
    about = {
        "network": "D5-C5, Schlemper, Caballero, Hajnal, Price, Rueckert, IEEE TMI 37 (2018)",
        "source": "https://github.com/js3611/Deep-MRI-Reconstruction, models/pretrained/d5_c5.npz",
        "source sha256": SHA256,
        "licence": "Apache-2.0",
        "changes": "rounded to half precision",
    }
    out.write_bytes(save(arrays, about))


if __name__ == "__main__":
    main()

"""A test of your own for the audit: does a reconstruction move with the object?"""

import torch

import firenet
from firenet.audit import Model, Settings
from firenet.audit.bench import Bench, Measured
from firenet.audit.parts import Parts
from firenet.audit.records import Row
from firenet.audit.subject import Subject


def shift(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    """Measures :math:`\\|R(ASx)-SR(Ax)\\|_2/\\|x\\|_2` for S, the shift by one row.

    Returns:
        Numbers for the record, and pictures by name.
    """
    x, y = bench.truth(image)
    with torch.no_grad():
        plain = subject.reconstruct(y).roll(1, 0)
        moved = subject.reconstruct(bench.sensing(x.roll(1, 0)))
    error = torch.linalg.vector_norm(moved - plain) / torch.linalg.vector_norm(x)
    return {"relative error": error.item()}, {"difference": moved - plain}


def main() -> Row:
    """Puts the adjoint to the test, on a bench with nothing else. A test of the library is one more entry of
    ``MEASURES`` in ``firenet/audit/measures.py``."""
    sensing = firenet.SubsampledFourier(firenet.sensing.multilevel((16, 16), 0.5).samples)
    x = torch.zeros(16, 16)
    x[4:9, 5:11] = 1
    bench = Bench(sensing, {"box": x}, {}, Settings(steps=2), Parts(None, False), {"shift": shift})
    row = bench.row(Model("adjoint", lambda operator: operator.adjoint), "box", "shift")
    assert row is not None
    return row


if __name__ == "__main__":
    print(main())

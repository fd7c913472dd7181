"""The stability audit: any reconstruction on the bench, and what it does written down.

One audit is one sensing operator, some models and some images. Each test of a model on an image is a part: it is put on
disk when it is done, a long audit goes on where it ended, and what fails is a row of the record with its reason.
Everything is measured. What an attack finds is a lower bound of how bad it can get; that nothing worse was found proves
nothing, except for FIRENETs, whose objective is bounded for every perturbation (:func:`.firenets.certified`).
"""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

"""The stability audit: tests of any reconstruction, and a record of the results.

One audit is one measurement operator A, which maps an image to its measurements, some models and some images. Each test
of a model on an image is a part. If a folder is given, a part is stored there when it is done, so that a long audit
resumes where it was stopped. A part that fails is a row of the record with its reason. All results are measured. The
error that an attack finds is a lower bound of the largest one. A search that finds nothing worse proves nothing. Only
for FIRENETs of (P3) something is proven: a bound of their objective under every perturbation
(:func:`.firenets.certified`).
"""

from firenet.optional import lazy

__getattr__, __dir__, __all__ = lazy(__name__, __file__)

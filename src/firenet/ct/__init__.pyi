from firenet.ct.axis import rotation_centre as rotation_centre
from firenet.ct.backprojection import filtered_backprojection as filtered_backprojection
from firenet.ct.ramp import RampWeighted as RampWeighted
from firenet.ct.sinogram import binned as binned, line_integrals as line_integrals

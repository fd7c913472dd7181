from firenet.reconstruction.choice import (
    Choice as Choice,
    Setting as Setting,
)
from firenet.reconstruction.defaults import (
    default_network as default_network,
    default_schedule as default_schedule,
    paper_schedule as paper_schedule,
    rounds as rounds,
)
from firenet.reconstruction.prepared import (
    Prepared as Prepared,
    ScanData as ScanData,
)
from firenet.reconstruction.reconstruct import certify_image as certify_image

from firenet.scans.reconstruct import (
    certify_scan as certify_scan,
    reconstruct_scan as reconstruct_scan,
)
from firenet.scans.record import (
    Reconstruction as Reconstruction,
    scan_record as scan_record,
)
from firenet.scans.source import Source as Source

from firenet.camera.measurements import Placed as Placed, place as place
from firenet.camera.order import OrderFound as OrderFound, find_order as find_order
from firenet.camera.pairs import difference as difference

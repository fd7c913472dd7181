from firenet.nets.automap import Automap as Automap
from firenet.nets.cascade import Cascade as Cascade
from firenet.nets.lista import Lista as Lista
from firenet.nets.training import Recipe as Recipe, train as train
from firenet.nets.unet import UNet as UNet

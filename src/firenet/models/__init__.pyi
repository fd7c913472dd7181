from firenet.models.cascade import cascade_model as cascade_model
from firenet.models.deepinv import deepinv_reconstruct as deepinv_reconstruct
from firenet.models.firenets import (
    adaptive_model as adaptive_model,
    firenet_model as firenet_model,
    stabilised_model as stabilised_model,
)
from firenet.models.load import load_model as load_model

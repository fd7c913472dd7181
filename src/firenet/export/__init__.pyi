from firenet.export.onnx_file import export_onnx as export_onnx
from firenet.export.real_valued import RealPacked as RealPacked

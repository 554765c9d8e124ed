"""Changes of a model, as functions on a `Graph`:

    graph = bitlite.read("m.onnx")
    print(surgery.cut(graph, ["x"], ["features"]))
    bitlite.write(graph, "part.onnx")

Each changes the graph in place and returns lines that say what it did; those of the batch return another graph.
"""

from .converter.surgery.batch import change_batch, split_batch
from .converter.surgery.cut import add_outputs, cut, rename_ends
from .converter.surgery.image_steps import ImageSpec, Pixels
from .converter.surgery.padding import set_pad_values
from .converter.surgery.preprocess import put_preprocessing
from .converter.surgery.remove import remove_node_types, remove_nodes

__all__ = [
    "ImageSpec",
    "Pixels",
    "add_outputs",
    "change_batch",
    "cut",
    "put_preprocessing",
    "remove_node_types",
    "remove_nodes",
    "rename_ends",
    "set_pad_values",
    "split_batch",
]

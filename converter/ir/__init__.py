"""The IR: a graph of typed tensors in SSA form."""

from .graph import Graph, Node, Shape, Tensor, is_quantized
from .names import NameScope
from .text import dump

__all__ = ["Graph", "NameScope", "Node", "Shape", "Tensor", "dump", "is_quantized"]

"""The IR: a graph of typed tensors in SSA form."""

from .graph import Graph, Node, Shape, Tensor, dump, type_text

__all__ = ["Graph", "Node", "Shape", "Tensor", "dump", "type_text"]

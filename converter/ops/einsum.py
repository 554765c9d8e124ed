"""Einsum: sums of products by an equation."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Shape, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import broadcast, fail, joint_dtype, need, sum_type


def _einsum_terms(node: Node) -> tuple[list[str], str]:
    """The inputs' and the output's subscripts, with an explicit output. Raises GraphError for a malformed equation."""
    text = node.attrs["equation"].replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    letters = left.replace(",", "").replace("...", "")
    if len(terms) != len(node.inputs) or not all(c.isascii() and c.isalpha() for c in letters):
        fail(node, f"equation {text!r} does not fit {len(node.inputs)} inputs")
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    out = right.replace("...", "")
    if len(set(out)) != len(out) or not set(out) <= set(letters):
        fail(node, f"the output of equation {text!r} repeats an index or has one that no input has")
    return terms, right


def infer_einsum(node: Node) -> Inferred:
    terms, out = _einsum_terms(node)
    inputs = [t for t in node.inputs if t is not None]
    dtype = joint_dtype(node, *inputs)
    for t in inputs:
        need(node, t, "iuf", "a factor")
    size: dict[str, int | None] = {}
    spread: Shape = ()
    for term, t in zip(terms, inputs):
        if t.shape is None:
            return [(dtype, None)]
        head, dots, tail = term.partition("...")
        extra = len(t.shape) - len(head) - len(tail)
        if extra < 0 or (extra and not dots):
            fail(node, f"subscripts {term!r} do not fit the shape {t.shape}")
        at = [*head, *([""] * extra), *tail]
        spread = broadcast(node, spread, tuple(n for c, n in zip(at, t.shape) if not c)) or ()
        for c, n in zip(at, t.shape):
            if not c:
                continue
            known = size.get(c)
            if n is not None and known not in (None, 1) and n not in (1, known):
                fail(node, f"index {c!r} has sizes {known} and {n}")
            size[c] = n if c not in size or known == 1 else known if n in (1, None) else n
    head, dots, tail = out.partition("...")
    if not dots and spread:
        fail(node, f"the output {out!r} leaves out what '...' stands for")
    return [(dtype, (*(size[c] for c in head), *spread, *(size[c] for c in tail)))]


@op(
    "Einsum",
    attrs={"equation": REQUIRED},
    infer=infer_einsum,
    arity=(1, None),
    foldable=False,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 3, 4), (2, 4, 5)), {"equation": "bij,bjk->bik"}),
        Case(((3, 4),), {"equation": "ij->ji"}),
        Case(((3, 4),), {"equation": "ij"}),
        Case(((3, 3),), {"equation": "ii->i"}),
        Case(((2, 3, 4, 5), (2, 6, 4, 5)), {"equation": "bqhd,bkhd->bhqk"}),
        Case(((2, 3, 4), (4,)), {"equation": "...k,k->..."}),
        Case(((3,), (4,), (5,)), {"equation": "i, j, k -> kij"}),
    ],
)
def einsum(*inputs: np.ndarray, equation: str) -> np.ndarray:
    """numpy's einsum of the equation."""
    y = np.einsum(equation.replace(" ", ""), *(sum_type(x) for x in inputs), optimize=len(inputs) > 1)
    return np.array(y, inputs[0].dtype)


@reads("onnx", "Einsum")
def read_onnx_einsum(r: Reading) -> Tensor:
    inputs = [r.input(i) for i in range(len(r.inputs))]
    return r.emit_many("Einsum", inputs, equation=r.attr("equation"))[0]


@writes("onnx", "Einsum")
def write_onnx_einsum(w: Writing, node: Node) -> None:
    w.node("Einsum", node, node.inputs, fields={"equation": node.attrs["equation"]})

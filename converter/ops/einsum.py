"""Einsum: sums of products by an equation."""

from __future__ import annotations

import math
from string import ascii_letters

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
    """As transposes around a product where the equation says one of two factors, or an order of axes."""
    inputs = [r.input(i) for i in range(len(r.inputs))]
    found = _terms_of(r.attr("equation"), inputs)
    if found is not None:
        terms, out = found
        if len(terms) == 1 and sorted(terms[0]) == sorted(out):
            return _ordered(r, inputs[0], terms[0], out)
        if len(terms) == 2 and all(t.dtype == np.float32 for t in inputs):
            y = _product(r, inputs, terms, out)
            if y is not None:
                return y
    return r.emit_many("Einsum", inputs, equation=r.attr("equation"))[0]


def _terms_of(equation: str, inputs: list[Tensor]) -> tuple[list[str], str] | None:
    """Subscripts of each axis of the inputs, and of the output; None where ranks are not known, or an index is there
    twice."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [c for c in ascii_letters if c not in equation]
    extra = [0 if t.rank is None else t.rank - len(term.replace("...", "")) for t, term in zip(inputs, terms)]
    if not arrow or len(terms) != len(inputs) or any(t.rank is None for t in inputs) or min(extra) < 0:
        return None
    dots = "".join(spare[: max(extra)])
    if len(dots) < max(extra) or any(n and "..." not in term for n, term in zip(extra, terms)):
        return None
    terms = [term.replace("...", dots[len(dots) - n :]) for n, term in zip(extra, terms)]
    out = out.replace("...", dots)
    letters = "".join(terms)
    sound = letters.isascii() and letters.isalpha() and set(out) <= set(letters)
    return (terms, out) if sound and all(len(set(term)) == len(term) for term in (*terms, out)) else None


def _product(r: Reading, inputs: list[Tensor], terms: list[str], out: str) -> Tensor | None:
    """MatMul(a[batch, rows, sums], b[batch, sums, columns]), its axes in the output's order; None where an index is
    summed within one factor alone, or sizes that are to be joined are not known."""
    a, b = terms
    if any(c not in out for c in set(a) ^ set(b)):
        return None
    sizes: dict[str, int | None] = {}
    for term, t in zip(terms, inputs):
        for c, n in zip(term, t.shape or ()):
            if c not in out and n != sizes.get(c, n):
                return None
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    batch, sums = [c for c in out if c in a and c in b], [c for c in a if c in b and c not in out]
    rows, columns = [c for c in out if c in a and c not in b], [c for c in out if c in b and c not in a]
    if columns and rows and out.index(columns[0]) < out.index(rows[0]):
        inputs, (a, b), rows, columns = inputs[::-1], (b, a), columns, rows
    joined = any(len(group) != 1 for group in (rows, sums, columns))
    if joined and any(n is None for n in sizes.values()):
        return None

    def size(group: list[str]) -> int:
        return math.prod(sizes[c] or 0 for c in group)

    def operand(t: Tensor, term: str, first: list[str], second: list[str]) -> Tensor:
        t = _ordered(r, t, term, "".join((*batch, *first, *second)))
        if not joined:
            return t
        shape = [*t.known_shape[: len(batch)], size(first), size(second)]
        return r.emit("Reshape", t, r.constant(shape, np.int64))

    y = r.emit("MatMul", operand(inputs[0], a, rows, sums), operand(inputs[1], b, sums, columns))
    if joined:
        y = r.emit("Reshape", y, r.constant([sizes[c] or 0 for c in (*batch, *rows, *columns)], np.int64))
    return _ordered(r, y, "".join((*batch, *rows, *columns)), out)


def _ordered(r: Reading, t: Tensor, term: str, wanted: str) -> Tensor:
    perm = [term.index(c) for c in wanted]
    return t if perm == list(range(len(perm))) else r.emit("Transpose", t, perm=perm)


@writes("onnx", "Einsum")
def write_onnx_einsum(w: Writing, node: Node) -> None:
    w.node("Einsum", node, node.inputs, fields={"equation": node.attrs["equation"]})

"""Samples of an image at computed places: GridSample, and AffineGrid, which makes such places."""

from __future__ import annotations

import itertools

import numpy as np

from ..errors import DataError
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.params import int64_param
from ._support.spatial import check_pixels
from ._support.types import const_ints, fail, length, need
from ._support.writers import need_opset, write_onnx


def _infer_grid_sample(node: Node) -> Inferred:
    x, grid, a = node.required(0), node.required(1), node.attrs
    need(node, x, "f", "the input")
    need(node, grid, "f", "the grid")
    if a["method"] not in ("nearest", "linear", "cubic") or a["padding"] not in ("zeros", "border", "reflection"):
        fail(node, f"method={a['method']!r}, padding={a['padding']!r}")
    if x.shape is None or grid.shape is None:
        fail(node, "the ranks of its inputs must be known")
    rank = len(x.shape) - 2
    if rank not in (1, 2, 3) or len(grid.shape) != rank + 2 or grid.shape[-1] not in (rank, None):
        fail(node, f"an input of shape {x.shape} and a grid of shape {grid.shape} do not fit")
    if None not in (x.shape[0], grid.shape[0]) and x.shape[0] != grid.shape[0]:
        fail(node, f"batches {x.shape[0]} and {grid.shape[0]} differ")
    if a["method"] == "cubic" and rank == 3:
        fail(node, "a cubic sample of a volume is not defined")
    if 0 in x.shape[1:-1]:
        fail(node, f"an input of shape {x.shape} has nothing to sample")
    return [(x.dtype, (x.shape[0], *grid.shape[1:-1], x.shape[-1]))]


def _reflected(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """x mirrored at low and high until it lies between them."""
    span = high - low
    if span <= 0:
        return np.zeros_like(x)
    distance = np.abs(x - low)
    turns = np.floor(distance / span)
    rest = distance - turns * span
    return np.where(turns % 2 == 0, low + rest, high - rest)


def _bounded(at: np.ndarray, n: int, padding: str, align: bool) -> np.ndarray:
    """Integer places by the padding rule, -1 for outside."""
    if padding == "border":
        return np.clip(at, 0, n - 1)
    if padding == "reflection":
        low, high = (0.0, n - 1.0) if align else (-0.5, n - 0.5)
        return np.clip(_reflected(at.astype(np.float64), low, high), 0, n - 1).astype(np.int64)
    return np.where((at < 0) | (at >= n), -1, at)


def _cubic(t: np.ndarray) -> np.ndarray:
    """Weights [..., 4] of the taps -1, 0, 1, 2 at fractions t, coefficient -0.75."""
    d = np.abs(np.stack([t + 1, t, 1 - t, 2 - t], -1))
    a = -0.75
    return np.where(d <= 1, (a + 2) * d**3 - (a + 3) * d**2 + 1, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a)


@op(
    "GridSample",
    attrs={"method": "linear", "padding": "zeros", "align_corners": False},
    infer=_infer_grid_sample,
    arity=2,
    foldable=False,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 4, 5, 3), (2, 3, 2, 2))),
        Case(((1, 4, 5, 3), (1, 6, 2, 2)), {"method": "nearest", "padding": "border"}),
        Case(((1, 4, 5, 3), (1, 6, 2, 2)), {"method": "cubic", "padding": "reflection", "align_corners": True}),
        Case(((1, 3, 4, 5, 2), (1, 2, 3, 2, 3)), {"padding": "reflection"}),
    ],
)
def grid_sample(x: np.ndarray, grid: np.ndarray, *, method: str, padding: str, align_corners: bool) -> np.ndarray:
    """x [N,*S,C] at grid [N,*O,r] → [N,*O,C]. The grid counts axes backwards (x, y, z), -1 to 1 over the image."""
    n, *sizes, c = x.shape
    where = grid.astype(np.float64)[..., ::-1]
    places: list[np.ndarray] = []  # per axis, real positions
    for i, size in enumerate(sizes):
        g = where[..., i]
        at = (g + 1) / 2 * (size - 1) if align_corners else ((g + 1) * size - 1) / 2
        # The standard pads the real position before it interpolates linearly or takes the nearest.
        if padding != "zeros" and method != "cubic":
            low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
            at = np.clip(_reflected(at, low, high) if padding == "reflection" else at, 0, size - 1)
        places.append(np.nan_to_num(at, nan=-1e9, posinf=1e9, neginf=-1e9))
    taps: list[list[tuple[np.ndarray, np.ndarray]]] = []  # per axis: (place, weight) of each tap
    for at, size in zip(places, sizes):
        if method == "nearest":
            taps.append([(_bounded(np.rint(at).astype(np.int64), size, padding, align_corners), np.ones_like(at))])
            continue
        base = np.floor(at).astype(np.int64)
        t = at - base
        if method == "linear":
            pairs = [(base, 1 - t), (base + 1, t)]
        else:
            weights = _cubic(t)
            pairs = [(base + k - 1, weights[..., k]) for k in range(4)]
        taps.append([(_bounded(p, size, padding, align_corners), weight) for p, weight in pairs])
    batch = np.arange(n).reshape(n, *([1] * (grid.ndim - 2)))
    y = np.zeros((*grid.shape[:-1], c))
    for chosen in itertools.product(*taps):
        inside = np.all([p >= 0 for p, _ in chosen], axis=0)
        weight = np.prod([v for _, v in chosen], axis=0) * inside
        value = x[(batch, *(np.maximum(p, 0) for p, _ in chosen))]
        # Outside counts as 0 even where the image holds an infinity.
        y += np.where(weight[..., None] != 0, weight[..., None] * value, 0)
    return y.astype(x.dtype)


@reads("onnx", "GridSample")
def read_onnx_grid_sample(r: Reading) -> Tensor:
    """Opset 16 says bilinear and bicubic, 20 linear and cubic."""
    mode = r.attr("mode", "bilinear" if r.version < 20 else "linear")
    method = {"bilinear": "linear", "linear": "linear", "bicubic": "cubic", "cubic": "cubic", "nearest": "nearest"}
    if mode not in method:
        r.refuse(f"mode={mode!r}")
    attrs = {"method": method[mode], "padding": r.attr("padding_mode", "zeros")}
    attrs["align_corners"] = bool(r.attr("align_corners", 0))
    return r.channels_first(r.emit("GridSample", r.channels_last(r.input(0)), r.input(1), **attrs))


@writes("onnx", "GridSample")
def write_onnx_grid_sample(w: Writing, node: Node) -> None:
    need_opset(w, node, 16, "GridSample")
    a, old = node.attrs, w.options.get("opset", 20) < 20
    if node.inputs[0] is not None and node.inputs[0].rank != 4:
        need_opset(w, node, 20, "GridSample of another rank than 4")
    names = {"linear": "bilinear", "cubic": "bicubic"} if old else {}
    fields = {"mode": names.get(a["method"], a["method"]), "padding_mode": a["padding"]}
    write_onnx(w, node, "GridSample", node.inputs, fields | {"align_corners": int(a["align_corners"])}, spatial=True)


def _infer_affine_grid(node: Node) -> Inferred:
    theta, size = node.required(0), const_ints(node.inputs[1])
    need(node, theta, "f", "theta")
    length(node, node.inputs[1], "the size")
    if theta.shape is None or len(theta.shape) != 3 or theta.shape[1:] not in ((2, 3), (3, 4)):
        fail(node, f"theta has shape {theta.shape}, expected [N,2,3] or [N,3,4]")
    r = theta.size(1)
    if size is None:
        return [(theta.dtype, (theta.known_shape[0], *([None] * r), r))]
    if len(size) != r + 2 or min(size) < 0 or theta.known_shape[0] not in (None, size[0]):
        fail(node, f"size {size} does not fit theta of shape {theta.shape}")
    return [(theta.dtype, (size[0], *size[2:], r))]


@op(
    "AffineGrid",
    attrs={"align_corners": False},
    infer=_infer_affine_grid,
    arity=2,
    foldable=False,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 2, 3), np.array([2, 3, 4, 5], np.int64))),
        Case(((1, 3, 4), np.array([1, 2, 2, 3, 4], np.int64)), {"align_corners": True}),
    ],
)
def affine_grid(theta: np.ndarray, size: np.ndarray, *, align_corners: bool) -> np.ndarray:
    """theta [N,r,r+1] applied to the centres of an image of size [N,C,*S] → a grid [N,*S,r] for GridSample."""
    spatial = [int(v) for v in size.reshape(-1)[2:]]
    if len(spatial) != theta.shape[1] or int(size.reshape(-1)[0]) != len(theta) or min(spatial) < 0:
        raise DataError(f"size {size.tolist()} does not fit theta of shape {theta.shape}")
    check_pixels(spatial, "AffineGrid")
    lines = []
    for n in spatial:
        if align_corners:
            lines.append(np.linspace(-1, 1, n) if n > 1 else np.zeros(n))
        else:
            lines.append((2 * np.arange(n) + 1) / max(n, 1) - 1)
    mesh = np.meshgrid(*lines, indexing="ij")[::-1]
    points = np.stack([*mesh, np.ones(spatial)], -1)
    return np.einsum("nij,...j->n...i", theta.astype(np.float64), points).astype(theta.dtype)


@reads("onnx", "AffineGrid")
def read_onnx_affine_grid(r: Reading) -> Tensor:
    size = int64_param(r, r.input(1))
    return r.emit("AffineGrid", r.input(0), size, align_corners=bool(r.attr("align_corners", 0)))


@writes("onnx", "AffineGrid")
def write_onnx_affine_grid(w: Writing, node: Node) -> None:
    need_opset(w, node, 20, "AffineGrid")
    w.node("AffineGrid", node, node.inputs, fields={"align_corners": int(node.attrs["align_corners"])})

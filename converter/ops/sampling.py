"""Samples of an image at computed places: GridSample, AffineGrid, RoiAlign, and MaxUnpool."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.layout import first_perm, last_perm, permuted_shape
from ._support.params import int64_param
from ._support.spatial import begin_end, check_pixels, check_window, onnx_pads, per_axis, window_output
from ._support.types import const_ints, fail, length, need
from ._support.writers import need_opset, write_onnx, write_transposed


def _infer_grid_sample(node: Node) -> Inferred:
    x, grid, a = node.inputs[0], node.inputs[1], node.attrs
    assert x is not None and grid is not None
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
    theta, size = node.inputs[0], const_ints(node.inputs[1])
    assert theta is not None
    need(node, theta, "f", "theta")
    length(node, node.inputs[1], "the size")
    if theta.shape is None or len(theta.shape) != 3 or theta.shape[1:] not in ((2, 3), (3, 4)):
        fail(node, f"theta has shape {theta.shape}, expected [N,2,3] or [N,3,4]")
    r = theta.shape[1]
    if size is None:
        return [(theta.dtype, (theta.shape[0], *([None] * r), r))]  # pyright: ignore[reportOperatorIssue]
    if len(size) != r + 2 or min(size) < 0 or theta.shape[0] not in (None, size[0]):  # pyright: ignore
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
        Case(((2, 2, 3), np.int64([2, 3, 4, 5]))),
        Case(((1, 3, 4), np.int64([1, 2, 2, 3, 4])), {"align_corners": True}),
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


_MOST_SAMPLES = 1 << 24


def _infer_roi_align(node: Node) -> Inferred:
    x, rois, batch = node.inputs
    assert x is not None and rois is not None and batch is not None
    need(node, x, "f", "the input")
    need(node, batch, "iu", "the batch indices")
    a = node.attrs
    need(node, rois, "f", "the regions")
    if rois.shape is None or len(rois.shape) != 2 or rois.shape[1] != 4 or x.shape is None or len(x.shape) != 4:
        fail(node, f"inputs of shapes {x.shape} and {rois.shape}")
    if batch.shape is None or len(batch.shape) != 1 or len({batch.shape[0], rois.shape[0]} - {None}) > 1:
        fail(node, f"batch indices of shape {batch.shape} for regions of shape {rois.shape}")
    if 0 in x.shape[1:3]:
        fail(node, f"an input of shape {x.shape} has nothing to sample")
    if a["sampling"] ** 2 * a["size"][0] * a["size"][1] > _MOST_SAMPLES:
        fail(
            node, f"{a['sampling']} x {a['sampling']} samples in each of {a['size']} bins are more than {_MOST_SAMPLES}"
        )
    if min(a["size"]) < 1 or a["mode"] not in ("avg", "max") or a["sampling"] < 0:
        fail(node, f"size={a['size']}, mode={a['mode']!r}, sampling={a['sampling']}")
    count = None if rois.shape is None else rois.shape[0]
    return [(x.dtype, (count, *a["size"], x.shape[-1]))]


@op(
    "RoiAlign",
    attrs={"size": [1, 1], "mode": "avg", "sampling": 0, "scale": 1.0, "half_pixel": True},
    infer=_infer_roi_align,
    arity=3,
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(
            ((2, 9, 8, 3), np.float32([[0, 0, 6, 5], [1.5, 2, 7, 8], [3, 3, 3.2, 3.1]]), np.int64([0, 1, 1])),
            {"size": [2, 3], "scale": 0.9},
        ),
        Case(
            ((1, 9, 8, 3), np.float32([[0, 0, 16, 15]]), np.int64([0])),
            {"size": [3, 3], "sampling": 2, "scale": 0.5, "half_pixel": False, "mode": "max"},
        ),
    ],
)
def roi_align(
    x: np.ndarray, rois: np.ndarray, batch: np.ndarray, *, size: list[int], mode: str, sampling: int, scale: float,
    half_pixel: bool,
) -> np.ndarray:  # fmt: skip
    """x [N,H,W,C], rois [R,4] (x1, y1, x2, y2), batch [R] → [R,*size,C]: mean or maximum of samples in each bin."""
    h, w, c = x.shape[1:]
    y = np.zeros((len(rois), *size, c), x.dtype)
    for k, (roi, image) in enumerate(zip(rois.astype(np.float32), batch)):
        if not 0 <= int(image) < len(x):
            raise DataError(f"batch index {int(image)} of {len(x)} images")
        x1, y1, x2, y2 = roi * np.float32(scale) - np.float32(0.5 if half_pixel else 0)
        span = [y2 - y1, x2 - x1]
        if not half_pixel:
            span = [max(v, np.float32(1)) for v in span]
        step = [np.float32(s / m) for s, m in zip(span, size)]
        if not np.isfinite(span).all():
            raise DataError(f"region {roi.tolist()} is not finite")
        many = [sampling if sampling > 0 else max(int(np.ceil(s / m)), 0) for s, m in zip(span, size)]
        if min(many) == 0:
            continue
        if many[0] * many[1] * size[0] * size[1] > _MOST_SAMPLES:
            raise DataError(f"region {roi.tolist()} needs more than {_MOST_SAMPLES} samples")
        lines = [
            (o + np.arange(m)[:, None] * s + (np.arange(q) + 0.5) * s / q).reshape(-1)
            for o, m, s, q in zip((y1, x1), size, step, many)
        ]
        rows, columns = (_line(line, n) for line, n in zip(lines, (h, w)))
        four = _products(x[int(image)], rows, columns, mode)
        bins = four.reshape(size[0], many[0], size[1], many[1], c)
        y[k] = bins.max((1, 3)) if mode == "max" else bins.mean((1, 3))
    return y


def _line(at: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lower place, upper place, weight of the upper, whether inside) of positions on an axis of n elements."""
    inside = (at >= -1) & (at <= n)
    at = np.clip(np.nan_to_num(at), 0, n)
    low = np.minimum(at.astype(np.int64), n - 1)
    high = np.minimum(low + 1, n - 1)
    return low, high, np.where(low >= n - 1, 0.0, at - low), inside


def _products(image: np.ndarray, rows: Any, columns: Any, mode: str) -> np.ndarray:
    (r0, r1, rt, rin), (c0, c1, ct, cin) = rows, columns
    rt, ct = rt[:, None, None], ct[None, :, None]
    parts = [
        (1 - rt) * (1 - ct) * image[r0][:, c0],
        (1 - rt) * ct * image[r0][:, c1],
        rt * (1 - ct) * image[r1][:, c0],
        rt * ct * image[r1][:, c1],
    ]
    # The standard's "max" takes the largest of the four weighted corners, not their sum.
    value = np.max(parts, axis=0) if mode == "max" else np.sum(parts, axis=0)
    return np.where(rin[:, None, None] & cin[None, :, None], value, 0.0)


@reads("onnx", "RoiAlign")
def read_onnx_roi_align(r: Reading) -> Tensor:
    half = r.attr("coordinate_transformation_mode", "half_pixel" if r.version >= 16 else "output_half_pixel")
    if half not in ("half_pixel", "output_half_pixel"):
        r.refuse(f"coordinate_transformation_mode={half!r}")
    attrs = {
        "size": [int(r.attr("output_height", 1)), int(r.attr("output_width", 1))],
        "mode": r.attr("mode", "avg"),
        "sampling": int(r.attr("sampling_ratio", 0)),
        "scale": float(r.attr("spatial_scale", 1.0)),
        "half_pixel": half == "half_pixel",
    }
    return r.channels_first(r.emit("RoiAlign", r.channels_last(r.input(0)), r.input(1), r.input(2), **attrs))


@writes("onnx", "RoiAlign")
def write_onnx_roi_align(w: Writing, node: Node) -> None:
    a, x, y = node.attrs, node.inputs[0], node.outputs[0]
    assert x is not None
    fields = {"output_height": a["size"][0], "output_width": a["size"][1], "mode": a["mode"]}
    fields |= {"sampling_ratio": a["sampling"], "spatial_scale": a["scale"]}
    need_opset(w, node, 16 if a["half_pixel"] else 10, "RoiAlign with half pixels")
    if w.options.get("opset", 16) >= 16:
        fields["coordinate_transformation_mode"] = "half_pixel" if a["half_pixel"] else "output_half_pixel"
    first = write_transposed(w, node, x, first_perm(4))
    made = w.between(y, permuted_shape(y.shape, first_perm(4)), f"{y.name}/first")
    w.node("RoiAlign", node, [first, *node.inputs[1:]], [made], fields=fields)
    w.node("Transpose", node, [made], [y], fields={"perm": last_perm(4)})


def _unpooled(shape: Sequence[int | None], a: dict[str, Any]) -> list[int | None]:
    return [
        None if n is None else (n - 1) * s - a["pad"][2 * i] - a["pad"][2 * i + 1] + k
        for i, (n, s, k) in enumerate(zip(shape, a["stride"], a["kernel"]))
    ]


def _infer_unpool(node: Node) -> Inferred:
    x, places, size, a = node.inputs[0], node.inputs[1], node.input(2), node.attrs
    assert x is not None and places is not None
    need(node, places, "iu", "the places")
    if x.shape is None or len(x.shape) < 3:
        fail(node, f"an input of shape {x.shape}")
    if places.shape is not None and places.is_static and None not in x.shape and places.shape != x.shape:
        fail(node, f"places of shape {places.shape} for values of shape {x.shape}")
    rank = len(x.shape) - 2
    if any(len(a[key]) != many * rank for key, many in (("kernel", 1), ("stride", 1), ("pad", 2))):
        fail(node, f"a window {a} for {rank} spatial axes")
    if min(*a["kernel"], *a["stride"]) < 1:
        fail(node, f"kernel {a['kernel']} and stride {a['stride']} must be at least 1")
    natural = _unpooled(x.shape[2:], a)
    if any(n is not None and n < 0 for n in natural):
        fail(node, f"pads {a['pad']} leave nothing")
    check_pixels(natural, f"{node.name} (MaxUnpool)")
    if size is None:
        return [(x.dtype, (*x.shape[:2], *natural))]
    given = const_ints(size)
    if given is not None and (
        len(given) != len(x.shape) or any(m is not None and n < m for n, m in zip(given, (*x.shape[:2], *natural)))
    ):
        fail(node, f"output shape {given} for an input of shape {x.shape}")
    return [(x.dtype, (None,) * len(x.shape) if given is None else tuple(given))]


@op(
    "MaxUnpool",
    attrs={"kernel": REQUIRED, "stride": REQUIRED, "pad": REQUIRED},
    infer=_infer_unpool,
    arity=(2, 3),
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(((1, 1, 2, 2), np.int64([[[[5, 7], [13, 15]]]])), {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4}),
        Case(
            ((1, 1, 2, 2), np.int64([[[[5, 7], [13, 15]]]]), np.int64([1, 1, 5, 5])),
            {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4},
        ),
    ],
)
def max_unpool(
    x: np.ndarray, places: np.ndarray, size: np.ndarray | None = None, *, kernel: list[int], stride: list[int],
    pad: list[int],
) -> np.ndarray:  # fmt: skip
    """x [N,C,*S] put at flat `places` of zeros of the window's natural shape, then zeros behind up to shape `size`."""
    natural = _unpooled(x.shape[2:], {"kernel": kernel, "stride": stride, "pad": pad})
    shape = (*x.shape[:2], *(int(n or 0) for n in natural))
    y = np.zeros(int(np.prod(shape)), x.dtype)
    at = places.reshape(-1)
    if at.size != x.size:
        raise DataError(f"{at.size} places for {x.size} values")
    if at.size and (at.min() < 0 or at.max() >= y.size):
        raise DataError(f"place {int(at.max())} of {y.size} elements")
    y[at] = x.reshape(-1)
    y = y.reshape(shape)
    if size is None:
        return y
    out = [int(v) for v in size]
    if len(out) != y.ndim or any(n < m for n, m in zip(out, shape)):
        raise DataError(f"output shape {out} does not hold {list(shape)}")
    return np.pad(y, [(0, n - m) for n, m in zip(out, shape)])


@reads("onnx", "MaxUnpool")
def read_onnx_max_unpool(r: Reading) -> Tensor:
    rank = r.rank(r.input(0)) - 2
    attrs = {
        "kernel": per_axis(r.attr("kernel_shape"), rank),
        "stride": per_axis(r.attr("strides", None), rank),
        "pad": begin_end(per_axis(r.attr("pads", None), 2 * rank, 0)),
    }
    return r.emit("MaxUnpool", r.input(0), r.input(1), r.optional(2), **attrs)


@writes("onnx", "MaxUnpool")
def write_onnx_max_unpool(w: Writing, node: Node) -> None:
    a = node.attrs
    fields = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": onnx_pads(a["pad"])}
    w.node("MaxUnpool", node, node.inputs, fields=fields)


def _infer_deform(node: Node) -> Inferred:
    x, w, offset, bias, mask = (node.input(i) for i in range(5))
    assert x is not None and w is not None and offset is not None
    need(node, x, "f", "the input")
    a = node.attrs
    if x.shape is None or len(x.shape) != 4 or w.shape is None or len(w.shape) != 4 or None in w.shape:
        fail(node, f"an input of shape {x.shape} and a weight of shape {w.shape}")
    check_window(node, 2)
    groups, parts = a["group"], a["offset_group"]
    o, per, kh, kw = w.shape
    if groups < 1 or parts < 1 or o % groups or (x.shape[1] is not None and x.shape[1] != per * groups):  # pyright: ignore
        fail(node, f"an input of shape {x.shape}, a weight of shape {w.shape} and group={groups}")
    if (per * groups) % parts:  # pyright: ignore[reportOptionalOperand]
        fail(node, f"{per * groups} channels do not split into {parts} offset groups")  # pyright: ignore
    out = window_output(x.shape[2:], [kh, kw], a)  # pyright: ignore[reportArgumentType]
    for t, many in ((offset, 2), (mask, 1)):
        want = (x.shape[0], parts * kh * kw * many, *out)  # pyright: ignore[reportOptionalOperand]
        if t is None or t.shape is None:
            continue
        if len(t.shape) != 4 or any(None not in (n, m) and n != m for n, m in zip(t.shape, want)):
            fail(node, f"{t.name!r} has shape {t.shape}, expected {want}")
    if bias is not None and bias.shape not in (None, (o,)):
        fail(node, f"bias shape {bias.shape}, expected ({o},)")
    return [(x.dtype, (x.shape[0], o, *out))]


@op(
    "DeformConv",
    attrs={
        "stride": REQUIRED,
        "dilation": REQUIRED,
        "pad": REQUIRED,
        "pad_mode": "explicit",
        "group": 1,
        "offset_group": 1,
    },
    infer=_infer_deform,
    arity=(3, 5),
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(
            ((1, 2, 5, 5), (4, 2, 3, 3), (1, 18, 3, 3), (4,), (1, 9, 3, 3)),
            {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4},
            const=(1, 3),
        ),
        Case(
            ((1, 4, 5, 6), (2, 2, 2, 3), (1, 24, 3, 3)),
            {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 0, 1, 1], "group": 2, "offset_group": 2},
            const=(1,),
        ),
    ],
)
def deform_conv(
    x: np.ndarray, w: np.ndarray, offset: np.ndarray, bias: np.ndarray | None = None, mask: np.ndarray | None = None, *,
    stride: list[int], dilation: list[int], pad: list[int], pad_mode: str, group: int, offset_group: int,
) -> np.ndarray:  # fmt: skip
    """x [N,C,H,W] with a tap's place moved by `offset` (row, column) and weighted by `mask`, as ONNX DeformConv."""
    (n, c, h, wide), (o, per, kh, kw) = x.shape, w.shape
    oh, ow = offset.shape[2:]
    moves = offset.reshape(n, offset_group, kh * kw, 2, oh, ow).astype(np.float64)
    scale = None if mask is None else mask.reshape(n, offset_group, kh * kw, oh, ow)
    rows = np.arange(oh)[:, None] * stride[0] - pad[0]
    columns = np.arange(ow) * stride[1] - pad[2]
    each = c // offset_group
    taps = np.zeros((n, c, kh * kw, oh, ow))
    for image, part, k in itertools.product(range(n), range(offset_group), range(kh * kw)):
        at_row = rows + (k // kw) * dilation[0] + moves[image, part, k, 0]
        at_column = columns + (k % kw) * dilation[1] + moves[image, part, k, 1]
        channels = x[image, part * each : (part + 1) * each]
        value = _zero_padded_linear(channels, at_row, at_column, h, wide)
        taps[image, part * each : (part + 1) * each, k] = value if scale is None else value * scale[image, part, k]
    grouped = taps.reshape(n, group, per * kh * kw, oh * ow)
    y = np.einsum("ngkp,gok->ngop", grouped, w.reshape(group, o // group, -1), optimize=True).reshape(n, o, oh, ow)
    return (y if bias is None else y + bias[:, None, None]).astype(x.dtype)


def _zero_padded_linear(x: np.ndarray, row: np.ndarray, column: np.ndarray, h: int, w: int) -> np.ndarray:
    """x [C,H,W] at real places [P,Q], linear, 0 outside → [C,P,Q]."""
    top, left = np.floor(row), np.floor(column)
    y = np.zeros((len(x), *row.shape))
    for dr, dc in itertools.product((0, 1), (0, 1)):
        r, c = top + dr, left + dc
        inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
        weight = (1 - np.abs(row - r)) * (1 - np.abs(column - c)) * inside
        y += weight * x[:, np.where(inside, r, 0).astype(np.int64), np.where(inside, c, 0).astype(np.int64)]
    return y


@reads("onnx", "DeformConv")
def read_onnx_deform_conv(r: Reading) -> Tensor:
    pads = begin_end(per_axis(r.attr("pads", None), 4, 0))
    attrs = {"stride": per_axis(r.attr("strides", None), 2), "dilation": per_axis(r.attr("dilations", None), 2)}
    attrs |= {"group": int(r.attr("group", 1)), "offset_group": int(r.attr("offset_group", 1)), "pad": pads}
    inputs = [r.input(0), r.input(1), r.input(2), r.optional(3), r.optional(4)]
    return r.emit("DeformConv", *inputs, **attrs)


@writes("onnx", "DeformConv")
def write_onnx_deform_conv(w: Writing, node: Node) -> None:
    need_opset(w, node, 19, "DeformConv")
    a, weight = node.attrs, node.inputs[1]
    assert weight is not None and weight.shape is not None
    fields = {"strides": a["stride"], "dilations": a["dilation"], "pads": onnx_pads(a["pad"]), "group": a["group"]}
    fields |= {"offset_group": a["offset_group"], "kernel_shape": list(weight.shape[2:])}
    w.node("DeformConv", node, node.inputs, fields=fields)

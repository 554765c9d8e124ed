"""Arithmetic that the spatial operators share: output sizes, pads, windows. Channels-last, any spatial rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import GraphError
from ...ir import Node

_MOST_PADDED = 1 << 28
PAD_MODES = ("explicit", "same_upper", "same_lower", "valid")


def per_axis(value: Sequence[int] | int | None, rank: int, default: int = 1) -> list[int]:
    """A list of `rank` ints from a container's attribute (absent, one number, or one per axis)."""
    if value is None:
        return [default] * rank
    values = [int(v) for v in np.asarray(value).reshape(-1)]
    return values * rank if len(values) == 1 and rank > 1 else values


def begin_end(pads: Sequence[int]) -> list[int]:
    """ONNX order (all begins, then all ends) → ours (begin, end per axis)."""
    r = len(pads) // 2
    return [int(pads[k // 2 + (k % 2) * r]) for k in range(2 * r)]


def onnx_pads(pads: Sequence[int]) -> list[int]:
    """Ours (begin, end per axis) → ONNX order."""
    return [int(p) for p in [*pads[0::2], *pads[1::2]]]


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], lower: bool
) -> list[int]:
    """Pads for which output = ceil(input / stride); the odd one at the end, or at the begin when `lower`."""
    pads = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        small, large = total // 2, total - total // 2
        pads += [large, small] if lower else [small, large]
    return pads


def resolve_pads(attrs: dict[str, Any], spatial: Sequence[int | None], kernel: Sequence[int]) -> None:
    """Writes the explicit pads of a "same" or "valid" window into `attrs["pad"]` once the input's sizes are known."""
    mode = attrs["pad_mode"]
    if mode == "valid":
        attrs["pad"] = [0] * (2 * len(kernel))
    elif mode.startswith("same") and None not in spatial:
        known = [int(n) for n in spatial if n is not None]
        attrs["pad"] = same_pads(known, kernel, attrs["stride"], attrs["dilation"], mode == "same_lower")


def check_pixels(sizes: Sequence[int | None], what: str) -> None:
    """Raises GraphError when an image of these sizes is beyond what is computed."""
    if math.prod(max(n or 1, 1) for n in sizes) > _MOST_PADDED:
        raise GraphError(f"{what}: an image of {list(sizes)} is more than {_MOST_PADDED} pixels")


def window_output(
    spatial: Sequence[int | None], kernel: Sequence[int], attrs: dict[str, Any], ceil: bool = False
) -> list[int | None]:
    """Output sizes of a sliding window, None where the input's is. Raises GraphError when the kernel does not fit."""
    sizes: list[int | None] = []
    padded = [(n or 1) + attrs["pad"][2 * i] + attrs["pad"][2 * i + 1] for i, n in enumerate(spatial)]
    check_pixels(padded, f"with pads {attrs['pad']}")
    for i, (n, k) in enumerate(zip(spatial, kernel)):
        s, d, lo, hi = attrs["stride"][i], attrs["dilation"][i], attrs["pad"][2 * i], attrs["pad"][2 * i + 1]
        if s < 1 or d < 1 or k < 1:
            raise GraphError(f"kernel {k}, stride {s} and dilation {d} must be at least 1")
        if n is None:
            sizes.append(None)
            continue
        if attrs["pad_mode"].startswith("same"):
            sizes.append(-(-n // s))
            continue
        span = n + lo + hi - (k - 1) * d - 1
        if span < 0:
            raise GraphError(f"kernel {k} (dilation {d}) does not fit the padded size {n + lo + hi}")
        out = (-(-span // s) if ceil else span // s) + 1
        # A window that starts in the padding after the data counts nothing (the rule of ONNX and PyTorch).
        sizes.append(out - 1 if ceil and (out - 1) * s >= n + lo else out)
    return sizes


def check_window(node: Node, rank: int) -> None:
    """Raises GraphError when the window's attributes do not have one entry per spatial axis."""
    for key, many in (("stride", 1), ("dilation", 1), ("pad", 2), ("output_padding", 1)):
        if key in node.attrs and len(node.attrs[key]) != many * rank:
            raise GraphError(f"{node.name} ({node.op}): {key}={node.attrs[key]} does not fit {rank} spatial axes")
    if min(*node.attrs["stride"], *node.attrs["dilation"], *node.attrs.get("kernel", ())) < 1:
        raise GraphError(f"{node.name} ({node.op}): kernel, stride and dilation must be at least 1")
    if min(node.attrs.get("output_padding", ()), default=0) < 0:
        raise GraphError(f"{node.name} ({node.op}): output_padding={node.attrs['output_padding']} is negative")
    if node.attrs["pad_mode"] not in PAD_MODES:
        raise GraphError(
            f"{node.name} ({node.op}): pad_mode={node.attrs['pad_mode']!r}, allowed are {', '.join(PAD_MODES)}"
        )


def pad_spatial(x: np.ndarray, pad: Sequence[int], value: Any = 0, ends: Sequence[int] | None = None) -> np.ndarray:
    """x [N, *S, C] padded; negative pads crop; `ends` adds to the end pads (for ceil_mode)."""
    extra = ends or [0] * (len(pad) // 2)
    pairs = [(pad[2 * i], pad[2 * i + 1] + extra[i]) for i in range(len(pad) // 2)]
    x = np.pad(x, [(0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in pairs), (0, 0)], constant_values=value)
    crop = [slice(max(-lo, 0), x.shape[i + 1] - max(-hi, 0)) for i, (lo, hi) in enumerate(pairs)]
    return x[(slice(None), *crop, slice(None))]


def windows(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """A view of padded x [N, *S, C] as [N, *out, C, *kernel]."""
    r = len(kernel)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=tuple(range(1, r + 1)))
    steps = (
        slice(None),
        *(slice(None, None, s) for s in stride),
        slice(None),
        *(slice(None, None, d) for d in dilation),
    )
    return view[steps]

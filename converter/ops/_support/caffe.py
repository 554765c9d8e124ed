"""How Caffe's layers say their parameters, windows and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import Setting
from ...ir import Tensor
from ...schema.reading import Reading


def param(r: Reading, name: str) -> Any:
    """A parameter message of the layer, with its defaults where it is absent."""
    return getattr(r.options["layer"], name)


def blob(r: Reading, index: int) -> Tensor:
    """A weight. Refuses a layer that the file of weights does not have."""
    blobs = r.options["blobs"]
    if index >= len(blobs):
        r.refuse(f"weight {index} is not in the file of weights", hint=Setting("weight_file"))
    return blobs[index]


def flat_blob(r: Reading, index: int) -> Tensor:
    """A weight of one axis: older files have 1 x 1 x 1 x N."""
    tensor = blob(r, index)
    return r.constant(tensor.value.reshape(-1), name=tensor.name)


def axis_of(r: Reading, x: Tensor, axis: int, extra: int = 0) -> int:
    """An axis of x, or of x with `extra` more of them, counted from the front."""
    rank = r.rank(x) + extra
    if not -rank <= axis < rank:
        r.refuse(f"axis {axis} is outside {-rank}..{rank - 1}")
    return axis % rank


def sizes_of(r: Reading, x: Tensor) -> list[int]:
    """The sizes of x, which must be known."""
    if x.shape is None or None in x.shape:
        r.refuse(f"the shape of {x.name!r} is not known", hint=Setting("input_shape"))
    return x.sizes(0)


def pair(r: Reading, p: Any, name: str, default: int | None, short: str = "") -> list[int]:
    """Height and width of a window's kernel, stride, pad or dilation: one field of one or two values, or two fields."""
    high, wide = f"{short or name}_h", f"{short or name}_w"
    named = [p.HasField(key) for key in (high, wide) if key in p.DESCRIPTOR.fields_by_name]
    value = getattr(p, name)
    several = not isinstance(value, int)
    given: Sequence[int] = list(value) if several else [value] if p.HasField(name) else []
    if any(named):
        return [int(getattr(p, high)), int(getattr(p, wide))]
    if not given:
        if default is None:
            r.refuse(f"{name} is missing")
        return [default, default]
    if len(given) > 2:
        r.refuse(f"{name} has {len(given)} values: only windows of two axes are read")
    return [int(given[0]), int(given[-1])]


def scalar(r: Reading, x: Tensor, value: float) -> Tensor:
    return r.constant(value, x.dtype)


def scaled(r: Reading, x: Tensor, scale: float, shift: float) -> Tensor:
    """x · scale + shift, without what changes nothing."""
    x = x if scale == 1 else r.emit("Mul", x, scalar(r, x, scale))
    return x if shift == 0 else r.emit("Add", x, scalar(r, x, shift))


def spread(r: Reading, x: Tensor, values: Tensor, axis: int, many: int) -> Tensor:
    """A constant that belongs to `many` axes of x (-1: all) from `axis` on, with one of size 1 for each behind them.
    Older files put axes of size 1 before its own."""
    shape = values.static_shape
    many = r.rank(x) - axis if many < 0 else many
    shape = shape[-many:] if many < len(shape) and set(shape[: len(shape) - many]) == {1} else shape
    behind = r.rank(x) - axis - len(shape)
    if behind < 0:
        r.refuse(f"a weight of shape {list(shape)} does not fit {x.shape} from axis {axis} on")
    return r.constant(values.value.reshape(*shape, *[1] * behind), name=values.name)


def caffe_window(r: Reading, p: Any) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution; the kernel is the weight's."""
    pads = pair(r, p, "pad", 0)
    return {
        "stride": pair(r, p, "stride", 1),
        "dilation": pair(r, p, "dilation", 1),
        "pad": [pads[0], pads[0], pads[1], pads[1]],
    }

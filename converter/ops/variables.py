"""Variables of TFLite files: CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE."""

from __future__ import annotations

from ..ir import Tensor
from ..schema.op import reads
from ..schema.reading import Reading
from ..schema.variables import Variable, read_variable, settle


def _variable(r: Reading) -> Variable:
    """The variable that input 0 is the handle of: a constant text."""
    handle = r.input(0)
    variable = r.build.variables.get(str(handle.data)) if handle.data is not None else None
    if variable is None:
        r.refuse("which variable it means is not known while reading")
    return variable


@reads("tflite", "VAR_HANDLE")
def read_tflite_var_handle(r: Reading) -> Tensor:
    name = f"{r.attr('container', '')}/{r.attr('shared_name', '')}".lstrip("/") or r.name
    r.build.variables.setdefault(name, Variable(name))
    return r.constant(name)


@reads("tflite", "READ_VARIABLE")
def read_tflite_read_variable(r: Reading) -> Tensor:
    variable, like = _variable(r), r.outputs[0]
    value = read_variable(r.build, variable, like)
    if value is None:
        r.refuse(f"variable {variable.name!r} is read before anything is assigned to it")
    if value.dtype != like.dtype:
        r.refuse(f"variable {variable.name!r} holds {value.dtype} and is read as {like.dtype}")
    if value.quant == like.quant:
        return value
    plain = r.emit("Reinterpret", value)
    plain.quant = like.quant
    return plain


@reads("tflite", "ASSIGN_VARIABLE")
def read_tflite_assign_variable(r: Reading) -> tuple[Tensor, ...]:
    _variable(r).now = r.input(1)
    return ()


@reads("tflite", "CALL_ONCE")
def read_tflite_call_once(r: Reading) -> tuple[Tensor, ...]:
    """The subgraph that gives variables their first values."""
    r.subgraph(r.attr("init_subgraph_index"))
    settle(list(r.build.variables.values()), r.file, r.name)
    return ()

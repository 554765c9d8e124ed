"""`converter_lite --verify`: runs a written file in the runtime that it is for, and compares with bitlite's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..converter.errors import Error, Setting
from ..native.session import Session
from .accuracy import AccuracyError, cosine
from .onnx_products import saturation_note
from .other_nodes import Difference, differences

LEAST_COSINE = 0.999
"""Integer kernels of two runtimes may round differently; what lies below is another function."""
Outputs = list[np.ndarray]


def verify_file(
    path: str, session: Session, feed: Mapping[str, np.ndarray], spell: Callable[[Setting], str] = str
) -> list[str]:
    """Lines that say how close the other runtime's outputs are, or that it is not installed.

    spell: writes the settings that would help.

    Raises:
        AccuracyError: the other runtime gives something else, or refuses the file.
    """
    packages, run = _RUNTIMES[path.rpartition(".")[2].lower()]
    package = next((name for name in packages if importlib.util.find_spec(name)), None)
    if package is None:
        return [f"{path}: not verified: {packages[0]} is not installed"]
    try:
        outputs = run(package, path, [feed[p.name] for p in session.inputs])
    except Error:
        raise
    except Exception as error:  # whatever a foreign runtime raises is its refusal
        raise AccuracyError(f"{path}: {package} refuses it: {' '.join(str(error).split())}") from error
    own = session.run(feed)
    lines = []
    for port, theirs in zip(session.outputs, outputs):
        mine = own[port.name]
        likeness = cosine(mine, theirs) if mine.size == theirs.size else 0.0
        if likeness < LEAST_COSINE:
            raise AccuracyError(
                f"{path}: output {port.name!r} in {package} has cosine {likeness:.6f} to bitlite's, at least "
                f"{LEAST_COSINE} is expected{_where(path, session, feed)}{_saturation(path, spell)}"
            )
        error = float(np.abs(mine.astype(np.float64).ravel() - theirs.astype(np.float64).ravel()).max(initial=0))
        lines.append(f"{path}: {package} agrees: {port.name} cosine {likeness:.7f}, max difference {error:g}")
    worst = min(_differences(path, session, feed), key=lambda item: item.sqnr, default=None)
    lines += saturation_note(path, spell) if package == "onnxruntime" else []
    return lines + ([f"{path}: most apart is {worst}"] if worst is not None and np.isfinite(worst.sqnr) else [])


def _where(path: str, session: Session, feed: Mapping[str, np.ndarray]) -> str:
    first = next((item for item in _differences(path, session, feed) if item.cosine < LEAST_COSINE), None)
    return "" if first is None else f"; the first node that differs is {first}"


def _saturation(path: str, spell: Callable[[Setting], str]) -> str:
    notes = saturation_note(path, spell) if path.lower().endswith(".onnx") else []
    return "".join(f"; {note.partition(': ')[2]}" for note in notes)


def _differences(path: str, session: Session, feed: Mapping[str, np.ndarray]) -> list[Difference]:
    try:
        return differences(path, session, feed)
    except Exception:  # not every runtime gives every value; the outputs have been compared
        return []


def _onnxruntime(package: str, path: str, inputs: Outputs) -> Outputs:
    ort: Any = importlib.import_module(package)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    other = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return other.run(None, {node.name: value for node, value in zip(other.get_inputs(), inputs)})


def _litert(package: str, path: str, inputs: Outputs) -> Outputs:
    module: Any = importlib.import_module(f"{package}.interpreter")
    other = module.Interpreter(model_path=path)
    for detail, value in zip(other.get_input_details(), inputs):
        other.resize_tensor_input(detail["index"], value.shape)
    other.allocate_tensors()
    for detail, value in zip(other.get_input_details(), inputs):
        other.set_tensor(detail["index"], value)
    other.invoke()
    return [other.get_tensor(detail["index"]) for detail in other.get_output_details()]


def _mindspore(package: str, path: str, inputs: Outputs) -> Outputs:
    lite: Any = importlib.import_module(package)
    context, model = lite.Context(), lite.Model()
    context.target = ["cpu"]
    model.build_from_file(path, lite.ModelType.MINDIR_LITE, context)
    tensors = model.get_inputs()
    model.resize(tensors, [list(value.shape) for value in inputs])
    for tensor, value in zip(tensors, inputs):
        tensor.set_data_from_numpy(np.ascontiguousarray(value))
    return [t.get_data_to_numpy() for t in model.predict(tensors)]


_RUNTIMES: dict[str, tuple[tuple[str, ...], Callable[[str, str, Outputs], Outputs]]] = {
    "onnx": (("onnxruntime",), _onnxruntime),
    "tflite": (("ai_edge_litert", "tflite_runtime"), _litert),
    "ms": (("mindspore_lite",), _mindspore),
}

# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""The files of a conversion and their ends."""

from __future__ import annotations

from dataclasses import dataclass

from .convert_types import (
    FORMATS,
    IO_REFUSED,
    IO_TYPES,
    LAYOUT,
    NOT_READ,
)
from .flags import flag
from .port_types import Paired, Shape
from .sections import (
    MICRO,
    MODEL,
)
from .types import Choice, Listed, Text


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class ModelOptions:
    """The files of a conversion and their ends. One row per option; see `ConvertOptions`."""

    model_file: str = flag(
        "modelFile",
        Text("FILE"),
        "",
        "the model to convert: .tflite, .onnx, .mindir, .prototxt or .ms",
        group=MODEL,
        aliases=("modelPath",),
        required=True,
    )
    output_file: str = flag(
        "outputFile", Text("FILE"), "", "the file to write; .ms is appended", group=MODEL, required=True
    )
    fmk: str = flag(
        "fmk",
        Choice(
            {"": "", "TFLITE": "TFLITE", "ONNX": "ONNX", "CAFFE": "CAFFE", "MINDIR": "MINDIR", "MSLITE": "MSLITE"},
            {"TF": "TF", "MS": "MINDIR", "PYTORCH": "PYTORCH", "OM": "OM"},
        ),
        "",
        "what the model file is; told from the file when not given",
        group=MODEL,
        refused=NOT_READ,
    )
    weight_file: str = flag(
        "weightFile",
        Text("FILE"),
        "",
        "weights of a CAFFE model, a .caffemodel; the one beside the .prototxt when not given",
        group=MODEL,
    )
    config_file: str = flag(
        "configFile",
        Text("FILE"),
        "",
        "config.cfg, the flat file of r1.x or the sections of 2.x; or Horizon's .yaml",
        group=MODEL,
        aliases=("config_file",),
    )
    cascade: str = flag(
        "cascade",
        Text("FILE"),
        "",
        "a yaml file of several networks, each calibrated on what the one before it gives; other flags are for all",
        group=MODEL,
    )
    input_shape: dict[str | int, tuple[int, ...]] = flag(
        "inputShape",
        Paired(Shape(), "NAME:D,D;...", ";"),
        {},
        'sizes of inputs, e.g. "x:1,3,224,224;y:1,10"; -1 leaves one open',
        group=MODEL,
    )
    input_data_format: str = flag(
        "inputDataFormat", LAYOUT, "", "layout of 4-D graph inputs in the .ms (NHWC when not given)", group=MODEL
    )
    output_data_format: str = flag(
        "outputDataFormat", LAYOUT, "", "layout of 4-D graph outputs in the .ms", group=MODEL
    )
    input_data_type: str = flag(
        "inputDataType",
        IO_TYPES,
        "DEFAULT",
        "type of graph inputs",
        group=MODEL,
        aliases=("inputInferenceType",),
        refused=IO_REFUSED,
    )
    output_data_type: str = flag(
        "outputDataType", IO_TYPES, "DEFAULT", "type of graph outputs", group=MODEL, refused=IO_REFUSED
    )
    output_format: tuple[str, ...] = flag(
        "outputFormat",
        Listed(Choice(FORMATS), "MS,TFLITE,ONNX,C"),
        ("MS",),
        "formats to write, one file each: MS, TFLITE, ONNX; and C, a folder of C99 for microcontrollers",
        group=MODEL,
    )
    working_dir: str = flag(
        "workingDir",
        Text("DIR"),
        "",
        "folder that outputFile is written into, made where it is missing",
        group=MODEL,
        advanced=True,
    )
    save_path: str = flag(
        "savePath",
        Text("DIR"),
        "",
        "of C code, where its folder is made; that of outputFile by default",
        group=MODEL,
        advanced=True,
        sections=(MICRO,),
    )
    project_name: str = flag(
        "projectName",
        Text("NAME"),
        "",
        "of C code, its folder, and what its functions begin with; that of outputFile by default",
        group=MODEL,
        advanced=True,
        sections=(MICRO,),
    )
    save_type: str = flag(
        "saveType",
        Choice(("MINDIR_LITE", "MINDIR")),
        "MINDIR_LITE",
        "form of the MS file",
        group=MODEL,
        advanced=True,
        refused={"MINDIR": "bitlite writes .ms (MINDIR_LITE), not .mindir"},
    )
    target: str = flag(
        "target",
        Choice(("bitlite", "mslite")),
        "bitlite",
        "mslite rounds int8 as the MindSpore Lite kernels do and keeps clear of their bugs",
        group=MODEL,
    )

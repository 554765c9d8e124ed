"""The keywords of `bitlite.convert`, for editors and type checkers.

Written by `python -m bitlite.tools.option_docs tools/options/keywords.py` from the tables in `*_rows.py`. Do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class ConvertKeywords(TypedDict, total=False):
    """What each does, its range and default: docs/options.md."""

    fmk: Literal["", "TFLITE", "ONNX", "CAFFE", "MINDIR", "MSLITE"] | str
    weight_file: str
    config_file: str
    cascade: str
    input_shape: Mapping[str | int, Sequence[int]] | str
    input_data_format: Literal["", "NHWC", "NCHW"] | str
    output_data_format: Literal["", "NHWC", "NCHW"] | str
    input_data_type: Literal["DEFAULT", "FLOAT", "INT8", "UINT8"] | str
    output_data_type: Literal["DEFAULT", "FLOAT", "INT8", "UINT8"] | str
    output_format: Sequence[str] | str
    working_dir: str
    save_path: str
    project_name: str
    save_type: Literal["MINDIR_LITE", "MINDIR"] | str
    target: Literal["bitlite", "mslite"] | str
    quant_type: Literal["", "WeightQuant", "PostTraining", "DynamicQuant"] | str
    bit_num: int
    quant_weight_size: int
    quant_weight_channel: int
    gain_gate: bool
    fp16: bool
    keep_float: Sequence[str] | str
    accuracy_opt: bool
    conv_group: bool
    fold_concat_scale: bool
    layer_bits: Mapping[str, int] | str
    activation_bits: Mapping[str | int, int] | str
    mixed: bool
    mean_error_threshold: float
    init_scale: float
    auto_tune: bool
    max_drop: float | str
    target_size: float | None
    target_time: float | str
    pareto: str
    resume: bool
    per_channel: bool
    float_weights: Literal["int8", "float"] | str
    block_size: Literal["0", "16", "32", "64", "128", "256"] | int
    block_zero_points: bool
    block_form: Literal["MatMulNBits", "DequantizeLinear"] | str
    weight_correction: bool
    weight_rounding: Literal["output", "nearest"] | str
    enable_encode: bool
    onnx_weights: Literal["auto", "int8", "uint8"] | str
    calibrate_path: Mapping[str | int, str] | str
    calibrate_size: int
    calibration_data: Any
    labels: Any
    metric: Any
    activation_quant_method: Sequence[str] | str
    bias_correction: Literal["true", "false", "lockstep"] | str | bool
    th_binnum: int
    dump_dist: str
    load_dist: str
    debug_info_save_path: str
    input_type: Literal["", "IMAGE", "BIN"] | str
    image_to_format: Literal["BGR", "RGB", "GRAY", "YUV444"] | str
    normalize_mean: Sequence[float] | str
    normalize_std: Sequence[float] | str
    resize_width: int | None
    resize_height: int | None
    resize_method: Literal["LINEAR", "NEAREST", "CUBIC"] | str
    center_crop_width: int | None
    center_crop_height: int | None
    resize_mode: Literal["WARP", "FIT_SMALL_SIZE", "FIT_LARGE_SIZE_AND_PAD"] | str
    resize_pad: float
    sample_stage: Literal["", "raw", "unnormalized", "preprocessed"] | str
    fuse_preprocess: bool
    pixel_format: Literal["RGB", "BGR", "GRAY", "YUV444", "NV12"] | str
    pixel_layout: Literal["NHWC", "NCHW"] | str
    pixel_range: Literal["full", "video"] | str
    pixel_inputs: Sequence[str] | str
    image_size: Sequence[int] | str
    roi_input: bool
    cut: tuple[Sequence[str], Sequence[str]] | tuple[()] | str
    remove_node: Sequence[str] | str
    remove_node_type: Sequence[str] | str
    add_output: Sequence[str] | str
    rename: Mapping[str, str] | str
    not_merge: Sequence[str] | str
    pad_value: Mapping[str, float] | str
    input_batch: int | None
    separate_batch: bool
    optimize: Literal["general", "none"] | str
    skip_pass: Sequence[str] | str
    dump_ir: str
    dump_stages: str
    layer_outputs: bool
    check: str
    verify: bool
    opset: int
    read_back: bool
    cost: bool
    diagnose: Literal["auto", "full", "off"] | str
    infer: bool
    report: Sequence[str] | str
    threads: int
    workers: int
    cluster: str
    cluster_tls: Sequence[str] | str
    cluster_memory: str
    cluster_timeout: float
    seed: int
    strict: bool
    quiet: bool

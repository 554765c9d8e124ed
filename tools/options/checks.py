"""Checks of a conversion's options that single rows cannot make: missing files, contradictions, ranges by type."""

from __future__ import annotations

import os

from ...converter.errors import Setting, UsageError
from ...quant.search.goal import POINTS
from ...quant.selectors import parse_selector
from .convert import ConvertOptions
from .flags import fields_of
from .workers import check_workers

_WIDE = 16  # bits of activations


def validate(options: ConvertOptions) -> None:
    """Checks the options against each other; may fill `model_file` from `check` and add to `notes`.

    Raises:
        UsageError: one line that names the flags or keys involved.
    """
    if options.check not in ("", "true", "false"):
        options.model_file = options.model_file or options.check
    checking = options.check not in ("", "false")
    if options.cascade:
        for name in ("model_file", "output_file", "check"):
            if options.given(name):
                raise UsageError(
                    f"{options.where(name)}: {options.where('cascade')} names networks itself", hint="one of them"
                )
        return
    if not options.model_file:
        raise UsageError(
            f"{options.where('model_file')} is missing: the model to convert",
            hint=Setting("model_file", "model.tflite"),
        )
    if not checking:
        _validate_output(options)
    _validate_bits(options)
    _validate_activation_bits(options)
    _validate_blocks(options)
    _validate_preprocessing(options)
    _validate_data(options)
    check_workers(options)


def _validate_output(options: ConvertOptions) -> None:
    where = options.spell(Setting("output_file"))
    if not options.output_file:
        raise UsageError(f"{where} is missing: the file to write", hint=Setting("output_file", "model"))
    if os.path.basename(options.output_file.replace("\\", "/")) in ("", ".", ".."):
        raise UsageError(
            f"{where}={options.output_file} names a directory", hint=os.path.join(options.output_file, "model")
        )
    options.output_format = tuple(dict.fromkeys(options.output_format))
    if not options.output_format:
        raise UsageError(f"{options.where('output_format')} is empty", hint=Setting("output_format", "MS"))
    for fmt in options.output_format:
        path = options.output_path(fmt)
        if os.path.exists(path) and os.path.exists(options.model_file) and os.path.samefile(path, options.model_file):
            raise UsageError(f"{where}={options.output_file} would overwrite the model {options.model_file}")
        if fmt != "C" and os.path.isdir(path):
            raise UsageError(f"{where}: {path} is a directory")
    _validate_c(options)
    if options.onnx_weights != "auto" and "ONNX" not in options.output_format:
        raise UsageError(
            f"{options.where('onnx_weights')} has no effect without a .onnx", hint=Setting("output_format", "ONNX")
        )


def _validate_c(options: ConvertOptions) -> None:
    about = [name for name in ("save_path", "project_name") if options.given(name)]
    if "C" not in options.output_format:
        if about:
            raise UsageError(
                f"{options.where(about[0])} has no effect without C code", hint=Setting("output_format", "C")
            )
        return
    if os.path.basename(options.project_name) != options.project_name or options.project_name in (".", ".."):
        raise UsageError(f"{options.where('project_name')}={options.project_name} is no name of a folder")
    if options.quant_type in ("WeightQuant", "DynamicQuant") or options.fp16:
        kind = options.where("quant_type" if options.quant_type else "fp16")
        raise UsageError(
            f"{kind}: C kernels take int8 weights with int8 values, or float32 ones",
            hint=(Setting("quant_type", "PostTraining"), ", or none"),
        )


def _validate_activation_bits(options: ConvertOptions) -> None:
    if not options.activation_bits:
        return
    here = options.where("activation_bits")
    for key in options.activation_bits:
        if isinstance(key, str):
            _check_selector(key, here)
        elif key:
            raise UsageError(f"{here}: the width of all layers comes first", hint="16,NAME:8")
    if options.quant_type != "PostTraining":
        kind = options.quant_type or "no quantization type"
        raise UsageError(
            f"{here}: of PostTraining, and there is {kind}, whose activations are float",
            hint=Setting("quant_type", "PostTraining"),
        )
    if _WIDE not in options.activation_bits.values():
        return
    if options.target == "mslite":
        raise UsageError(
            f"{here}: MindSpore Lite has no kernels on codes of 16 bits",
            hint=(Setting("target", "bitlite"), ", or ", Setting("keep_float", "NAME"), " for what 8 bits cost"),
        )
    if "C" in options.output_format:
        raise UsageError(f"{here}: C kernels take int8 and float32", hint=Setting("keep_float", "NAME"))
    ends = [name for name in ("input_data_type", "output_data_type") if getattr(options, name) in ("INT8", "UINT8")]
    if ends and options.activation_bits.get(0) == _WIDE:
        raise UsageError(f"{options.where(ends[0])}: {here} gives all activations 16 bits", hint="FLOAT")


_WITHOUT_BLOCKS = {
    "MS": "a .ms has one scale per output of a weight, and none per block",
    "C": "C kernels have one scale per output of a weight, and none per block",
}
_LEAST_TFLITE_BLOCK = 32  # LiteRT's blocks are multiples of it


def _validate_blocks(options: ConvertOptions) -> None:
    here = options.where("block_size")
    if options.block_zero_points and not options.block_size:
        raise UsageError(
            f"{options.where('block_zero_points')} has no effect without blocks", hint=Setting("block_size", 32)
        )
    if options.block_form != "MatMulNBits" and not (options.block_size and "ONNX" in options.output_format):
        raise UsageError(
            f"{options.where('block_form')} has no effect without blocks in a .onnx",
            hint=(Setting("block_size", 32), " and ", Setting("output_format", "ONNX")),
        )
    if not options.block_size:
        return
    if options.quant_type != "WeightQuant":
        kind = options.quant_type or "no quantization type"
        raise UsageError(f"{here}: of WeightQuant, and there is {kind}", hint=Setting("quant_type", "WeightQuant"))
    if options.searches:
        raise UsageError(
            f"{here}: {options.where(options.goals[0])} chooses bits of weights with one scale per output",
            hint="one of them",
        )
    foreign = [name for name in options.output_format if name in _WITHOUT_BLOCKS]
    if foreign:
        raise UsageError(
            f"{here}: {_WITHOUT_BLOCKS[foreign[0]]}",
            hint=(Setting("output_format", "ONNX"), ", or ", Setting("block_size", 0), " with 6 or 8 bits"),
        )
    if "TFLITE" not in options.output_format:
        return
    if options.block_zero_points:
        reason = "blocks of a .tflite have no zero points"
        raise UsageError(f"{options.where('block_zero_points')}: {reason}", hint=Setting("block_zero_points", False))
    if options.block_size < _LEAST_TFLITE_BLOCK:
        reason = f"blocks of a .tflite have {_LEAST_TFLITE_BLOCK} inputs or more"
        raise UsageError(f"{here}: {reason}", hint=Setting("block_size", _LEAST_TFLITE_BLOCK))
    if options.bit_num != 4:
        raise UsageError(f"{here}: blocks of a .tflite have 4 bits", hint=Setting("bit_num", 4))


def _validate_preprocessing(options: ConvertOptions) -> None:
    raw = options.sample_stage == "raw"
    for name in ("pixel_format", "pixel_layout", "image_size", "pixel_range", "roi_input", "pixel_inputs"):
        if options.given(name) and not options.fuse_preprocess and (not raw or name in ("roi_input", "pixel_inputs")):
            raise UsageError(
                f"{options.where(name)} has no effect without preprocessing inside the model",
                hint=Setting("fuse_preprocess", True),
            )
    if options.separate_batch and options.input_batch is None:
        raise UsageError(
            f"{options.where('separate_batch')}: the number of samples is missing", hint=Setting("input_batch", 4)
        )
    if not options.fuse_preprocess:
        return
    here = options.where("fuse_preprocess")
    if not options.given("image_to_format") and not options.model_file.endswith(".prototxt"):
        raise UsageError(
            f"{here}: the model does not say which order of colours it was trained on",
            hint=(Setting("image_to_format", "RGB"), ", BGR, GRAY or YUV444"),
        )
    if options.input_data_type not in ("DEFAULT", "UINT8"):
        raise UsageError(f"{options.where('input_data_type')}: with {here} the model takes pixels as uint8")
    options.input_data_type = "DEFAULT"
    if options.roi_input and options.input_batch not in (None, 1):
        raise UsageError(f"{options.where('roi_input')}: one region belongs to one image, not to a batch")


_SAMPLES = ("calibrate_path", "calibrate_size", "calibration_data", "labels", "metric")
_BITS = {"": (1, 16), "WeightQuant": (1, 16), "PostTraining": (1, 8), "DynamicQuant": (8, 8)}
_CHOOSE = ("WeightQuant", "PostTraining")  # take 0 bits, too


def _check_selector(name: str, where: str) -> None:
    try:
        parse_selector(name)
    except ValueError as error:
        raise UsageError(f"{where}: {name!r} {error}") from None


def _validate_bits(options: ConvertOptions) -> None:
    lo, hi = _BITS[options.quant_type]
    wide = options.quant_type == "PostTraining" and _WIDE in options.activation_bits.values()
    hi = 16 if wide else hi
    allowed = f"{lo}..{hi}" if lo < hi else f"{lo}"
    if not lo <= options.bit_num <= hi and (options.bit_num or options.quant_type not in _CHOOSE):
        raise UsageError(
            f"{options.where('bit_num')}: {options.bit_num} bits with"
            f" {options.quant_type or 'no quantization type'}, which takes {allowed}"
        )
    for name, bits in options.layer_bits.items():
        _check_selector(name, options.where("layer_bits"))
        if not lo <= bits <= hi:
            raise UsageError(
                f"{options.where('layer_bits')}: {name}: {bits} bits with {options.quant_type}, which takes {allowed}"
            )
    most = max(options.bit_num, *options.layer_bits.values(), 0)
    if wide and most > 8 and "TFLITE" in options.output_format:
        given = "bit_num" if options.bit_num == most else "layer_bits"
        raise UsageError(
            f"{options.where(given)}: {most} bits: a .tflite has weights of 8 bits beside activations of 16",
            hint=Setting("output_format", "MS"),
        )
    unused = [name for name in ("init_scale", "auto_tune") if options.given(name)] if options.bit_num else []
    if unused:
        options.notes.append(f"{options.where(unused[0])} has no effect without {options.spell(Setting('bit_num', 0))}")
    packed = [bits for bits in (options.bit_num, *options.layer_bits.values()) if bits not in (8, 16)]
    if options.quant_type == "WeightQuant" and not options.enable_encode and packed:
        raise UsageError(
            f"{options.where('enable_encode')}: must be true with {packed[0]} bits: only 8 and 16 are stored unpacked"
        )
    for name in ("accuracy_opt", "conv_group"):
        if getattr(options, name) and options.quant_type != "PostTraining":
            kind = options.quant_type or "no quantization type"
            where = options.where(name)
            raise UsageError(
                f"{where}: of PostTraining, and there is {kind}", hint=Setting("quant_type", "PostTraining")
            )
    for name in ("keep_float", "layer_bits"):
        if getattr(options, name) and not options.quant_type:
            raise UsageError(
                f"{options.where(name)} has no effect without a quantization type",
                hint=Setting("quant_type", "WeightQuant"),
            )


_SEARCHED = {
    "mixed": _CHOOSE,
    "auto_tune": _CHOOSE,
    "max_drop": _CHOOSE,
    "target_size": _CHOOSE,
    "target_time": ("PostTraining",),
    "pareto": _CHOOSE,
}


_LOSSES = ("max_drop", "mixed", "auto_tune")  # say what may be lost


def _validate_search(options: ConvertOptions, data: bool) -> None:
    asked = options.goals
    where = options.where(asked[0])
    for name in asked:
        if options.quant_type not in _SEARCHED[name]:
            kind = options.quant_type or "no quantization type"
            instead = {
                "PostTraining": "layer_bits to name the bits of layers",
                "DynamicQuant": "nothing to choose: its weights have 8 bits",
                "WeightQuant": Setting("quant_type", "PostTraining"),
            }
            wanted = " and ".join(_SEARCHED[name])
            raise UsageError(
                f"{options.where(name)}: is for {wanted}, and there is {kind}",
                hint=instead.get(options.quant_type, Setting("quant_type", _SEARCHED[name][0])),
            )
    losses = [options.where(name) for name in asked if name in _LOSSES]
    if len(losses) > 1:
        raise UsageError(f"{losses[0]} and {losses[1]} both say what may be lost", hint="one of them")
    if not data:
        raise UsageError(
            f"{where}: needs calibration data to choose bits by, and neither a config file nor a flag names any",
            hint=("image_path (or calibrate_path) in the config file, or ", Setting("calibrate_path", "DIR")),
        )
    if options.given("bit_num") and options.bit_num not in (0, 8):
        raise UsageError(f"{where} chooses bits itself and {options.where('bit_num')} asks for {options.bit_num}")
    if not options.enable_encode:
        raise UsageError(
            f"{options.where('enable_encode')}: must be true with {where}: only 8 and 16 bits are unpacked"
        )
    if options.max_drop is not None and options.max_drop.unit == POINTS and not options.scores:
        raise UsageError(
            f"{options.where('max_drop')}: points are of top-1 or of a metric, and there are no labels",
            hint=(Setting("labels", "labels.txt"), "; or 20dB, 1% of classes, 0.99cos, which need none"),
        )
    if options.searches and options.conv_group:
        raise UsageError(
            f"{options.where('conv_group')}: compares two forms itself, and {where} searches for one",
            hint="one of them",
        )
    if options.pareto and len(options.output_format) > 1:
        raise UsageError(f"{options.where('pareto')}: files of one format", hint=Setting("output_format", "MS"))
    if options.output_format == ("C",):
        raise UsageError(f"{where}: C code has 8 bits; a search writes a file", hint=Setting("output_format", "MS"))


def _validate_data(options: ConvertOptions) -> None:
    data = bool(options.calibrate_path) or options.calibration_data is not None
    if options.searches:
        _validate_search(options, data)
    elif options.resume:
        raise UsageError(f"{options.where('resume')} has no effect without a search", hint=Setting("max_drop", "20dB"))
    says_itself = options.model_file.endswith(".prototxt")  # its data layer may name a database
    if options.scores and options.quant_type and not data and not says_itself:
        about = "labels" if options.labels is not None else "metric"
        raise UsageError(
            f"{options.where(about)}: of calibration samples, and there are none",
            hint=("image_path (or calibrate_path) in the config file, or ", Setting("calibrate_path", "DIR")),
        )
    if options.calibrate_path and options.calibration_data is not None:
        raise UsageError(f"{options.where('calibrate_path')} and calibration_data are both given", hint="one of them")
    table = fields_of(type(options))
    groups = ("Calibration",) if options.fuse_preprocess else ("Calibration", "Images")
    about_data = [name for name in options.origins if table[name].group in groups]
    if about_data and not options.quant_type:
        where = options.where(about_data[0])
        raise UsageError(
            f"{where} has no effect without a quantization type", hint=Setting("quant_type", "PostTraining")
        )
    rounded = options.quant_type == "WeightQuant" and options.weight_rounding == "output" and data
    if options.searches or rounded or (options.scores and options.quant_type == "WeightQuant"):
        used = (*_SAMPLES, *(["bias_correction"] if rounded else []))
        about_data = [n for n in about_data if table[n].group == "Calibration" and n not in used]
    elif options.given("mean_error_threshold") and options.quant_type:
        about_data.append("mean_error_threshold")
    if about_data and options.quant_type != "PostTraining":
        listed = ", ".join(options.where(name) for name in about_data)
        options.notes.append(f"not used by {options.quant_type}: {listed}")
    if options.given("weight_rounding") and options.weight_rounding == "output" and not data and options.quant_type:
        raise UsageError(
            f"{options.where('weight_rounding')}: rounds by what layers give on calibration data, and there are none",
            hint=("image_path (or calibrate_path) in the config file, or ", Setting("calibrate_path", "DIR")),
        )
    if options.quant_type == "PostTraining" and not data and not options.load_dist and not says_itself:
        kind = options.spell(Setting("quant_type", "PostTraining"))
        raise UsageError(
            f"{kind} needs calibration data, and neither a config file nor a flag names any",
            hint=(
                Setting("config_file", "config.cfg"),
                " with image_path (or calibrate_path), or ",
                Setting("calibrate_path", "DIR"),
            ),
        )
    if (options.resize_width is None) != (options.resize_height is None):
        name = "resize_width" if options.resize_width is not None else "resize_height"
        raise UsageError(f"{options.where(name)} is given alone", hint="resize_width and resize_height together")
    if (options.center_crop_width is None) != (options.center_crop_height is None):
        name = "center_crop_width" if options.center_crop_width is not None else "center_crop_height"
        raise UsageError(
            f"{options.where(name)} is given alone", hint="center_crop_width and center_crop_height together"
        )
    if any(std <= 0 for std in options.normalize_std):
        raise UsageError(f"{options.where('normalize_std')}: must be greater than 0 in every channel")

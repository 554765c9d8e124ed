"""How images become samples, and what of it the written model does."""

from __future__ import annotations

from dataclasses import dataclass

from ...converter.surgery.image_words import PIXEL_FORMATS, RESIZE_MODES
from .convert_types import (
    CHANNELS,
    SIZE,
    Words,
)
from .flags import flag
from .sections import (
    DATA,
    FLAT,
    IMAGE,
)
from .types import (
    Choice,
    Listed,
    Real,
    Switch,
)


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class ImageOptions:
    """How images become samples, and what of it the written model does. One row per option; see `ConvertOptions`."""

    input_type: str = flag(
        "inputType",
        Choice({"": "", "IMAGE": "IMAGE", "BIN": "BIN"}),
        "",
        "what the samples are; told from the files when not given",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    image_to_format: str = flag(
        "imageToFormat",
        Choice(("BGR", "RGB", "GRAY", "YUV444")),
        "BGR",
        "channel order fed to the model",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    normalize_mean: tuple[float, ...] = flag(
        "normalizeMean",
        CHANNELS,
        (),
        "subtracted per channel (of 0..255)",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    normalize_std: tuple[float, ...] = flag(
        "normalizeStd", CHANNELS, (), "divisor per channel", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_width: int | None = flag(
        "resizeWidth", SIZE, None, "width after resizing", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_height: int | None = flag(
        "resizeHeight", SIZE, None, "height after resizing", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_method: str = flag(
        "resizeMethod",
        Choice(("LINEAR", "NEAREST", "CUBIC")),
        "LINEAR",
        "interpolation",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    center_crop_width: int | None = flag(
        "centerCropWidth",
        SIZE,
        None,
        "width cut from the centre, after resizing",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    center_crop_height: int | None = flag(
        "centerCropHeight", SIZE, None, "height cut from the centre", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_mode: str = flag(
        "resizeMode",
        Choice(RESIZE_MODES),
        "WARP",
        "what becomes of proportions: WARP drops them, FIT_SMALL_SIZE covers the size, FIT_LARGE_SIZE_AND_PAD stays"
        " inside it, centred",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    resize_pad: float = flag(
        "resizePad",
        Real(0, 255),
        0.0,
        "value of the pixels around an image that FIT_LARGE_SIZE_AND_PAD pads",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    sample_stage: str = flag(
        "sampleStage",
        Choice({"": "", "raw": "raw", "unnormalized": "unnormalized", "preprocessed": "preprocessed"}),
        "",
        "whether arrays (.bin, .npy, .npz, LMDB, Python) are pixels, lack only mean and std, or are behind these steps;"
        " preprocessed when not given, to be given with fusePreprocess",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    fuse_preprocess: bool = flag(
        "fusePreprocess",
        Switch(),
        False,
        "put these steps into the model, which takes pixels as uint8",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_format: str = flag(
        "pixelFormat",
        Choice((*PIXEL_FORMATS, "NV12")),
        "RGB",
        "what pixels are: of raw arrays, and of what the model takes with fusePreprocess (NV12 as inputs _y and _uv)",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_layout: str = flag(
        "pixelLayout",
        Choice(("NHWC", "NCHW")),
        "NHWC",
        "order of the axes of pixels",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_range: str = flag(
        "pixelRange",
        Choice(("full", "video")),
        "full",
        "range of YUV pixels by BT.601: 0..255, or 16..235",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_inputs: tuple[str, ...] = flag(
        "pixelInputs",
        Words("NAME,..."),
        (),
        "inputs whose preprocessing goes into the model; all that take images when not given",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    image_size: tuple[int, ...] = flag(
        "imageSize",
        Listed(SIZE, "H,W", length=(2,)),
        (),
        "height and width of pixels, where resizing or cropping changes them",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    roi_input: bool = flag(
        "roiInput",
        Switch(),
        False,
        "with fusePreprocess, one more input, _roi: left, top, right, bottom of what is cut out and resized",
        group=IMAGE,
        sections=(FLAT, DATA),
    )

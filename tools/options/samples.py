"""The calibration options as what the data are read and their outputs scored by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...converter.errors import DataError
from ...converter.surgery.image_steps import ImageSpec, Pixels
from .convert import ConvertOptions

if TYPE_CHECKING:
    from ...quant.calibrate.data import Dataset, DataSpec
    from ...quant.score import Scoring


def uses_samples(options: ConvertOptions) -> bool:
    """Whether calibration data are given to a quantization that reads them."""
    given = bool(options.calibrate_path) or options.calibration_data is not None
    weights = options.quant_type == "WeightQuant" and (options.weight_rounding == "output" or options.scores)
    return given and (options.quant_type == "PostTraining" or options.searches or weights)


def data_spec(options: ConvertOptions) -> DataSpec:
    """Where samples come from; `calibration_data` may also be a directory, a file, or a list of files."""
    from ...quant.calibrate.data import DataSpec

    source = options.calibration_data
    paths: dict[str | int, str | tuple[str, ...]] = dict(options.calibrate_path)
    if isinstance(source, (str, os.PathLike)):
        paths = {0: str(os.fspath(source))}
        source = None
    elif isinstance(source, (list, tuple)) and source and all(isinstance(p, (str, os.PathLike)) for p in source):
        paths = {0: tuple(str(os.fspath(p)) for p in source)}
        source = None
    count_where = options.where("calibrate_size")
    # r1.x's batch_count and Sophgo's iterations take what there is when they are larger; 2.x stops
    lenient = any(word in count_where.lower() for word in ("batch", "iterations"))
    strict = options.given("calibrate_size") and not lenient and source is None
    where = options.where("calibrate_path") if source is None else "calibration_data"
    return DataSpec(
        paths,
        source,
        options.calibrate_size,
        strict,
        options.input_type,
        image_spec(options),
        options.sample_stage or ("unsaid" if options.fuse_preprocess else ""),
        pixels(options),
        where,
        count_where,
    )


def scoring_of(options: ConvertOptions, samples: Dataset) -> Scoring | None:
    """How outputs on the samples are scored; None where there are neither labels nor a metric.

    Raises:
        DataError: labels of another number than the samples, or a file that holds none.
    """
    if not options.scores:
        return None
    from ...quant.score import Scoring

    labels: tuple[object, ...] = ()
    if isinstance(options.labels, str):
        from ..classification import read_labels

        labels = tuple(int(label) for label in read_labels(options.labels, samples.file_names()))
    elif options.labels is not None:
        labels = tuple(options.labels)
    count = len(samples)
    if options.labels is not None and (len(labels) < count or (len(labels) > count and count < samples.spec.count)):
        raise DataError(f"{options.where('labels')}: {len(labels)} labels are given for {count} samples")
    return Scoring(labels[:count], options.metric)


def image_spec(options: ConvertOptions) -> ImageSpec:
    """What is done to images: colour order, sizes, mean and deviation."""
    resize, crop = None, None
    if options.resize_height and options.resize_width:
        resize = (options.resize_height, options.resize_width)
    if options.center_crop_height and options.center_crop_width:
        crop = (options.center_crop_height, options.center_crop_width)
    mean, std = options.normalize_mean, options.normalize_std
    return ImageSpec(
        options.image_to_format,
        mean,
        std,
        resize,
        options.resize_method,
        crop,
        options.resize_mode,
        options.resize_pad,
    )


def pixels(options: ConvertOptions) -> Pixels:
    """What pixels are, in arrays and as the model takes them."""
    size = (options.image_size[0], options.image_size[1]) if options.image_size else None
    return Pixels(options.pixel_format, options.pixel_layout, size, options.pixel_range == "video", options.roi_input)

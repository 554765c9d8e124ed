"""Calibration samples that are pixels in arrays: what is done to an image is done to them, too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...converter.errors import DataError, Setting
from ...converter.surgery.colors import recolored_pixels
from ...converter.surgery.image_steps import ImageSpec, Pixels
from .fit import InputSpec, convert
from .images import normalize, prepared


def is_planar(item: InputSpec) -> bool:
    """True when channels come before the pixels; told from the sizes when the model does not say."""
    if item.layout:
        return item.layout == "NCHW"
    return len(item.shape) == 4 and item.shape[1] in (1, 3) and item.shape[3] not in (1, 3)


@dataclass(frozen=True)
class PixelArrays:
    """How the arrays of one input hold pixels, and what makes samples of them.

    pixels: None where they are the network's own but for mean and deviation, in the input's type and layout.
    """

    item: InputSpec
    image: ImageSpec
    pixels: Pixels | None

    @property
    def stored(self) -> InputSpec:
        """What the arrays hold: uint8 [1, H, W, C], or [1, C, H, W]; sizes are free where none is given."""
        if self.pixels is None:
            return self.item
        channels = 1 if self.pixels.format == "GRAY" else 3
        high, wide = self.pixels.size or (None, None)
        if self.pixels.layout == "NCHW":
            return InputSpec(self.item.name, (1, channels, high, wide), np.dtype(np.uint8), "NCHW")
        return InputSpec(self.item.name, (1, high, wide, channels), np.dtype(np.uint8), "NHWC")

    def ready(self, array: np.ndarray, here: str) -> np.ndarray:
        """The sample in the input's shape and dtype. Raises DataError: it does not fit behind the steps."""
        if self.pixels is None:
            axes = (0, 2, 3, 1) if is_planar(self.item.own()) else (0, 1, 2, 3)
            done = normalize(array.transpose(axes), self.image.mean, self.image.std)
            return np.ascontiguousarray(done.transpose(np.argsort(axes)), array.dtype)
        pixels = array[0].transpose(1, 2, 0) if self.pixels.layout == "NCHW" else array[0]
        if why := self.image.lacks(*pixels.shape[:2]):
            raise DataError(f"{here}: {why}", hint="a larger resize_width and resize_height")
        done = prepared(recolored_pixels(pixels, self.pixels.format, self.image.to_format), self.image)
        own = self.item.own()
        done = done.transpose(2, 0, 1) if is_planar(own) else done
        if any(w is not None and w != n for w, n in zip(own.shape[1:], done.shape)):
            raise DataError(f"{here}: is {list(done.shape)} behind the steps {self.image}, and the input is {own}")
        return np.ascontiguousarray(convert(done, own.dtype, here)[None])


def pixel_arrays(item: InputSpec, image: ImageSpec, pixels: Pixels, stage: str) -> PixelArrays | None:
    """How arrays hold pixels for an input; None for one that takes no images, or where samples are ready.

    Raises:
        DataError: they cannot be of this format.
    """
    own = item.own()
    image_input = len(own.shape) == 4 and own.shape[1 if is_planar(own) else 3] in (image.channels, None)
    if stage not in ("raw", "unnormalized", "unsaid") or not image_input:
        return None
    if stage == "raw" and pixels.format in ("NV12", "YUV444"):
        raise DataError(
            f"arrays of {pixels.format} pixels are not read",
            hint=("images, or ", Setting("sample_stage", "unnormalized"), " and the network's own colours"),
        )
    return PixelArrays(item, image, None if stage == "unnormalized" else pixels)

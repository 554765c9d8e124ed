"""What is done to an image before a network sees it: one record for calibration data and for operators in the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

Size = tuple[int, int]
"""Height, width."""


@dataclass(frozen=True)
class ImageSpec:
    """What is done to an image: colours, (x - mean) / std, resize, centre crop. Operators in a model normalize last,
    which gives the same up to rounding.

    to_format: what the network was trained on. mean, std: per channel of that, or one for all, of 0..255. Sizes are
    None where that step is left out. mode: WARP takes the size as it is; FIT_SMALL_SIZE keeps the proportions and
    covers it; FIT_LARGE_SIZE_AND_PAD keeps them inside it, centred, with `pad` (of 0..255) around.
    """

    to_format: str = "BGR"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: Size | None = None
    method: str = "LINEAR"
    crop: Size | None = None
    mode: str = "WARP"
    pad: float = 0.0

    @property
    def channels(self) -> int:
        return 1 if self.to_format == "GRAY" else 3

    @property
    def resizes_planes(self) -> bool:
        """Whether the planes of NV12 are resized each by itself, before colours are converted: to even sizes."""
        return self.resize is not None and self.mode == "WARP" and not any(n % 2 for n in self.resize)

    def size_of(self, height: int, width: int) -> Size:
        """Returns (height, width) that an image of that size has after the steps."""
        if self.crop or self.resize is None or self.mode != "FIT_SMALL_SIZE":
            return self.crop or self.resize or (height, width)
        return self.resized(height, width)

    def resized(self, height: int, width: int) -> Size:
        """Height and width right behind the resize, before what pads."""
        if self.resize is None:
            return height, width
        if self.mode == "WARP":
            return self.resize
        high, wide = self.resize
        # As Caffe's SSD branch computes them: one side is met, the other one rounded down.
        wider = width * high > wide * height
        if wider == (self.mode == "FIT_LARGE_SIZE_AND_PAD"):
            return max(height * wide // width, 1), wide
        return high, max(width * high // height, 1)

    def margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Rows above and below, columns left and right, that are padded around a resized image of that size."""
        if self.resize is None or self.mode != "FIT_LARGE_SIZE_AND_PAD":
            return 0, 0, 0, 0
        rows, columns = self.resize[0] - height, self.resize[1] - width
        return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2

    def cropped(self, height: int, width: int) -> Size:
        """First row and column of the centre crop of an image of that size; an odd remainder goes to the far side."""
        high, wide = self.crop or (height, width)
        return (height - high) // 2, (width - wide) // 2

    def lacks(self, height: int, width: int) -> str:
        """Why the crop does not fit into an image of that size, "" where it does."""
        before = replace(self, crop=None).size_of(height, width)
        if self.crop is None or (self.crop[0] <= before[0] and self.crop[1] <= before[1]):
            return ""
        return f"is {before[1]}x{before[0]} before the centre crop to {self.crop[1]}x{self.crop[0]}"

    def __str__(self) -> str:
        steps = [self.to_format]
        if self.mean or self.std:
            steps.append(f"(x - {_show(self.mean or (0.0,))}) / {_show(self.std or (1.0,))}")
        if self.resize:
            fit = "" if self.mode == "WARP" else f" {self.mode}"
            steps.append(f"resize {self.resize[1]}x{self.resize[0]} {self.method.lower()}{fit}")
        if self.crop:
            steps.append(f"centre crop {self.crop[1]}x{self.crop[0]}")
        return ", ".join(steps)


@dataclass(frozen=True)
class Pixels:
    """What the written model takes: pixels of 0..255 as uint8.

    format: of `image_words.PIXEL_FORMATS`, or NV12: a plane of Y and one of U and V side by side, of half the sizes.
    layout: NHWC or NCHW. size: height and width; None where no step changes them. video: BT.601's 16..235 rather than
    0..255, of YUV. roi: an input more, int32 [1, 4]: left, top, right and bottom of what is cut out and resized.
    """

    format: str = "RGB"
    layout: str = "NHWC"
    size: Size | None = None
    video: bool = False
    roi: bool = False


def _show(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"

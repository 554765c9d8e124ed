"""The words that say how an image is read: alone, for a help page names them."""

PIXEL_FORMATS = ("RGB", "BGR", "GRAY", "YUV444")
RESIZE_MODES = ("WARP", "FIT_SMALL_SIZE", "FIT_LARGE_SIZE_AND_PAD")

"""Image preprocessing: resizing at half-pixel centres, crop, normalization, channel order."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate import images
from bitlite.quant.calibrate.images import ImageSpec
from PIL import Image


def ramp(height, width):
    """A picture that is linear in both directions: linear interpolation gives it back exactly inside."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y, 2 * x + y], -1)


@pytest.mark.parametrize("method, tolerance", [("LINEAR", 1e-4), ("CUBIC", 0.06)])  # this cubic bends a line a little
@pytest.mark.parametrize("size", [(5, 7), (20, 9), (16, 16), (40, 33)])
def test_a_ramp_stays_a_ramp(method, tolerance, size):
    height, width = 20, 30
    got = images.resize(ramp(height, width), *size, method)
    assert got.shape == (*size, 3) and got.dtype == np.float32
    y = (np.arange(size[0]) + 0.5) * height / size[0] - 0.5
    x = (np.arange(size[1]) + 0.5) * width / size[1] - 0.5
    rows = (y >= 2) & (y <= height - 3)
    columns = (x >= 2) & (x <= width - 3)
    inner = got[rows][:, columns]
    np.testing.assert_allclose(inner[..., 0], np.broadcast_to(x[columns], inner.shape[:2]), atol=tolerance)
    np.testing.assert_allclose(inner[..., 1], np.broadcast_to(y[rows][:, None], inner.shape[:2]), atol=tolerance)


@pytest.mark.parametrize("method", ["LINEAR", "CUBIC", "NEAREST"])
def test_a_flat_picture_stays_flat(method):
    got = images.resize(np.full((3, 4, 1), 7, np.float32), 11, 2, method)
    np.testing.assert_allclose(got, 7, rtol=1e-6)


def test_nearest_takes_the_pixel_at_or_before():
    row = np.arange(5, dtype=np.float32)[None, :, None]
    assert images.resize(row, 1, 3, "NEAREST").ravel().tolist() == [0, 1, 3]
    assert images.resize(row, 1, 10, "NEAREST").ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_linear_halving_averages_neighbours():
    row = np.array([0, 10, 20, 40], np.float32)[None, :, None]
    assert images.resize(row, 1, 2, "LINEAR").ravel().tolist() == [5, 30]


def test_cubic_halving_weighs_four_neighbours():
    row = np.array([0, 10, 20, 40], np.float32)[None, :, None]
    near, far = 0.59375, -0.09375  # the kernel with a = -0.75 at distances 0.5 and 1.5
    wanted = [near * 10 + far * 20, far * 10 + near * 20 + near * 40 + far * 40]
    np.testing.assert_allclose(images.resize(row, 1, 2, "CUBIC").ravel(), wanted)


def test_centre_crop():
    got = images.center_crop(ramp(7, 6), 4, 3)
    np.testing.assert_array_equal(got[..., 1][:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(got[..., 0][0], [1, 2, 3])


def test_the_steps_in_order(tmp_path):
    path = str(tmp_path / "p.png")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    spec = ImageSpec("RGB", (100, 110, 120), (50, 60, 70), (8, 8), "LINEAR", (6, 4))
    wanted = images.resize((pixels.astype(np.float32) - [100, 110, 120]) / np.array([50, 60, 70]), 8, 8)[1:7, 2:6]
    got = images.load(path, spec)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert images.probe(path, spec) == got.shape


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "LA"])
def test_every_kind_of_picture_becomes_three_channels(tmp_path, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    path = str(tmp_path / f"p.{ending}")
    Image.fromarray(np.full((4, 5, 3), 200, np.uint8)).convert(mode).save(path)
    assert images.load(path, ImageSpec("RGB")).shape == (4, 5, 3)
    assert images.load(path, ImageSpec("GRAY")).shape == (4, 5, 1)


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path):
    path = str(tmp_path / "p.png")
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(path)
    assert images.load(path, ImageSpec("GRAY")).ravel().tolist() == [0, 1, 255]


def test_a_turned_photograph_is_turned_back(tmp_path):
    path = str(tmp_path / "p.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(path, exif=exif)
    assert images.load(path, ImageSpec()).shape == images.probe(path, ImageSpec()) == (8, 4, 3)


def test_what_does_not_fit_is_refused(tmp_path):
    path = str(tmp_path / "p.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match="centre crop"):
        images.probe(path, ImageSpec(crop=(8, 8)))
    with pytest.raises(DataError, match="normalize_mean has 3 values"):
        images.load(path, ImageSpec("GRAY", mean=(1, 2, 3)))
    (tmp_path / "q.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"q\.png: cannot be read as an image"):
        images.probe(str(tmp_path / "q.png"), ImageSpec())


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match=r"bitlite\[images\]"):
        images.probe("p.png", ImageSpec())


@pytest.mark.parametrize("crop", [None, (2, 3)])
@pytest.mark.parametrize("method", ["LINEAR", "CUBIC", "NEAREST"])
def test_only_sampled_rows_become_floats_and_give_the_same_bits(tmp_path, method, crop):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = (1.5, 2.5, 3.5), (3.0, 7.0, 11.0)
    for size in (None, (5, 6)):
        got = images.load(str(tmp_path / "a.png"), images.ImageSpec("RGB", mean, std, size, method, crop))
        whole = images.normalize(pixels.astype(np.float32), mean, std)
        wanted = images.resize(whole, *size, method) if size else whole
        wanted = images.center_crop(wanted, *crop) if crop else wanted
        assert got.dtype == np.float32 and np.array_equal(got, wanted)

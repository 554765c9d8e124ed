"""The look at calibration data: right data pass in silence, wrong data are named."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.calibrate.data_lint import FirstLayer, lint
from bitlite.quant.calibrate.images import ImageSpec

SIZE = 32
X = InputSpec("x", (1, SIZE, SIZE, 3), np.dtype(np.float32), "NHWC")


def pictures(count=12):
    """Smooth colourful pictures of 0..255, whole numbers."""
    chance = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    images = []
    for _ in range(count):
        waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in chance.uniform(0, 2, (3, 3))]
        tint = chance.uniform(0.4, 1, 3)
        images.append(np.rint((np.stack(waves, -1) * 0.5 + 0.5) * 255 * tint))
    return np.array(images, np.float32)


def report(source, facts=None, item=X, **spec):
    return lint(Dataset(DataSpec(source=source, **spec), [item]), facts)


def first_layer(scale):
    """A layer trained on inputs of about that size: outputs and bias are of one order."""
    chance = np.random.default_rng(5)
    weight = chance.normal(size=(16, 3, 3, 3)) / (scale * np.sqrt(27) / 2)
    return {"x": FirstLayer(weight=weight.astype(np.float32), bias=chance.normal(size=16).astype(np.float32))}


def test_the_summary():
    data = pictures() / 255
    seen = report(data)
    assert seen.samples == 12
    (item,) = seen.inputs
    assert item.low == pytest.approx(data.min()) and item.high == pytest.approx(data.max())
    np.testing.assert_allclose(item.mean, data.mean((0, 1, 2), dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(item.std, data.std((0, 1, 2), dtype=np.float64), rtol=1e-6)
    assert seen.warnings == []
    assert seen.as_dict()["samples"] == 12
    assert len(seen.cells()) == 1 and "float32" in seen.cells()[0]


@pytest.mark.parametrize(
    "trained, factor, words", [(1, 1, None), (1, 255, "too large"), (255, 255, None), (255, 1, "too small")]
)
def test_scale_is_judged_by_the_first_layer(trained, factor, words):
    warnings = report(pictures() / 255 * factor, first_layer(trained)).warnings
    assert warnings == [] if words is None else words in warnings[0] and len(warnings) == 1


def test_scale_is_judged_by_a_known_range():
    facts = {"x": FirstLayer(low=-1, high=1)}
    assert "made for -1 .. 1" in report(pictures(), facts).warnings[0]
    assert report(pictures() / 127.5 - 1, facts).warnings == []


def test_scale_is_judged_by_a_first_normalization():
    facts = {"x": FirstLayer(mean=np.full(3, 100.0), std=np.full(3, 60.0))}
    assert report(pictures(), facts).warnings == []
    assert "normalizes by mean" in report(pictures() / 255, facts).warnings[0]


def test_without_facts_raw_pixels_are_only_noted():
    seen = report(pictures())
    assert seen.warnings == []
    assert any("raw pixels" in note for note in seen.notes)


def test_the_other_layout_is_noticed():
    data = pictures()
    planar = np.ascontiguousarray(data.transpose(0, 3, 1, 2))
    assert "look like NCHW" in report(planar.reshape(data.shape)).warnings[0]
    item = InputSpec("x", (1, 3, SIZE, SIZE), np.dtype(np.float32), "NCHW")
    assert "look like NHWC" in report(data.reshape(planar.shape), item=item).warnings[0]
    assert report(planar, item=item).warnings == []


def test_files_in_the_graphs_layout_where_the_samples_layout_is_wanted(tmp_path):
    item = InputSpec("x", X.shape, X.dtype, "NHWC", "NCHW")
    for i, picture in enumerate(pictures()):
        picture.tofile(tmp_path / f"{i:02}.bin")
    spec = DataSpec({0: str(tmp_path)})
    assert lint(Dataset(spec, [item])).warnings == []
    for i, picture in enumerate(pictures()):
        picture.transpose(2, 0, 1).tofile(tmp_path / f"{i:02}.bin")
    assert "look like NCHW" in lint(Dataset(spec, [item])).warnings[0]


def test_random_data_have_no_layout():
    noise = np.random.default_rng(0).normal(size=(12, SIZE, SIZE, 3))
    assert report(noise).warnings == []


def test_repeated_and_constant_samples():
    data = pictures()
    data[3], data[5] = data[1], 0
    warnings = report(data / 255).warnings
    assert any("repeat another one (first: 1 and 3)" in text for text in warnings)
    assert any("one value everywhere (first: sample 5)" in text for text in warnings)


def test_few_samples_are_noted():
    assert any("few" in note for note in report(pictures(2) / 255).notes)
    assert not any("few" in note for note in report(pictures(20) / 255).notes)


def test_nan_is_an_error():
    data = pictures()
    data[4, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"sample 4.*NaN"):
        report(data)


@pytest.mark.parametrize("order, mean, suspicious", [
    ("BGR", (123.7, 116.3, 103.5), True), ("RGB", (123.7, 116.3, 103.5), False),
    ("RGB", (103.5, 116.3, 123.7), True), ("BGR", (103.5, 116.3, 123.7), False), ("BGR", (127.5, 127.5, 127.5), False),
])  # fmt: skip
def test_a_mean_in_the_other_channel_order(tmp_path, order, mean, suspicious):
    from PIL import Image

    for i, picture in enumerate(pictures(3)):
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{i}.png")
    spec = DataSpec({0: str(tmp_path)}, image=ImageSpec(order, mean, (60, 60, 60)))
    warnings = [text for text in lint(Dataset(spec, [X])).warnings if "image_to_format" in text]
    assert len(warnings) == suspicious


def test_inputs_without_channels():
    item = InputSpec("f", (1, 640), np.dtype(np.float32))
    seen = report(np.random.default_rng(0).normal(size=(9, 640)), item=item)
    assert seen.inputs[0].mean.shape == (1,)
    weight = np.random.default_rng(1).normal(size=(8, 640)) / 640
    facts = {"f": FirstLayer(weight=weight, bias=np.ones(8))}
    assert report(np.random.default_rng(0).normal(size=(9, 640)) * 1e5, facts, item).warnings


def test_progress_sees_every_sample():
    seen = []

    def watch(samples):
        for sample in samples:
            seen.append(1)
            yield sample

    lint(Dataset(DataSpec(source=pictures()), [X]), progress=watch)
    assert len(seen) == 12

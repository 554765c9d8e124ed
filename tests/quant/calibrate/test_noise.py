"""Images of noise in place of calibration data."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.calibrate.noise import image_input, noise_images


def graph_of(*inputs):
    graph = Graph("g")
    build = Builder(graph)
    for k, (shape, dtype) in enumerate(inputs):
        build.input(f"x{k}", dtype, shape)
    return graph


@pytest.mark.parametrize("shape", [(1, 32, 24, 3), (1, 3, 40, 40), (2, 28, 28, 1), (1, 1, 17, 16)])
def test_images_have_the_inputs_shape_and_range(shape):
    t = image_input(graph_of((shape, np.float32)))
    samples = noise_images(t, 3)
    first, again = [list(images.only(range(3))) for images in (samples, noise_images(t, 3))]
    assert len(samples) == 3 and all(np.array_equal(a["x0"], b["x0"]) for a, b in zip(first, again))
    for sample in first:
        assert sample["x0"].shape == shape and sample["x0"].dtype == np.float32
        assert np.abs(sample["x0"]).max() <= 1 and sample["x0"].std() > 0.05


def test_neighbours_are_alike_and_channels_too():
    (sample,) = noise_images(image_input(graph_of(((1, 64, 64, 3), np.float32))), 1).rows
    x = sample["x0"][0]
    assert np.corrcoef(x[:, :-1, 0].ravel(), x[:, 1:, 0].ravel())[0, 1] > 0.5
    assert np.corrcoef(x[..., 0].ravel(), x[..., 1].ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    "inputs",
    [
        [((1, 32, 32, 8), np.float32)],
        [((1, 8, 8, 3), np.float32)],
        [((None, 32, 32, 3), np.float32)],
        [((1, 32, 32, 3), np.uint8)],
        [((1, 640), np.float32)],
        [((1, 32, 32, 3), np.float32)] * 2,
    ],
)
def test_what_is_no_image_gets_none(inputs):
    assert image_input(graph_of(*inputs)) is None

"""Feeding two models the same values: layouts, types and names."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError, UsageError
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.native.session import Port
from bitlite.tools.affinity import bind
from bitlite.tools.bench_inputs import feed_for, file_feeds, outputs_like, random_feed, shape_of
from bitlite.tools.options.benchmark import BenchOptions

NCHW = Port("x", (1, 3, 4, 5), np.dtype("f4"), "NCHW")
NHWC = Port("x", (1, 4, 5, 3), np.dtype("f4"), "NHWC")
CODES = Port("q", (1, 4, 5, 3), np.dtype("i1"), "NHWC", QuantParam(0.5, 3))


def test_layouts_are_turned_both_ways():
    feed = random_feed([NCHW], 0)
    turned = feed_for(feed, [NCHW], [NHWC])
    assert turned["x"].shape == (1, 4, 5, 3)
    np.testing.assert_array_equal(turned["x"][0, 2, 1], feed["x"][0, :, 2, 1])
    np.testing.assert_array_equal(feed_for(turned, [NHWC], [NCHW])["x"], feed["x"])


@pytest.mark.parametrize("port", [NCHW, NHWC])
def test_files_may_hold_images_in_either_layout(port, tmp_path):
    image = np.random.default_rng(0).random(port.shape).astype(np.float32)
    turned = image.transpose((0, 2, 3, 1) if port is NCHW else (0, 3, 1, 2))
    for k, array in enumerate((image, turned)):
        np.save(tmp_path / f"{k}.npy", array)
        options = BenchOptions(model_file="m.ms", in_data_file=(str(tmp_path / f"{k}.npy"),))
        (feed,) = file_feeds(options, [port])
        np.testing.assert_array_equal(feed["x"], image)
        assert feed["x"].flags.c_contiguous


def test_codes_and_reals_stand_for_the_same_values():
    reals = {"x": np.full((1, 4, 5, 3), 1.5, np.float32)}
    codes = feed_for(reals, [NHWC], [CODES])
    assert codes["q"].dtype == np.int8 and (codes["q"] == 6).all()
    np.testing.assert_array_equal(outputs_like(codes, [CODES], [NHWC])["x"], reals["x"])


def test_inputs_that_do_not_correspond_are_refused():
    with pytest.raises(UsageError, match="do not correspond"):
        feed_for({}, [NCHW], [CODES, Port("z", (1,), np.dtype("f4"))])


def test_random_values_fit_their_types():
    ports = [NCHW, CODES, Port("i", (8,), np.dtype("i8")), Port("b", (8,), np.dtype("?"))]
    feed = random_feed(ports, 1)
    assert feed["x"].min() >= 0.1 and feed["x"].max() < 1
    assert feed["q"].min() < -50 and feed["q"].max() > 50
    assert set(feed["i"].tolist()) <= {0, 1} and feed["b"].dtype == bool
    np.testing.assert_array_equal(feed["x"], random_feed(ports, 1)["x"])


def test_only_the_batch_may_be_left_open():
    assert shape_of(Port("x", (None, 4), np.dtype("f4"))) == (1, 4)
    with pytest.raises(DataError, match=r"\[1, '\?'\].*--inputShapes"):
        shape_of(Port("x", (1, None), np.dtype("f4")))


def test_binding_to_cores_leaves_this_process_somewhere_to_run():
    import os

    before = os.sched_getaffinity(0)
    try:
        assert bind(0, 1) == "no binding"
        assert "bound" in bind(1, 1) or "no binding" in bind(1, 1)
        assert os.sched_getaffinity(0) <= before
    finally:
        os.sched_setaffinity(0, before)

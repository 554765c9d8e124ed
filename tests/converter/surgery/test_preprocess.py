"""Pixels into the model: the same outputs as preprocessing outside, by operators and by the first layer."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError, UnsupportedError, UsageError
from bitlite.converter.formats import onnx_write, tflite_write
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.surgery.colors import recolored_pixels
from bitlite.converter.surgery.image_steps import ImageSpec, Pixels
from bitlite.converter.surgery.preprocess import put_preprocessing
from bitlite.quant.calibrate.images import prepared

MEAN, STD = (103.5, 116.25, 123.7), (57.5, 58.25, 59.125)
RNG = np.random.default_rng(3)


def outside(graph, run, image, spec, have="RGB"):
    """What the network gives for pixels [H, W, C] that are preprocessed before it."""
    x = prepared(recolored_pixels(image, have, spec.to_format), spec)[None]
    return run(graph, x=x.transpose(0, 3, 1, 2) if graph.inputs[0].layout == "NCHW" else x)[0]


def close(got, wanted):
    assert np.abs(got - wanted).max() <= 1e-5 * np.ptp(wanted)


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("spec", "have", "size"),
    [
        (ImageSpec("RGB", MEAN, STD), "RGB", None),
        (ImageSpec("BGR", MEAN, STD), "RGB", None),
        (ImageSpec("RGB", (127.5,), (127.5,)), "BGR", None),
        (ImageSpec("BGR"), "RGB", None),
        (ImageSpec("YUV444", (0, 128, 128)), "BGR", None),
        (ImageSpec("BGR", MEAN, STD, (8, 10)), "RGB", (17, 13)),
        (ImageSpec("RGB", MEAN, STD, (12, 11), "CUBIC", (8, 10)), "RGB", (9, 16)),
        (ImageSpec("RGB", MEAN, (), (9, 11), "NEAREST", (8, 10)), "RGB", (20, 31)),
        (ImageSpec("RGB", MEAN, STD, None, crop=(8, 10)), "RGB", (11, 13)),
        (ImageSpec("BGR", MEAN, STD, (8, 10), mode="FIT_LARGE_SIZE_AND_PAD", pad=114), "RGB", (24, 11)),
        (ImageSpec("RGB", MEAN, STD, (9, 10), crop=(8, 10), mode="FIT_SMALL_SIZE"), "RGB", (24, 11)),
    ],
    ids=str,
)
def test_preprocessing_inside_gives_what_it_gives_outside(network, run, layout, pad, spec, have, size):
    graph = network(layout=layout, pad=pad)
    image = RNG.integers(0, 256, (*(size or (8, 10)), 3)).astype(np.uint8)
    wanted = outside(graph, run, image, spec, have)
    lines = put_preprocessing(graph, spec, Pixels(have, size=size))
    (x,) = graph.inputs
    assert (x.name, x.dtype, x.shape) == ("x", np.uint8, (1, *image.shape)) and spec.to_format in lines[0]
    close(run(graph, x=image[None])[0], wanted)


def test_grey_of_colours_and_planar_pixels(network, run):
    graph, spec = network(channels=1), ImageSpec("GRAY", (100,), (50,))
    image = RNG.integers(0, 256, (8, 10, 3)).astype(np.uint8)
    wanted = outside(graph, run, image, spec)
    put_preprocessing(graph, spec, Pixels("RGB", "NCHW"))
    assert graph.inputs[0].shape == (1, 3, 8, 10)
    close(run(graph, x=image.transpose(2, 0, 1)[None])[0], wanted)


def test_what_the_first_layer_takes_over(network):
    def ops(pad, spec, **options):
        graph = network(pad=pad, **options)
        put_preprocessing(graph, spec, Pixels("RGB"))
        return [node.op for node in graph.nodes]

    rest = ["Conv", "Relu"]
    assert ops(0, ImageSpec("BGR", MEAN, STD)) == ["Cast", *rest]
    # Zeros around an image are not the mean of its pixels.
    assert ops(1, ImageSpec("BGR", MEAN, STD)) == ["Cast", "Sub", "Div", *rest]
    assert ops(0, ImageSpec("BGR", MEAN, STD), conv=False) == ["Cast", "Sub", "Div", "Gather", "Mul"]


def test_a_layer_that_shares_its_weight_takes_nothing_from_the_other(network, run):
    graph = network()
    node = graph.nodes[0]
    before = node.inputs[1].value.copy()
    shared = node.inputs[1]
    put_preprocessing(graph, ImageSpec("BGR", MEAN, STD), Pixels("RGB"))
    assert np.array_equal(shared.value, before) and shared not in graph.nodes[1].inputs


@pytest.mark.parametrize("container", ["onnx", "tflite"])
def test_other_runtimes_run_it(network, run, container, tmp_path):
    graph, spec = network(pad=1), ImageSpec("BGR", MEAN, STD, (9, 12), crop=(8, 10))
    image = RNG.integers(0, 256, (17, 13, 3)).astype(np.uint8)
    wanted = outside(graph, run, image, spec)
    put_preprocessing(graph, spec, Pixels("RGB", size=(17, 13)))
    run_passes(graph, for_target(container))
    path = str(tmp_path / f"m.{container}")
    (onnx_write if container == "onnx" else tflite_write).write(graph, path)
    got = run_elsewhere(path, {"x": image[None]})
    close(got[0] if got[0].shape == wanted.shape else got[0].transpose(0, 2, 3, 1), wanted)


def run_elsewhere(path, feed):
    if path.endswith(".onnx"):
        import onnxruntime

        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feed[detail["name"].partition(":")[0]])
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.parametrize(
    ("spec", "pixels", "error", "words"),
    [
        (ImageSpec("GRAY"), Pixels(), UsageError, "no input takes images of 1 channel"),
        (ImageSpec("RGB", resize=(8, 10)), Pixels(), UsageError, "size of the pixels is not known"),
        (ImageSpec("RGB", resize=(9, 9)), Pixels(size=(20, 20)), UsageError, "9x9 behind the steps"),
        (ImageSpec("RGB", crop=(8, 10)), Pixels(size=(7, 20)), UsageError, "before the centre crop"),
        (ImageSpec("RGB", (1, 2)), Pixels(), DataError, "normalize_mean has 2 values"),
        (ImageSpec("RGB"), Pixels("GRAY"), UnsupportedError, "cannot be made of GRAY"),
        (ImageSpec("RGB", resize=(8, 10)), Pixels("NV12", size=(15, 20)), UsageError, "NV12 has even sizes"),
    ],
)
def test_what_does_not_fit_is_refused(network, spec, pixels, error, words):
    with pytest.raises(error, match=words):
        put_preprocessing(network(), spec, pixels)

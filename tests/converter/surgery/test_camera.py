"""NV12 pixels and regions that are cut out while the model runs, against Pillow and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.surgery.image_steps import ImageSpec, Pixels
from bitlite.converter.surgery.preprocess import put_preprocessing
from bitlite.quant.calibrate.images import resize
from PIL import Image

RNG = np.random.default_rng(5)
Y = RNG.integers(0, 256, (1, 8, 10, 1)).astype(np.uint8)
UV = RNG.integers(0, 256, (1, 4, 5, 2)).astype(np.uint8)


def planes(y=Y, uv=UV):
    """Y, U, V of each pixel [H, W, 3]."""
    return np.concatenate([y[0], uv[0].repeat(2, 0).repeat(2, 1)], 2)


def rgb(yuv, video):
    """R, G, B by BT.601's formulas, rounded and clipped to bytes."""
    y, u, v = np.moveaxis(yuv.astype(np.float64), -1, 0)
    if video:
        y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224 + 128, (v - 128) * 255 / 224 + 128
    parts = [y + 1.402 * (v - 128), y - 0.344136 * (u - 128) - 0.714136 * (v - 128), y + 1.772 * (u - 128)]
    return np.rint(np.stack(parts, -1)).clip(0, 255)


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("to", ["RGB", "BGR"])
def test_colours_of_nv12(network, run, to, video):
    graph = network(conv=False)
    put_preprocessing(graph, ImageSpec(to), Pixels("NV12", video=video))
    assert [(t.name, t.shape) for t in graph.inputs] == [("x_y", (1, 8, 10, 1)), ("x_uv", (1, 4, 5, 2))]
    got = run(graph, x_y=Y, x_uv=UV)[0][0]
    wanted = rgb(planes(), video)
    if not video:
        pillow = np.asarray(Image.fromarray(planes(), "YCbCr").convert("RGB"), np.float64)
        assert np.abs(wanted - pillow).max() <= 1
    assert np.abs(got - (wanted if to == "RGB" else wanted[..., ::-1])).max() <= 1


def test_grey_and_yuv_of_nv12(network, run):
    graph = network(conv=False)
    put_preprocessing(graph, ImageSpec("YUV444"), Pixels("NV12"))
    assert np.array_equal(run(graph, x_y=Y, x_uv=UV)[0][0], planes())
    for video in (False, True):
        grey = network(channels=1, conv=False)
        put_preprocessing(grey, ImageSpec("GRAY"), Pixels("NV12", video=video))
        wanted = ((Y.astype(float) - 16) * 255 / 219).clip(0, 255) if video else Y
        feed = {"x_y": Y, "x_uv": UV}
        assert np.abs(run(grey, **{t.name: feed[t.name] for t in grey.inputs})[0] - wanted).max() <= 0.01


@pytest.mark.parametrize("method", ["LINEAR", "NEAREST"])
def test_planes_are_resized_before_colours(network, run, method):
    graph = network(size=(4, 4), conv=False)
    put_preprocessing(graph, ImageSpec("RGB", resize=(6, 4), method=method, crop=(4, 4)), Pixels("NV12", size=(8, 10)))
    y, uv = resize(Y[0], 6, 4, method), resize(UV[0], 3, 2, method)
    got = run(graph, x_y=Y, x_uv=UV)[0][0]
    assert np.abs(got - rgb(planes(y[None], uv[None]), False)[1:5]).max() <= 1


@pytest.mark.parametrize("roi", [(0, 0, 9, 7), (2, 2, 7, 5), (4, 0, 9, 3)])
@pytest.mark.parametrize("format", ["RGB", "NV12"])
def test_a_region_is_cut_out_and_resized(network, run, format, roi):
    graph = network(size=(6, 4), conv=False)
    put_preprocessing(graph, ImageSpec("RGB"), Pixels(format, size=(8, 10), roi=True))
    left, top, right, bottom = roi
    region = np.array([roi], np.int32)
    if format == "RGB":
        image = RNG.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        got = run(graph, x=image[None], x_roi=region)[0][0]
        wanted = resize(image[top : bottom + 1, left : right + 1], 6, 4)
        assert np.abs(got - wanted).max() < 1e-3
        return
    got = run(graph, x_y=Y, x_uv=UV, x_roi=region)[0][0]
    y = resize(Y[0, top : bottom + 1, left : right + 1], 6, 4)
    uv = resize(UV[0, top // 2 : bottom // 2 + 1, left // 2 : right // 2 + 1], 3, 2)
    assert np.abs(got - rgb(planes(y[None], uv[None]), False)).max() <= 1


def test_other_runtimes_run_nv12_and_regions(network, run, tmp_path):
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter
    from bitlite.converter.formats import onnx_write, tflite_write
    from bitlite.converter.passes import for_target, run_passes

    graph = network(size=(6, 4))
    put_preprocessing(graph, ImageSpec("BGR", (100, 110, 120), (50,)), Pixels("NV12", size=(8, 10), roi=True))
    feed = {"x_y": Y, "x_uv": UV, "x_roi": np.array([[2, 0, 9, 5]], np.int32)}
    wanted = run(graph, **feed)[0]
    for container, write in (("onnx", onnx_write.write), ("tflite", tflite_write.write)):
        target, path = graph.copy(), str(tmp_path / f"m.{container}")
        run_passes(target, for_target(container))
        write(target, path)
        if container == "onnx":
            got = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        else:
            interpreter = Interpreter(path)
            interpreter.allocate_tensors()
            for detail in interpreter.get_input_details():
                interpreter.set_tensor(detail["index"], feed[detail["name"].partition(":")[0]])
            interpreter.invoke()
            got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        got = got if got.shape == wanted.shape else got.transpose(0, 2, 3, 1)
        assert np.abs(got - wanted).max() <= 1e-4 * np.ptp(wanted)

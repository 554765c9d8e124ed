"""Arrays of pixels as calibration data: the values that preprocessing inside the model makes of the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.surgery.image_steps import ImageSpec, Pixels
from bitlite.converter.surgery.preprocess import put_preprocessing
from bitlite.native.session import Session
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec

RNG = np.random.default_rng(8)
Y = RNG.integers(0, 256, (5, 8, 12, 1)).astype(np.uint8)
UV = RNG.integers(0, 256, (5, 4, 6, 2)).astype(np.uint8)
FRAMES = np.concatenate([Y[..., 0], UV.reshape(5, 4, 12)], axis=1)
SPECS = [
    (ImageSpec("BGR", (100, 110, 120), (50,)), (8, 12)),
    (ImageSpec("RGB", (3,), (2,), resize=(6, 4), crop=(4, 4)), (4, 4)),
    (ImageSpec("RGB", resize=(5, 7)), (5, 7)),
    (ImageSpec("RGB", (3,), (2,), resize=(10, 10), mode="FIT_LARGE_SIZE_AND_PAD", pad=7), (10, 10)),
    (ImageSpec("GRAY", (3,), (2,)), (8, 12)),
    (ImageSpec("YUV444", (3,), (2,)), (8, 12)),
]


def inside(spec, size, pixels):
    """What a model with the preprocessing inside makes of an input of pixels."""
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, *size, spec.channels), layout="NHWC")
    graph.outputs = build.emit("Mul", [x, build.constant(np.float32([1]), "one")], name="y")[:]
    put_preprocessing(graph, spec, pixels)
    session = Session(graph)
    return lambda feed: session.run({port.name: feed[port.name] for port in session.inputs})["y"]


def dataset(source, spec, size, pixels, planar=False, paths=None):
    shape = (1, spec.channels, *size) if planar else (1, *size, spec.channels)
    item = InputSpec("x", shape, np.dtype(np.float32), "NCHW" if planar else "NHWC")
    return Dataset(DataSpec(paths or {}, source, image=spec, stage="raw", pixels=pixels), [item])


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize(("spec", "size"), SPECS)
def test_frames_of_a_camera(spec, size, video):
    pixels = Pixels("NV12", size=(8, 12), video=video)
    run = inside(spec, size, pixels)
    kinds = [FRAMES, FRAMES[:, None], list(FRAMES), {"x_y": Y, "x_uv": UV}, [{"x": f.ravel()} for f in FRAMES]]
    samples = [list(dataset(kind, spec, size, pixels)) for kind in kinds]
    samples.append([{"x": s["x"].transpose(0, 2, 3, 1)} for s in dataset(FRAMES, spec, size, pixels, planar=True)])
    for k in range(5):
        wanted = run({"x_y": Y[k : k + 1], "x_uv": UV[k : k + 1]})
        for got in samples:
            assert len(got) == 5 and np.abs(got[k]["x"] - wanted).max() < 1e-3


def test_frames_in_files(tmp_path):
    spec, size = SPECS[0]
    (tmp_path / "bins").mkdir()
    for k, frame in enumerate(FRAMES):
        frame.tofile(tmp_path / "bins" / f"{k}.bin")
    np.save(tmp_path / "frames.npy", FRAMES)
    wanted = list(dataset(FRAMES, spec, size, Pixels("NV12")))
    for path in ("bins", "frames.npy"):
        got = list(dataset(None, spec, size, Pixels("NV12"), paths={0: str(tmp_path / path)}))
        assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(got, wanted)) and len(got) == 5


@pytest.mark.parametrize("to", ["RGB", "BGR", "GRAY", "YUV444"])
def test_colours_of_yuv444(to):
    spec = ImageSpec(to, (3,), (2,))
    run = inside(spec, (8, 12), Pixels("YUV444", video=True))
    images = RNG.integers(0, 256, (2, 8, 12, 3)).astype(np.uint8)
    for got, image in zip(dataset(images, spec, (8, 12), Pixels("YUV444", video=True)), images):
        assert np.abs(got["x"] - run({"x": image[None]})).max() < 1e-3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (FRAMES[:, :11], r"shape \[5,11,12\] does not fit the input 'x' uint8 \[1,12,12\]"),
        ({"x_y": Y, "x_uv": UV[:, :3]}, r"planes of shapes \[5, 8, 12, 1\] and \[5, 3, 6, 2\]"),
        ({"x_y": Y}, "'x_y' is not an input of the model"),
    ],
)
def test_frames_that_do_not_fit_are_one_line(source, words):
    with pytest.raises(DataError, match=words):
        list(dataset(source, *SPECS[0], Pixels("NV12")))


def test_frames_of_odd_sizes_are_refused():
    with pytest.raises(DataError, match="11 rows of 12 bytes are no NV12 image"):
        list(dataset(FRAMES[:, :11], ImageSpec("RGB", resize=(4, 4)), (4, 4), Pixels("NV12")))

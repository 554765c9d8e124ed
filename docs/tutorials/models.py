"""Models and data for the tutorials:  python docs/tutorials/models.py detector|transformer|stream [FOLDER]

Small networks that no framework trained: seeded weights, and a last layer that least squares fit to what the seeded
layers make of drawn data. Writes NAME.onnx, NAME_calib/*.npz (what to calibrate on) and NAME_eval.npz.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import bitlite
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, np.ndarray]
SIZE, CELL = 48, 4  # of a detector's images and of the cells that it decides on, in pixels
WORDS, LENGTH, WIDTH, HEADS = 64, 16, 32, 4
BANDS, UNITS = 16, 32


class Model:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: Arrays = {}

    def add(self, op: str, name: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [name, *(f"{name}_{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value.astype(np.int64 if value.dtype.kind == "i" else np.float32)
        return name

    def save(
        self, path: Path, inputs: Mapping[str, list[int]], outputs: Mapping[str, list[int]], ids: str = ""
    ) -> None:
        def ports(shapes: Mapping[str, list[int]]) -> list[onnx.ValueInfoProto]:
            kinds = {name: TensorProto.INT64 if name == ids else TensorProto.FLOAT for name in shapes}
            return [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]

        stored = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, path.stem, ports(inputs), ports(outputs), stored)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def fitted(features: np.ndarray, wanted: np.ndarray, ridge: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Weights [features, outputs] and biases by least squares, of rows of features and of what they are to give."""
    middle = features.mean(0)
    x = features - middle
    weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ (wanted - wanted.mean(0)))
    return weights, wanted.mean(0) - middle @ weights


def store(folder: Path, name: str, samples: list[Arrays], held_out: Arrays) -> None:
    (folder / f"{name}_calib").mkdir(exist_ok=True)
    for k, sample in enumerate(samples):
        np.savez(folder / f"{name}_calib" / f"{k:03}.npz", **sample)
    np.savez(folder / f"{name}_eval.npz", **held_out)


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [count, 3, SIZE, SIZE] of 0 … 1 with one to three bright rectangles each; per cell whether its middle lies
    in one, and that one's box: middle, width and height in pixels."""
    images = rng.uniform(0, 0.3, (count, 3, SIZE, SIZE))
    cells = SIZE // CELL
    there, boxes = np.zeros((count, cells, cells)), np.zeros((count, cells, cells, 4))
    for k in range(count):
        for x, y in rng.permutation([(12, 12), (12, 36), (36, 12), (36, 36)])[: rng.integers(1, 4)]:
            x, y = x + rng.integers(-4, 5), y + rng.integers(-4, 5)
            w, h = rng.integers(3, 8, 2)
            images[k, :, y - h : y + h, x - w : x + w] = rng.uniform(0.6, 1, (3, 1, 1))
            rows, columns = ((slice(-(-(c - n - 2) // CELL), -(-(c + n - 2) // CELL))) for c, n in ((y, h), (x, w)))
            there[k, rows, columns] = 1
            boxes[k, rows, columns] = x, y, 2 * w, 2 * h
    return images.astype(np.float32), there, boxes


def detector(folder: Path) -> None:
    """Boxes and scores of bright rectangles, as one output [1, 5, cells]: x, y, w, h in pixels, and a score."""
    rng = np.random.default_rng(0)
    cells = SIZE // CELL
    m = Model()
    x, before = "image", 3
    for k, (channels, stride, size) in enumerate(((16, 2, 3), (48, 2, 5), (96, 1, 5), (128, 1, 3)), 1):
        weight = rng.standard_normal((channels, before, size, size)) * np.sqrt(2 / (before * size * size))
        m.constant(f"w{k}", weight - weight.mean((1, 2, 3), keepdims=True) * (k > 1))
        m.constant(f"b{k}", rng.uniform(-0.2, 0.2, channels))
        side = size // 2
        m.add("Conv", f"conv{k}", x, f"w{k}", f"b{k}", strides=[stride] * 2, pads=[side] * 4)
        x, before = m.add("Relu", f"relu{k}", f"conv{k}"), channels
    m.save(folder / "features.onnx", {"image": [1, 3, SIZE, SIZE]}, {x: [1, before, cells, cells]})
    images, there, boxes = drawn(rng, 300)
    features = run_all(folder / "features.onnx", images, "image").transpose(0, 2, 3, 1).reshape(-1, before)
    there, boxes = there.reshape(-1, 1), boxes.reshape(-1, 4)
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1) * CELL + CELL / 2
    offset = boxes - np.pad(np.tile(grid.reshape(-1, 2), (300, 1)), ((0, 0), (0, 2)))
    found = there[:, 0] > 0
    w_score, b_score = fitted(features, there)
    w_box, b_box = fitted(features[found], offset[found])
    m.constant("w_score", 12 * w_score.T[:, :, None, None]), m.constant("b_score", 12 * (b_score - 0.5))
    m.constant("w_box", w_box.T[:, :, None, None]), m.constant("b_box", b_box)
    m.constant("grid", np.pad(grid, ((0, 0), (0, 0), (0, 2))).transpose(2, 0, 1)[None])
    m.add("Conv", "score", x, "w_score", "b_score"), m.add("Sigmoid", "sigmoid", "score")
    m.add("Conv", "box", x, "w_box", "b_box"), m.add("Add", "boxes", "box", "grid")
    m.add("Concat", "joined", "boxes", "sigmoid", axis=1)
    m.add("Reshape", "found", "joined", m.constant("shape", np.array([1, 5, cells * cells])))
    m.save(folder / "detector.onnx", {"image": [1, 3, SIZE, SIZE]}, {"found": [1, 5, cells * cells]})
    (folder / "features.onnx").unlink()
    images, there, boxes = drawn(rng, 200)
    nhwc = images.transpose(0, 2, 3, 1)
    held_out = {"image": images[100:], "there": there[100:].reshape(100, -1), "boxes": boxes[100:].reshape(100, -1, 4)}
    store(folder, "detector", [{"image": x[None]} for x in nhwc[:100]], held_out)


def run_all(path: Path, values: np.ndarray, name: str) -> np.ndarray:
    session = bitlite.load(str(path))
    return np.concatenate([next(iter(session.run({name: x[None]}).values())) for x in values])


def sentences(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Word numbers [count, LENGTH], and which of four kinds of words (a quarter of all each) each has most of."""
    topic = rng.integers(0, 4, count)
    said = np.where(rng.random((count, LENGTH)) < 0.45, topic[:, None], rng.integers(0, 4, (count, LENGTH)))
    counts = np.stack([(said == k).sum(1) for k in range(4)], 1)
    return said * (WORDS // 4) + rng.integers(0, WORDS // 4, said.shape), counts.argmax(1)


def transformer(folder: Path) -> None:
    """The topic of a sentence: two layers of an encoder. One channel in it is a hundred times larger than the others,
    as in language models."""
    rng = np.random.default_rng(1)
    m = Model()
    kinds = np.repeat(rng.standard_normal((4, WIDTH)), WORDS // 4, 0)
    m.constant("words", kinds + 0.7 * rng.standard_normal((WORDS, WIDTH)))
    x = m.add("Gather", "embedding", "words", "ids")
    loud = np.ones(WIDTH)
    loud[5] = 100
    (
        m.constant("by_head", np.array([1, LENGTH, HEADS, WIDTH // HEADS])),
        m.constant("whole", np.array([1, LENGTH, WIDTH])),
    )
    m.constant("root", np.array(np.sqrt(WIDTH / HEADS)))

    def dense(name: str, value: str, rows: int, columns: int, quiet: np.ndarray | None = None) -> str:
        weight = rng.standard_normal((rows, columns)) / np.sqrt(rows)
        m.constant(f"{name}_w", weight if quiet is None else weight / quiet[:, None])
        return m.add("MatMul", name, value, f"{name}_w")

    def normalized(name: str, value: str) -> str:
        m.constant(f"{name}_scale", loud), m.constant(f"{name}_bias", np.zeros(WIDTH))
        return m.add("LayerNormalization", name, value, f"{name}_scale", f"{name}_bias", axis=-1)

    for k in range(2):
        n = normalized(f"norm{k}", x)
        parts = {}
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            y = dense(f"{part}{k}", n, WIDTH, WIDTH, loud)
            y = m.add("Reshape", f"{part}{k}_heads", y, "by_head")
            parts[part] = m.add("Transpose", f"{part}{k}_order", y, perm=order)
        y = m.add("Div", f"scores{k}", m.add("MatMul", f"qk{k}", parts["q"], parts["k"]), "root")
        y = m.add("MatMul", f"mix{k}", m.add("Softmax", f"softmax{k}", y, axis=-1), parts["v"])
        y = m.add("Transpose", f"mix{k}_order", y, perm=[0, 2, 1, 3])
        y = dense(f"out{k}", m.add("Reshape", f"mix{k}_whole", y, "whole"), WIDTH, WIDTH)
        x = m.add("Add", f"attended{k}", x, y)
        y = dense(f"up{k}", normalized(f"norm_up{k}", x), WIDTH, 2 * WIDTH, loud)
        y = dense(f"down{k}", m.add("Relu", f"relu{k}", y), 2 * WIDTH, WIDTH)
        x = m.add("Add", f"layer{k}", x, y)
    pooled = m.add("ReduceMean", "pooled", x, axes=[1], keepdims=0)
    m.save(folder / "features.onnx", {"ids": [1, LENGTH]}, {pooled: [1, WIDTH]}, ids="ids")
    ids, topics = sentences(rng, 1000)
    weights, bias = fitted(run_all(folder / "features.onnx", ids, "ids"), np.eye(4)[topics])
    m.constant("head_w", 8 * weights), m.constant("head_b", 8 * bias)
    m.add("Gemm", "topic", pooled, "head_w", "head_b")
    m.save(folder / "transformer.onnx", {"ids": [1, LENGTH]}, {"topic": [1, 4]}, ids="ids")
    (folder / "features.onnx").unlink()
    ids, topics = sentences(rng, 500)
    store(folder, "transformer", [{"ids": x[None]} for x in ids[:100]], {"ids": ids[100:], "topic": topics[100:]})


def sound(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Log energies [frames, BANDS] of a sound in which tones rise and fall, and of each frame what it is: 0 nothing, 1
    a rising tone, 2 a falling one."""
    kind, pitch = np.zeros(frames, np.int64), np.full(frames, -1.0)
    k = 10
    while k + 20 < frames:
        length, rising = int(rng.integers(8, 16)), rng.random() < 0.5
        tone = np.linspace(0.1, 0.9, length)
        kind[k : k + length] = 1 if rising else 2
        pitch[k : k + length] = tone if rising else tone[::-1]
        k += length + int(rng.integers(5, 20))
    rate, hop = 8000, 160
    step = np.repeat(np.where(pitch < 0, 0, 300 + 3000 * pitch), hop)
    wave = np.repeat(pitch >= 0, hop) * np.sin(2 * np.pi * np.cumsum(step) / rate) + 0.05 * rng.standard_normal(
        frames * hop
    )
    spectrum = np.abs(np.fft.rfft(wave.reshape(frames, hop) * np.hanning(hop)))[:, 1:]
    bands = np.stack([part.mean(1) for part in np.array_split(spectrum**2, BANDS, axis=1)], 1)
    return np.log(bands + 1e-3).astype(np.float32), kind


def stream(folder: Path) -> None:
    """A GRU that takes a frame of sound and its state, and gives scores and the state for the next frame."""
    rng = np.random.default_rng(2)
    m = Model()
    m.constant("W", rng.standard_normal((1, 3 * UNITS, BANDS)) * 0.3 / np.sqrt(BANDS))
    m.constant("R", rng.standard_normal((1, 3 * UNITS, UNITS)) * 0.9 / np.sqrt(UNITS))
    m.constant("B", np.concatenate([rng.uniform(-0.5, 0.5, (1, 3 * UNITS)), np.zeros((1, 3 * UNITS))], 1))
    m.nodes.append(
        helper.make_node("GRU", ["frame", "W", "R", "B", "", "state"], ["", "next"], name="gru", hidden_size=UNITS)
    )
    ports = {"frame": [1, 1, BANDS], "state": [1, 1, UNITS]}
    m.save(folder / "features.onnx", ports, {"next": [1, 1, UNITS]})
    frames, kinds = sound(rng, 3000)
    states = listened(folder / "features.onnx", frames)
    weights, bias = fitted(states[1:, 0, 0], np.eye(3)[kinds])
    m.constant("head_w", 6 * weights), m.constant("head_b", 6 * bias)
    m.add("Reshape", "flat", "next", m.constant("shape", np.array([1, UNITS])))
    m.add("Gemm", "scores", "flat", "head_w", "head_b")
    m.save(folder / "stream.onnx", ports, {"scores": [1, 3], "next": [1, 1, UNITS]})
    (folder / "features.onnx").unlink()
    frames, kinds = sound(rng, 2400)
    states = listened(folder / "stream.onnx", frames)
    samples = [{"frame": frames[k][None, None], "state": states[k]} for k in range(0, 400, 4)]
    store(folder, "stream", samples, {"frame": frames[400:, None, None], "kind": kinds[400:]})


def listened(path: Path, frames: np.ndarray) -> np.ndarray:
    """The states [frames + 1, 1, 1, UNITS] before and after each frame."""
    session, states = bitlite.load(str(path)), [np.zeros((1, 1, UNITS), np.float32)]
    for frame in frames:
        states.append(session.run({"frame": frame[None, None], "state": states[-1]})["next"])
    return np.stack(states)


if __name__ == "__main__":
    MODELS = {"detector": detector, "transformer": transformer, "stream": stream}
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in MODELS:
        sys.exit(__doc__)
    MODELS[sys.argv[1]](Path(sys.argv[2] if len(sys.argv) > 2 else "."))

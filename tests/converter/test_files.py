"""Model files are mapped with clear refusals; formats are told by contents."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.formats import ms_schema, tflite_schema
from bitlite.converter.formats.files import map_file, sniff
from bitlite.converter.formats.flat import encode
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder


def test_a_file_is_mapped_whole_and_read_only(tmp_path):
    (tmp_path / "m").write_bytes(b"contents")
    view = map_file(tmp_path / "m")
    assert view[:] == b"contents"
    with pytest.raises(TypeError):
        view[0] = 1


def test_what_is_no_model_file_is_refused_by_reason(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, why in [
        ("none.tflite", "no such file"),
        ("nowhere/m.tflite", "the folder .*nowhere does not exist"),
        ("", "is a directory"),
        ("empty", "is empty"),
        ("pipe", "not a regular file"),
        ("empty/m", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null byte"),
    ]:
        with pytest.raises(ModelError, match=why):
            map_file(str(tmp_path / name))


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "m").write_bytes(b"contents")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ModelError, match="m: cannot be read: Permission denied"):
        map_file(tmp_path / "m")


def test_a_format_is_told_by_its_contents(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph([], "g", [], [])
    model = helper.make_model(graph, doc_string="x" * 500, producer_name="p").SerializeToString()
    mindir = b"\x0a\x050.1.0" + b"\x12\x02ms" + b"\x3a\x00" + b"\x50\x01"
    cases = {
        "tflite": b"".join(encode({}, tflite_schema.SCHEMA)),
        "ms": b"".join(encode({}, ms_schema.SCHEMA)),
        "onnx": model,
        "mindir": mindir,
    }
    for expected, data in cases.items():
        (tmp_path / "m").write_bytes(data)
        assert sniff(tmp_path / "m") == expected
    (tmp_path / "m").write_bytes(model[:-3])
    assert sniff(tmp_path / "m") == "onnx"
    for data in (b"\0", b"hello world, no model", b"\x08" * 40, b"\xff" * 40, b"\x08\x07", b"PK\x03\x04" + bytes(30)):
        (tmp_path / "m").write_bytes(data)
        assert sniff(tmp_path / "m") is None


def test_maps_are_let_go_behind_what_was_swept(tmp_path, monkeypatch):
    from bitlite.converter.formats import files

    path = tmp_path / "m.bin"
    path.write_bytes(bytes(range(256)) * 64)
    view, gone = files.map_file(path), []
    monkeypatch.setattr(files, "_SWEPT", 100)
    monkeypatch.setattr(files, "let_go", lambda: gone.append(len(seen)))
    seen = []
    for k in files.sweep(range(6), lambda k: 40):
        seen.append(k)
    assert seen == list(range(6)) and gone == [3, 6]
    monkeypatch.undo()
    files.let_go()
    assert view[:256] == bytes(range(256))


@pytest.mark.parametrize("container", ["ms", "tflite", "onnx"])
def test_writers_let_go_of_what_they_have_written(container, tmp_path, monkeypatch):
    """Else a model of gigabytes is in memory as a whole while it is written, in each format once more."""
    import importlib

    from bitlite.converter.formats import files, onnx_write
    from bitlite.converter.passes import for_target, run_passes

    graph, gone = chain_of_products(6), []
    run_passes(graph, for_target(container))
    monkeypatch.setattr(files, "_SWEPT", 2 * 64 * 64 * 4)
    monkeypatch.setattr(onnx_write, "_EXTERNAL_ABOVE", 0)
    monkeypatch.setattr(files, "let_go", lambda: gone.append(1))
    importlib.import_module(f"bitlite.converter.formats.{container}").write(graph, str(tmp_path / f"m.{container}"))
    assert len(gone) >= 2


def test_looking_at_weights_lets_go_of_them_before_any_is_quantized(monkeypatch):
    from bitlite.converter.formats import files
    from bitlite.quant.weights import weight_math, weight_quant

    gone, before = [], []
    monkeypatch.setattr(files, "_SWEPT", 2 * 64 * 64 * 4)
    monkeypatch.setattr(files, "let_go", lambda: gone.append(1))
    first = weight_math.quantize_weight
    monkeypatch.setattr(weight_math, "quantize_weight", lambda *a, **k: [before.append(len(gone)), first(*a, **k)][1])
    weight_quant.quantize_graph_weights(chain_of_products(6), weight_quant.WeightSettings())
    assert before and before[0] >= 2


def test_a_turned_weight_is_stored_in_a_tflite_as_the_view_that_it_is():
    from bitlite.converter.formats.tflite_write import to_record

    graph = chain_of_products(2, turned=True)
    weights = [n.inputs[1].data for n in graph.nodes]
    buffers = [b["data"] for b in to_record(graph)[0].buffers if "data" in b]
    assert all(any(np.shares_memory(w, b) for b in buffers) for w in weights)


def chain_of_products(count, turned=False):
    rng, graph = np.random.default_rng(0), Graph("chain")
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.float32, (1, 64))
    for k in range(count):
        w = rng.standard_normal((64, 64)).astype(np.float32)
        (x,) = build.emit("FullyConnected", [x, build.constant(w.T if turned else w, f"w{k}")], name=f"n{k}")
    graph.outputs = [x]
    return graph

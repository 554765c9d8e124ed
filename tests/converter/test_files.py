"""Model files are mapped with clear refusals; formats are told by contents."""

from __future__ import annotations

import errno
import os

import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.formats import ms_schema, tflite_schema
from bitlite.converter.formats.files import map_file, sniff
from bitlite.converter.formats.flat import encode


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

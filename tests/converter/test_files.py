"""Model files are mapped with clear refusals, outputs appear whole or not at all, formats are told by contents."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from bitlite.converter.errors import ModelError, OutputError
from bitlite.converter.formats import ms_schema, tflite_schema
from bitlite.converter.formats.files import map_file, sniff, write_atomic
from bitlite.converter.formats.flat import encode


def names(folder):
    return sorted(p.name for p in folder.iterdir())


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


def test_an_output_appears_when_the_block_ends_well(tmp_path):
    with write_atomic(tmp_path / "m.ms") as out:
        out.write(b"first")
        assert not (tmp_path / "m.ms").exists()
    assert (tmp_path / "m.ms").read_bytes() == b"first"
    with write_atomic(tmp_path / "m.ms", sources=[tmp_path / "gone.tflite"]) as out:
        out.write(b"second")
    assert (tmp_path / "m.ms").read_bytes() == b"second"
    assert names(tmp_path) == ["m.ms"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "m.ms").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_failure_leaves_the_old_file_and_no_new_one(tmp_path, error):
    (tmp_path / "m.ms").write_bytes(b"old")
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught, write_atomic(tmp_path / "m.ms") as out:
        out.write(b"half")
        raise error
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path / 'm.ms'}: cannot be written: No space left on device"
    assert names(tmp_path) == ["m.ms"]
    assert (tmp_path / "m.ms").read_bytes() == b"old"


def test_a_device_is_no_output():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with pytest.raises(OutputError, match="/dev/full: is not a regular file"), write_atomic("/dev/full"):
        pass


def test_the_input_file_is_never_the_output(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"model")
    (tmp_path / "link").symlink_to("m.tflite")
    os.link(tmp_path / "m.tflite", tmp_path / "hard")
    for name in ("m.tflite", "link", "hard", "../" + tmp_path.name + "/m.tflite"):
        output = write_atomic(tmp_path / name, sources=["elsewhere", tmp_path / "m.tflite"])
        with pytest.raises(OutputError, match="is the input file itself"), output as out:
            out.write(b"lost")
    assert (tmp_path / "m.tflite").read_bytes() == b"model"


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/m.ms")
    with write_atomic(tmp_path / "link") as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "m.ms").read_bytes() == b"new"


def test_impossible_outputs_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name, why in [
        ("", "is a directory"),
        ("nowhere/m.ms", "the folder .*nowhere does not exist"),
        ("file/m.ms", "the folder .*file does not exist"),
        ("loop", "cannot be written"),
        ("a\0b", "cannot be written: embedded null byte"),
        ("x" * 300, "cannot be written: File name too long"),
    ]:
        with pytest.raises(OutputError, match=why), write_atomic(str(tmp_path / name)) as out:
            out.write(b"lost")
    assert names(tmp_path) == ["file", "loop"]


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

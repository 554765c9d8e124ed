"""Outputs appear whole or not at all, alone or together, and leave nothing of what failed or was killed."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from bitlite.converter.errors import ModelError, OutputError
from bitlite.converter.formats.outputs import Staging, check_target, write_atomic


def names(folder):
    return sorted(p.name for p in folder.iterdir())


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


def test_permissions_of_an_overwritten_file_are_kept(tmp_path):
    (tmp_path / "m.ms").write_bytes(b"old")
    for mode in (0o600, 0o640, 0o444):
        os.chmod(tmp_path / "m.ms", mode)
        with write_atomic(tmp_path / "m.ms") as out:
            out.write(b"alone")
        assert stat.S_IMODE((tmp_path / "m.ms").stat().st_mode) == mode
        with Staging() as staging, open(staging.place(tmp_path / "m.ms"), "wb") as out:
            out.write(b"staged")
        assert stat.S_IMODE((tmp_path / "m.ms").stat().st_mode) == mode


def test_staged_files_take_their_places_together_with_what_lies_beside_them(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with Staging() as staging:
        for name in ("a", "b"):
            path = staging.place(tmp_path / name)
            for part in (path, path + ".data"):
                with write_atomic(part) as out:
                    out.write(name.encode())
        assert (tmp_path / "a").read_bytes() == b"old" and not (tmp_path / "b").exists()
    assert names(tmp_path) == ["a", "a.data", "b", "b.data"]
    assert (tmp_path / "a").read_bytes() == b"a" and (tmp_path / "b.data").read_bytes() == b"b"


def test_a_failure_while_staging_changes_no_target_and_is_told_of_the_target(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ModelError) as caught, Staging() as staging:
        with open(staging.place(tmp_path / "a"), "wb") as out:
            out.write(b"new")
        raise ModelError("is damaged", file=staging.place(tmp_path / "b"))
    assert str(caught.value) == f"{tmp_path / 'b'}: is damaged"
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_a_place_that_is_lost_at_the_end_brings_back_what_was_replaced(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputError, match="c: cannot be written: Is a directory"), Staging() as staging:
        for name in "abc":
            with open(staging.place(tmp_path / name), "wb") as out:
                out.write(b"new")
        (tmp_path / "c").mkdir()
    assert names(tmp_path) == ["a", "c"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_failure_never_touches_what_another_has_written(tmp_path):
    with pytest.raises(ModelError), Staging() as mine:
        with open(mine.place(tmp_path / "m"), "wb") as out:
            out.write(b"mine")
        with Staging() as theirs, open(theirs.place(tmp_path / "m"), "wb") as out:
            out.write(b"theirs")
        raise ModelError("is not what was written")
    assert names(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == b"theirs"


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    failures = []

    def work(k):
        try:
            for _ in range(20):
                with Staging() as staging, open(staging.place(tmp_path / "m"), "wb") as out:
                    out.write(bytes([k]) * 1000)
                with write_atomic(tmp_path / "m") as out:
                    out.write(bytes([k]) * 1000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert names(tmp_path) == ["m"]
    data = (tmp_path / "m").read_bytes()
    assert len(data) == 1000 and len(set(data)) == 1


_KILLED = """
import os, signal, sys
from bitlite.converter.formats.outputs import Staging, write_atomic
with write_atomic(sys.argv[1] + "/alone") as out, Staging() as staging:
    open(staging.place(sys.argv[1] + "/staged"), "wb").write(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_leaves_goes_with_the_next_output(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    check_target(tmp_path / "other")
    assert len(names(tmp_path)) == 2, "a living process keeps its files"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(names(tmp_path)) == 2
    (tmp_path / ".bitlite-mine.part").touch()
    check_target(tmp_path / "other")
    assert names(tmp_path) == [".bitlite-mine.part"]

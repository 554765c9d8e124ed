"""The progress bar: silent away from a terminal, and never in the way of the items."""

import io
import sys
import time

from bitlite.tools.progress import end_bars, track


def test_silent_without_a_terminal(capsys):
    assert list(track(range(5), "work")) == list(range(5))
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(track(iter(range(3)), "calibrate", total=3)) == [0, 1, 2]
    assert "calibrate" in sys.stderr.getvalue()


def test_quiet_is_quiet_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(track([1, 2], "work", quiet=True)) == [1, 2]
    assert sys.stderr.getvalue() == ""


def test_no_bar_is_drawn_after_its_reader_was_interrupted(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    items = track(iter(range(3)), "calibrate", total=3)
    next(items)
    end_bars()
    size = len(terminal.getvalue())
    time.sleep(0.3)
    items.close()
    assert "calibrate" not in terminal.getvalue()[size:]
    end_bars()

"""`make demo`: the table has a row per form, and quantization costs the demo network next to nothing."""

import re
from pathlib import Path

import pytest
from bitlite.tools import demo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows():
    import contextlib
    import io
    import os

    before, out = os.getcwd(), io.StringIO()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo, "_REPEATS", 1)
            patch.setenv("COLUMNS", "80")
            assert demo.main([]) == 0
    finally:
        os.chdir(before)
    table = {}
    for line in out.getvalue().splitlines():
        cells = re.split(r"\s{2,}", line)
        if len(cells) == 7 and cells[1][0].isdigit():
            table[cells[0]] = cells[1:]
    return table


def test_every_form_is_there(rows):
    assert list(rows) == ["float32", "WeightQuant, 8 bits", "WeightQuant, 4 bits", "PostTraining, int8"]


@pytest.mark.parametrize(
    "form, share, agree, decibels",
    [
        ("WeightQuant, 8 bits", 0.30, 99.5, 40),
        ("WeightQuant, 4 bits", 0.17, 98, 18),
        ("PostTraining, int8", 0.30, 98, 30),
    ],
)
def test_smaller_and_nearly_as_good(rows, form, share, agree, decibels):
    size, top1, _, same, noise, _ = rows[form]
    whole = int(rows["float32"][0].replace(",", ""))
    assert int(size.replace(",", "")) < share * whole
    assert float(top1.rstrip("%")) > 98 and float(same.rstrip("%")) >= agree and float(noise) > decibels


def test_it_needs_the_folder_of_the_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) != 0
    assert "demo/digits.onnx: no such file" in capsys.readouterr().err

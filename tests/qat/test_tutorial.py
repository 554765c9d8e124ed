"""The tutorial of docs/qat.md, as it stands there, with fewer steps."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "qat.md"


def test_the_tutorial_trains_digits_and_writes_what_it_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (text,) = [block for block in blocks if "load_digits" in block]
    names: dict = {}
    exec(compile(text.replace("STEPS = 600", "STEPS = 120"), str(PAGE), "exec"), names)
    assert sum(names["right"]) > 0.85 * len(names["right"])
    assert any("all equal" in note for note in names["report"].notes)
    assert (tmp_path / "digits.tflite").stat().st_size < 12000

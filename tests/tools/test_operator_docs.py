"""docs/operators.md is what the rows say."""

from pathlib import Path

from bitlite.tools.operator_docs import (
    NODES,
    RUNTIME,
    TFLITE,
    cases_table,
    main,
    measured,
    page,
    runtime_table,
    tflite_table,
)

_PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_in_docs_is_up_to_date():
    written = _PAGE.read_text(encoding="utf-8")
    assert written == page(measured(written)), "python -m bitlite.tools.operator_docs docs/operators.md"


def test_the_page_holds_measured_node_cases_without_a_wrong_one():
    assert ", 0 are wrong." in measured(_PAGE.read_text(encoding="utf-8"))[NODES]


def test_the_page_holds_what_the_real_runtime_did_without_a_wrong_answer():
    assert ", 0 are wrong." in measured(_PAGE.read_text(encoding="utf-8"))[RUNTIME]


def test_the_page_holds_what_litert_gives_without_a_difference():
    table = measured(_PAGE.read_text(encoding="utf-8"))[TFLITE]
    assert ", 0 differ." in table
    assert "| SVDF: float32 hybrid int8 |" in table


def test_models_of_an_operator_are_added_up_by_type_and_by_operator():
    same = {"same": 3, "nearer": 1, "differs": 0, "ours": 2, "theirs": 5}
    table = tflite_table({("ADD", "int8"): same, ("MUL", "int8"): same})
    assert "| int8 | 8 | 0 | 2 | 4 | 10 |" in table
    assert "| MUL: int8 | 4 | 0 | 1 | 2 | 5 |" in table


def test_a_row_says_what_it_is_written_as():
    line = next(text for text in page().splitlines() if text.startswith("| Conv |"))
    assert "CONV_2D" in line
    assert "Conv2DFusion" in line
    assert "| conv | weight, bias; int8" in line


def test_writing_keeps_the_measured_part(tmp_path):
    path = tmp_path / "o.md"
    table = cases_table([("passed", ""), ("refused", "n: operator Foo is not read; try x"), ("wrong", "y")])
    assert "1 pass, 1 are refused, 1 are wrong." in table
    assert "| operator Foo is not read | 1 |" in table
    runs = runtime_table({"Conv": {"equal": 3, "refused": 1}})
    assert "| Conv | 3 | 1 | 0 |" in runs
    parts = {NODES: table, RUNTIME: runs}
    path.write_text(page(parts), encoding="utf-8")
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == page(parts)

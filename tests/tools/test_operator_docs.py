"""docs/operators.md is what the rows say."""

from pathlib import Path

from bitlite.tools.operator_docs import cases_table, main, node_cases, page

_PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_in_docs_is_up_to_date():
    written = _PAGE.read_text(encoding="utf-8")
    assert written == page(node_cases(written)), "python -m bitlite.tools.operator_docs docs/operators.md"


def test_the_page_holds_measured_node_cases_without_a_wrong_one():
    assert ", 0 are wrong." in node_cases(_PAGE.read_text(encoding="utf-8"))


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
    path.write_text(page(table), encoding="utf-8")
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == page(table)

"""docs/passes.md is what the passes' docstrings say."""

from pathlib import Path

from bitlite.tools.pass_docs import page


def test_the_page_in_docs_is_up_to_date():
    written = Path(__file__).parents[2] / "docs" / "passes.md"
    assert written.read_text(encoding="utf-8") == page(), "python -m bitlite.tools.pass_docs docs/passes.md"

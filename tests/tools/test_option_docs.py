"""docs/options.md is what the tables say."""

from pathlib import Path

from bitlite.tools.option_docs import main, page


def test_the_page_in_docs_is_up_to_date():
    written = Path(__file__).parents[2] / "docs" / "options.md"
    assert written.read_text(encoding="utf-8") == page(), "python -m bitlite.tools.option_docs docs/options.md"


def test_the_command_writes_the_page(tmp_path):
    assert main([str(tmp_path / "o.md")]) == 0
    assert (tmp_path / "o.md").read_text(encoding="utf-8") == page()

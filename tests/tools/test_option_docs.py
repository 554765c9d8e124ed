"""docs/options.md is what the tables say."""

from pathlib import Path

from bitlite.tools.option_docs import keywords, main, page


def test_the_page_in_docs_is_up_to_date():
    written = Path(__file__).parents[2] / "docs" / "options.md"
    assert written.read_text(encoding="utf-8") == page(), "python -m bitlite.tools.option_docs docs/options.md"


def test_the_command_writes_the_page(tmp_path):
    assert main([str(tmp_path / "o.md")]) == 0
    assert (tmp_path / "o.md").read_text(encoding="utf-8") == page()


def test_the_keywords_that_editors_complete_are_up_to_date(tmp_path):
    written = Path(__file__).parents[2] / "tools" / "options" / "keywords.py"
    says = "python -m bitlite.tools.option_docs tools/options/keywords.py"
    assert written.read_text(encoding="utf-8") == keywords(), says
    assert main([str(tmp_path / "k.py")]) == 0 and (tmp_path / "k.py").read_text(encoding="utf-8") == keywords()


def test_every_keyword_of_convert_has_a_type():
    from bitlite.tools.options.convert import ConvertOptions
    from bitlite.tools.options.flags import fields_of
    from bitlite.tools.options.keywords import ConvertKeywords

    assert set(ConvertKeywords.__annotations__) == set(fields_of(ConvertOptions)) - {"model_file", "output_file"}

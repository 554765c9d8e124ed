"""A part of the page is replaced when its instruction set is measured again; everything else stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import speed_page

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_a_section_is_replaced_and_the_others_stay():
    page = speed_page.put("", "avx512vnni", "One.", "Networks", "old")
    page = speed_page.put(page, "avx512vnni", "One.", "Recurrent layers", "rows")
    page = speed_page.put(page, "avx2", "Two.", "Networks", "other")
    again = speed_page.put(page, "avx512vnni", "Three.", "Networks", "new")
    assert again == page.replace("One.", "Three.").replace("old", "new")
    assert again.index("## AVX2\n\nTwo.") < again.index("## AVX-512 VNNI\n\nThree.")


def test_what_is_put_again_changes_nothing():
    page = PAGE.read_text(encoding="utf-8")
    parts = speed_page.split(page, "## ")
    for isa, title in speed_page.TITLES.items():
        if title in parts:
            sections = speed_page.split(parts[title], "### ")
            assert speed_page.put(page, isa, sections[""], "Networks", sections["Networks"]) == page


@pytest.mark.parametrize(("isa", "said"), [("avx2", "limited to AVX2"), ("avx512vnni", "processors.")])
def test_the_heading_says_what_was_limited(isa, said):
    assert said in speed_page.heading(isa, "avx512vnni")

"""Every family of kernels has a table with a kernel for any CPU, a test and a timing, beside its header."""

import re
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "native" / "kernels"
TABLES = sorted(path for path in KERNELS.glob("*/*.def") if path.parent.name != "common")


def families(table: Path) -> list[str]:
    return re.findall(r"^BITLITE_FAMILY\((\w+)\)", table.read_text(), re.MULTILINE)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_family_is_declared_tested_and_timed_where_its_table_is(table):
    assert families(table)
    for family in families(table):
        assert f"struct {family} {{" in table.with_suffix(".h").read_text()
        text = table.with_name(f"{table.stem}_test.cc").read_text()
        for function in ("TestKernel", "TimeKernel"):
            assert f"void {function}(const Kernel<{family}>& entry)" in text, (family, function)


def test_rows_belong_to_the_families_of_their_table():
    for table in TABLES:
        rows = re.findall(r"^BITLITE_(?:VEC_)?KERNELS?\((\w+)", table.read_text(), re.MULTILINE)
        assert set(rows) == set(families(table)), table

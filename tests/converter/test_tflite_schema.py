"""The TFLite schema agrees with the generated code of two packages, slot by slot."""

from __future__ import annotations

import re

import numpy as np
import pytest
from bitlite.converter.formats.flat import encode
from bitlite.converter.formats.tflite_schema import SCHEMA


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


@pytest.fixture(params=["ai_edge_litert.schema_py_generated", "tflite"])
def generated(request):
    return pytest.importorskip(request.param)


def test_enumerations_and_unions_agree(generated):
    for name, enum in {**SCHEMA.enums, **SCHEMA.unions}.items():
        other = getattr(generated, name, None)
        if other is None and generated.__name__ == "tflite":
            continue
        official = {k: v for k, v in vars(other).items() if not k.startswith("_")}
        ours = {k: enum.members[k] for k in official}
        assert ours == official, name
        if generated.__name__ != "tflite":
            assert enum.members == official, name


def test_every_field_is_where_the_generated_code_looks_for_it(generated):
    checked = 0
    for table in SCHEMA.tables:
        cls = getattr(generated, table, None)
        if cls is None and generated.__name__ == "tflite":
            continue
        reader_of = cls.GetRootAs
        empty = reader_of(bytearray(b"".join(encode({}, SCHEMA, root=table))), 0)
        for f in SCHEMA.fields(table):
            getter = getattr(empty, camel(f.name), None)
            if getter is None:  # not in the older package, or deprecated
                assert generated.__name__ == "tflite" or f.name in ("new_height", "new_width", "deprecated_tag"), (
                    table,
                    f,
                )
                continue
            if generated.__name__ == "tflite" and f.name == "builtin_code":
                continue  # that package's getter mixes in the deprecated code
            checked += 1
            if f.kind == "scalar":
                assert getter() == f.default, (table, f)
                value = {"?": not f.default, "f": 2.5, "d": 2.5}.get(f.code, 3)
                full = reader_of(bytearray(b"".join(encode({f.name: value}, SCHEMA, root=table))), 0)
                assert getattr(full, camel(f.name))() == value, (table, f)
            elif f.kind == "vector":
                value = np.array([True, False] if f.code == "?" else [3, 5])
                full = reader_of(bytearray(b"".join(encode({f.name: value.tolist()}, SCHEMA, root=table))), 0)
                assert [getattr(full, camel(f.name))(i) for i in range(2)] == value.tolist(), (table, f)
            elif f.kind == "string":
                full = reader_of(bytearray(b"".join(encode({f.name: "né"}, SCHEMA, root=table))), 0)
                assert getattr(full, camel(f.name))().decode() == "né"
            elif f.kind == "union":
                member = "NONE", *SCHEMA.unions[f.type].members
                full = reader_of(bytearray(b"".join(encode({f.name: (member[2], {})}, SCHEMA, root=table))), 0)
                assert getattr(full, camel(f.name) + "Type")() == 1 and getattr(full, camel(f.name))() is not None
            elif f.kind == "table":
                full = reader_of(bytearray(b"".join(encode({f.name: {}}, SCHEMA, root=table))), 0)
                assert type(getattr(full, camel(f.name))()).__name__ == f.type
            else:
                full = reader_of(bytearray(b"".join(encode({f.name: [{}, {}]}, SCHEMA, root=table))), 0)
                assert type(getattr(full, camel(f.name))(1)).__name__ == f.type
    assert checked > 250


def test_every_option_table_and_field_of_the_newest_package_is_known():
    generated = pytest.importorskip("ai_edge_litert.schema_py_generated")
    with open(generated.__file__) as source:
        sizes = dict(re.findall(r"def (\w+)Start\(builder\):\s+builder\.StartObject\((\d+)\)", source.read()))
    ours = {t: sum(2 if f.kind == "union" else 1 for f in SCHEMA.fields(t)) for t in SCHEMA.tables}
    assert ours == {t: int(n) for t, n in sizes.items()}

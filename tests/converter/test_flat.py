"""The flatbuffer container level: encode and decode are inverse, files are valid, damage is told and never harms."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from bitlite.converter.errors import ModelError, OutputError
from bitlite.converter.formats import ms_schema, tflite_schema
from bitlite.converter.formats.flat import Record, Schema, decode, dump, encode, file_slice, same, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("flat_verifier", Path(__file__).with_name("flat_verifier.py"))
flat_verifier = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(flat_verifier)

ALL_KINDS = Schema(
    tables="""
Root a:bool b:byte c:ubyte d:short=-3 e:ushort f:int=7 g:uint h:long i:ulong j:float=1.5 k:double color:Color=2
  name:string tags:[string] leaf:Leaf leaves:[Leaf] pick:Pick other:Pick grid:[Grid]
  vb:[bool] v8:[byte] vu8:[ubyte]@16 v16:[short] vf:[float] v64:[long] vd:[double] own:[ubyte]! colors:[Color]
Leaf x:long y:byte text:string below:Below
Below v:[int] s:[string]
Empty
Grid scale:double=1 zero:int flag:bool=1 small:short tiny:byte=-1
Narrow a:int b:byte""",
    enums="Color:byte RED=1 GREEN BLUE",
    unions="Pick Leaf Empty Below",
    root="Root",
    identifier=b"TEST",
    rows=("Grid", "Narrow"),
)

SCALARS = {
    "?": st.booleans(),
    "b": st.integers(-128, 127),
    "B": st.integers(0, 255),
    "h": st.integers(-(2**15), 2**15 - 1),
    "H": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "I": st.integers(0, 2**32 - 1),
    "q": st.integers(-(2**63), 2**63 - 1),
    "Q": st.integers(0, 2**64 - 1),
    "f": st.floats(width=32).map(lambda v: v + 0.0),  # -0.0 equals the default 0.0 and is omitted, by flatbuffer custom
    "d": st.floats().map(lambda v: v + 0.0),
}
DTYPES = {"?": "?", "b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "q": "i8", "Q": "u8", "f": "f4"}
DTYPES["d"] = "f8"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def records(schema: Schema, table: str, depth: int = 0) -> st.SearchStrategy[Record]:
    """Records of a table with every field as `decode` gives it."""

    def field(f):
        def some(strategy):
            return st.none() | strategy

        few = st.integers(0, 3)
        if f.kind == "scalar":
            return SCALARS[f.code] | st.just(f.default)
        if f.kind == "string":
            return some(TEXT)
        if f.kind == "strings":
            return some(st.lists(TEXT, max_size=3))
        if f.kind == "vector":
            return some(st.lists(SCALARS[f.code], max_size=5).map(lambda v: np.array(v, DTYPES[f.code])))
        if depth > 5:
            return st.none()
        if f.kind == "rows":
            columns = schema.fields(f.type)
            row = st.tuples(*(SCALARS[c.code] | st.just(c.default) for c in columns))
            return some(st.lists(row, max_size=7).map(lambda v: np.array(v, schema.dtype(f.type))))
        if f.kind == "union":
            members = [m for m in schema.unions[f.type].members if m != "NONE"]
            return some(st.sampled_from(members).flatmap(lambda m: records(schema, m, depth + 1)))
        inner = records(schema, f.type, depth + 1)
        return (
            some(inner) if f.kind == "table" else some(few.flatmap(lambda n: st.lists(inner, min_size=n, max_size=n)))
        )

    return st.fixed_dictionaries({f.name: field(f) for f in schema.fields(table)}).map(lambda v: Record(table, **v))


def joined(value, schema, **options) -> bytes:
    return b"".join(encode(value, schema, **options))


def tflite_model() -> dict:
    """One convolution, as dicts."""
    weight = np.linspace(-1, 1, 2 * 3 * 3 * 1, dtype=np.float32)
    tensors = [
        {"shape": [1, 4, 4, 1], "name": "x", "buffer": 0, "quantization": {}},
        {"shape": [2, 3, 3, 1], "name": "w", "buffer": 1, "quantization": {"scale": [0.5, 0.25], "zero_point": [0, 0]}},
        {"shape": [2], "name": "b", "buffer": 2},
        {"shape": [1, 4, 4, 2], "name": "y", "buffer": 0},
    ]
    conv = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU"}
    operator = {"inputs": [0, 1, 2], "outputs": [3], "builtin_options": ("Conv2DOptions", conv)}
    return {
        "version": 3,
        "operator_codes": [{"builtin_code": "CONV_2D", "deprecated_builtin_code": 3}],
        "subgraphs": [{"tensors": tensors, "inputs": [0], "outputs": [3], "operators": [operator], "name": "main"}],
        "buffers": [{}, {"data": weight}, {"data": np.array([0.1, -0.1], np.float32)}],
    }


def ms_model(channels: int = 40) -> dict:
    rows = ms_schema.SCHEMA.row_array("QuantParam", channels, scale=np.linspace(0.1, 1, channels), varCorr=0.5)
    tensors = [
        {"name": "x", "dims": [1, 8], "dataType": 43, "nodeType": 2, "format": "NHWC"},
        {
            "name": "w",
            "dims": [channels, 8],
            "dataType": 32,
            "data": np.zeros(channels * 8, np.int8),
            "quantParams": rows,
        },
        {"name": "y", "dims": [1, channels], "dataType": 43, "quantParams": [{"scale": 0.1, "zeroPoint": 3}]},
    ]
    node = {"name": "fc", "inputIndex": [0, 1], "outputIndex": [2], "quantType": "QUANT_WEIGHT"}
    node["primitive"] = {"value": ("FullConnection", {"use_axis": True, "axis": 1, "activation_type": "RELU"})}
    graph = {"inputIndices": [0], "outputIndices": [2], "nodeIndices": [0], "tensorIndices": [0, 1, 2]}
    return {"inputIndex": [0], "outputIndex": [2], "nodes": [node], "allTensors": tensors, "subGraph": [graph]}


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(records(ALL_KINDS, "Root"))
def test_decode_undoes_encode_and_the_file_is_valid(record):
    data = joined(record, ALL_KINDS)
    assert same(decode(data, ALL_KINDS), record)
    assert flat_verifier.verify(data, ALL_KINDS) >= 1
    assert joined(decode(data, ALL_KINDS), ALL_KINDS) == data


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([ms_schema.SCHEMA, tflite_schema.SCHEMA]).flatmap(
        lambda s: st.sampled_from(s.tables).flatmap(lambda t: st.tuples(st.just(s), st.just(t), records(s, t, 4)))
    )
)
def test_any_table_of_the_real_schemas_survives_the_way_there_and_back(case):
    schema, table, record = case
    data = joined(record, schema, root=table)
    assert same(decode(data, schema, table), record)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 33])
@pytest.mark.parametrize("names", [("scale",), ("scale", "zero"), ("scale", "zero", "tiny"), ("zero",), ("small",), ()])
def test_row_tables_with_any_fields_and_any_count_are_valid(count, names):
    rows = ALL_KINDS.row_array("Grid", count, **{n: np.arange(2, count + 2) for n in names})
    data = joined({"grid": rows, "leaf": {"x": 5}}, ALL_KINDS)
    flat_verifier.verify(data, ALL_KINDS)
    assert same(decode(data, ALL_KINDS).grid, rows)


@pytest.mark.parametrize(
    ("changed", "size"), [((), 16), (("zeroPoint",), 20), (("zeroPoint", "varCorr", "meanCorr"), 28)]
)
def test_a_quant_param_costs_no_padding(changed, size):
    rows = ms_schema.SCHEMA.row_array("QuantParam", 1000, scale=0.5)
    for name in changed:
        rows[name] = 3
    empty = len(joined({"allTensors": [{}]}, ms_schema.SCHEMA))
    assert len(joined({"allTensors": [{"quantParams": rows}]}, ms_schema.SCHEMA)) - empty < 1000 * size + 100


def test_rows_written_by_a_foreign_builder_in_any_order_are_gathered():
    flatbuffers = pytest.importorskip("flatbuffers")
    b = flatbuffers.Builder(0)
    offsets = []
    for i in range(9):
        b.StartObject(12)
        b.PrependFloat64Slot(0, 0.25 * i, 1.0)
        b.PrependInt32Slot(1, i % 3, 0)
        if i % 2:
            b.PrependFloat32Slot(7, 0.5, 1.0)
        offsets.append(b.EndObject())
    b.StartVector(4, 9, 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    vector = b.EndVector()
    b.StartObject(13)
    b.PrependUOffsetTRelativeSlot(7, vector, 0)
    b.Finish(b.EndObject())
    rows = decode(bytes(b.Output()), ms_schema.SCHEMA, "Tensor", b"").quantParams
    assert rows["scale"].tolist() == [0.25 * i for i in range(9)]
    assert rows["zeroPoint"].tolist() == [0, 1, 2] * 3
    assert rows["varCorr"].tolist() == [1, 0.5] * 4 + [1]
    assert (rows["narrowRange"]).all() and set(rows["numBits"].tolist()) == {8}


def test_rows_with_a_vtable_each_are_read_alike():
    count = 100
    tables = bytearray()
    for i in range(count):  # a vtable of two slots, then its table: soffset, then `zero` alone
        tables += struct.pack("<4HiI", 8, 8, 0, 4, 8, i)
    offsets = [4 * (count - i) + 16 * i + 8 for i in range(count)]
    head = struct.pack("<I4s2HHHiII", 16, b"TEST", 6, 8, 4, 0, 8, 4, count)
    only = Schema("Root grid:[Grid]\nGrid scale:double=1 zero:int", rows=("Grid",), root="Root", identifier=b"TEST")
    rows = decode(head + struct.pack(f"<{count}I", *offsets) + bytes(tables), only).grid
    assert rows["zero"].tolist() == list(range(count)) and (rows["scale"] == 1).all()


def test_the_official_reader_reads_what_is_written():
    tflite = pytest.importorskip("tflite")
    data = joined(tflite_model(), tflite_schema.SCHEMA)
    flat_verifier.verify(data, tflite_schema.SCHEMA)
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    assert graph.Tensors(1).ShapeAsNumpy().tolist() == [2, 3, 3, 1]
    assert graph.Tensors(1).Quantization().ScaleAsNumpy().tolist() == [0.5, 0.25]
    assert graph.Operators(0).BuiltinOptionsType() == tflite.BuiltinOptions.Conv2DOptions
    options = tflite.Conv2DOptions()
    options.Init(graph.Operators(0).BuiltinOptions().Bytes, graph.Operators(0).BuiltinOptions().Pos)
    assert (options.StrideH(), options.DilationHFactor()) == (1, 1)
    assert options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU
    weight = model.Buffers(1).DataAsNumpy().view(np.float32)
    assert np.array_equal(weight, tflite_model()["buffers"][1]["data"])


def test_litert_runs_a_written_model_and_its_second_writing_alike():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    first = joined(tflite_model(), tflite_schema.SCHEMA)
    second = joined(decode(first, tflite_schema.SCHEMA), tflite_schema.SCHEMA)
    outputs = []
    for data in (first, second):
        runner = interpreter.Interpreter(model_content=data)
        runner.allocate_tensors()
        runner.set_tensor(0, np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1))
        runner.invoke()
        outputs.append(runner.get_tensor(3))
    assert outputs[0].any() and np.array_equal(outputs[0], outputs[1])
    assert first == second


def test_large_arrays_are_neither_copied_nor_joined():
    weight = np.arange(5000, dtype=np.float32)
    pieces = encode({"buffers": [{"data": weight}]}, tflite_schema.SCHEMA)
    assert any(np.shares_memory(np.frombuffer(p, np.uint8), weight) for p in pieces)
    decoded = decode(b"".join(pieces), tflite_schema.SCHEMA).buffers[0].data
    assert np.array_equal(decoded.view(np.float32), weight)


def test_writing_a_transposed_view_copies_one_array_at_a_time(tmp_path):
    views = [np.full((1000, 500), i, np.float32).T for i in range(8)]
    model = {"buffers": [{"data": v} for v in views]}
    with open(tmp_path / "m", "wb") as out:
        tracemalloc.start()
        count = write(out, model, tflite_schema.SCHEMA)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == (tmp_path / "m").stat().st_size > 16_000_000
    assert peak < 3 * views[0].nbytes
    assert (decode((tmp_path / "m").read_bytes(), tflite_schema.SCHEMA).buffers[3].data.view(np.float32) == 3).all()


def test_data_alignment_follows_the_schema_or_the_dtype():
    for name, schema, align in [("buffers", tflite_schema.SCHEMA, 16), ("allTensors", ms_schema.SCHEMA, 8)]:
        data = joined({name: [{"data": np.arange(n, dtype=np.int64)} for n in (1, 3, 200, 300)]}, schema)
        for item in decode(data, schema)[name]:
            assert (item.data.ctypes.data - np.frombuffer(data, np.uint8).ctypes.data) % align == 0


def test_equal_parts_are_stored_once_but_not_the_weights_of_an_ms_file():
    zeros = np.zeros(4096, np.int8)
    shared = joined({"buffers": [{"data": zeros}, {"data": zeros.copy()}]}, tflite_schema.SCHEMA)
    assert len(shared) < 4096 + 200
    for value in (zeros, zeros[:100], [0] * 4096):
        data = joined({"allTensors": [{"data": value}, {"data": value}]}, ms_schema.SCHEMA)
        first, second = (t.data.ctypes.data for t in decode(data, ms_schema.SCHEMA).allTensors)
        assert first != second
    model = decode(joined({"allTensors": [{"dims": [1, 2]}] * 2}, ms_schema.SCHEMA), ms_schema.SCHEMA)
    assert model.allTensors[0] is model.allTensors[1]


def test_equal_rows_are_one_table_wherever_they_stand():
    def rows(scale, zero):
        return ms_schema.SCHEMA.row_array("QuantParam", len(scale), scale=scale, zeroPoint=zero)

    first = rows(np.tile([0.5, 0.25, 0.75], 100), np.tile([3, 4, 5], 100))
    second = rows(np.tile([0.75, 0.125], 50), np.tile([5, 6], 50))
    data = joined({"allTensors": [{"quantParams": first}, {"quantParams": second}]}, ms_schema.SCHEMA)
    flat_verifier.verify(data, ms_schema.SCHEMA)
    assert len(data) < 400 * 4 + 400
    found = decode(data, ms_schema.SCHEMA).allTensors
    assert same(found[0].quantParams, first) and same(found[1].quantParams, second)


def test_rows_that_differ_in_a_bit_are_two_tables():
    scale = np.array([0.0, -0.0, 0.0, 1e-300])
    rows = ms_schema.SCHEMA.row_array("QuantParam", 4, scale=scale)
    data = joined({"allTensors": [{"quantParams": rows}]}, ms_schema.SCHEMA)
    read = decode(data, ms_schema.SCHEMA).allTensors[0].quantParams["scale"]
    assert np.array_equal(read.view(np.uint64), scale.view(np.uint64))


def test_defaults_are_omitted_unless_forced():
    plain = joined({"deviceType": -1, "quantType": 0}, ms_schema.SCHEMA, root="CNode")
    forced = joined({"deviceType": -1, "quantType": 0}, ms_schema.SCHEMA, root="CNode", force={"CNode.deviceType"})
    assert len(plain) == len(joined({}, ms_schema.SCHEMA, root="CNode")) < len(forced)
    assert decode(plain, ms_schema.SCHEMA, "CNode").deviceType == -1


def test_the_order_of_fields_does_not_change_the_bytes():
    model = tflite_model()
    turned = dict(reversed(model.items()))
    assert list(model) != list(turned)
    assert joined(model, tflite_schema.SCHEMA) == joined(turned, tflite_schema.SCHEMA)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"nodes": [{"deviceType": 2**31}]}, r"MetaGraph.nodes\[0\].deviceType: 2147483648 does not fit in int"),
        ({"nodes": [{}, {"inputIndex": [-1]}]}, r"MetaGraph.nodes\[1\].inputIndex: not every element fits in uint"),
        ({"nodes": [{"outputIndex": np.array([1.5])}]}, r"nodes\[0\].outputIndex: not every element fits in uint"),
        ({"nodes": [{"quantType": "HALF"}]}, r"nodes\[0\].quantType: QuantType has no member 'HALF'"),
        ({"nodes": [{"oops": 1}]}, r"nodes\[0\].oops: CNode has no such field"),
        ({"nodes": [{"name": 3}]}, r"nodes\[0\].name: int is no string"),
        ({"nodes": [{"primitive": {"value": ("Conv3D", {})}}]}, r"primitive.value: PrimitiveType has no member Conv3D"),
        ({"nodes": [Record("Tensor")]}, r"nodes\[0\]: a Tensor stands where a CNode belongs"),
        (
            {"allTensors": [{"quantParams": [{"scal": 1}]}]},
            r"allTensors\[0\].quantParams: QuantParam has no field scal",
        ),
        (
            {"allTensors": [{"quantParams": [{"numBits": 2**40}]}]},
            r"quantParams.numBits: not every element fits in int",
        ),
        ({"allTensors": [{"quantClusters": np.array([1e300])}]}, r"quantClusters: not every element fits in float"),
        ({"allTensors": [{"dims": b"1234"}]}, r"dims: bytes are no vector of int"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_path(value, message):
    with pytest.raises(OutputError, match=message):
        encode(value, ms_schema.SCHEMA, file="m.ms")


def test_two_gigabytes_are_refused_before_anything_is_written():
    huge = np.broadcast_to(np.zeros(1, np.float32), (2**29,))
    out = io.BytesIO()
    with pytest.raises(OutputError, match="a flatbuffer ends at 2 GiB"):
        write(out, {"buffers": [{"data": huge}]}, tflite_schema.SCHEMA)
    assert out.getvalue() == b""


def test_an_unknown_union_member_is_told_by_its_number():
    data = bytearray(joined({"value": ("Abs", {})}, ms_schema.SCHEMA, root="Primitive"))
    where = data.rindex(1, 8)  # the only byte 1 behind the header is the union's number
    assert data.count(1) == 1
    data[where] = 230
    value = decode(bytes(data), ms_schema.SCHEMA, "Primitive").value
    assert (value.table, value.fields()) == ("#230", {})
    with pytest.raises(OutputError, match="no member #230"):
        encode({"value": value}, ms_schema.SCHEMA, "Primitive")


@pytest.mark.parametrize(("model", "schema"), [(tflite_model(), tflite_schema.SCHEMA), (ms_model(), ms_schema.SCHEMA)])
def test_every_truncation_is_refused_or_harmless(model, schema):
    data = joined(model, schema)
    whole = decode(data, schema)
    for n in range(len(data)):
        try:
            cut = decode(data[:n], schema, file="cut.bin")
        except ModelError as error:
            assert str(error).startswith("cut.bin: ")
        else:  # only padding behind the last object is gone
            assert n >= len(data) - 3 and same(cut, whole)


def test_damage_is_told_with_file_path_and_byte():
    data = bytearray(joined(tflite_model(), tflite_schema.SCHEMA))
    shape = decode(bytes(data), tflite_schema.SCHEMA).subgraphs[0].tensors[1].shape
    at = bytes(data).index(struct.pack("<I", 4) + shape.tobytes())
    struct.pack_into("<I", data, at, 2**31)
    with pytest.raises(ModelError) as error:
        decode(bytes(data), tflite_schema.SCHEMA, file="m.tflite")
    left = len(data) - at - 4
    assert str(error.value) == (
        f"m.tflite: truncated or damaged: Model.subgraphs[0].tensors[1].shape at byte {at}: "
        f"{2**31} elements of 4 bytes do not fit in {left} bytes"
    )


def test_a_foreign_identifier_is_named():
    with pytest.raises(ModelError, match=r"not a TFL3 file: bytes 4 to 7 are b'MSL2' instead of b'TFL3'"):
        decode(joined(ms_model(), ms_schema.SCHEMA), tflite_schema.SCHEMA)
    with pytest.raises(ModelError, match="a file of 3 bytes"):
        decode(b"abc", tflite_schema.SCHEMA)


def test_overlapping_vectors_cannot_multiply_a_small_file():
    # Every word is a plausible length or offset: each vector overlaps the next ones.
    words = np.full(20_000, 4, "<u4")
    words[1] = int.from_bytes(b"TEST", "little")
    for fill in (4, 8, 1000, 4000):
        words[2:] = fill
        for root in ("Root", "Leaf", "Below"):
            try:
                decode(words.tobytes(), ALL_KINDS, root)
            except ModelError as error:
                assert "damaged" in str(error)
    names = 3000
    vector = np.full(2 * names, 4 * names, "<u4")  # entry i leads to a string of 12,000 bytes at entry i + 3000
    head = struct.pack("<I4s4HiI", 16, b"TEST", 8, 8, 0, 4, 8, 4) + struct.pack("<I", names)
    with pytest.raises(ModelError, match="objects overlap"):
        decode(head + vector.tobytes() + bytes(4 * names + 64), ALL_KINDS, "Below")


def test_random_damage_never_does_worse_than_a_model_error():
    rng = random.Random(7)
    seeds = [(joined(tflite_model(), tflite_schema.SCHEMA), tflite_schema.SCHEMA)]
    seeds += [(joined(ms_model(12), ms_schema.SCHEMA), ms_schema.SCHEMA)]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for round_ in range(3000):
            data, schema = seeds[round_ % len(seeds)]
            data = bytearray(data)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(data))
                kind = rng.randrange(5)
                if kind == 0:
                    data[at] ^= 1 << rng.randrange(8)
                elif kind == 1:
                    data[at] = rng.choice((0, 1, 127, 128, 255))
                elif kind == 2:
                    struct.pack_into("<I", data, min(at & ~3, len(data) - 4), rng.choice((0, 1, 4, 2**31, 2**32 - 1)))
                elif kind == 3:
                    other = rng.randrange(len(data))
                    data[at : at + 8] = data[other : other + 8]
                elif len(data) > 64:
                    del data[max(at, 32) :]
            try:
                dump(decode(bytes(data), schema))
            except ModelError:
                refused += 1
    assert 300 < refused < 3000


def test_data_behind_the_flatbuffer_is_sliced_within_the_file():
    assert file_slice(b"abcdef", 2, 3).tobytes() == b"cde"
    with pytest.raises(ModelError, match="data at byte 4: 3 bytes do not fit in 6 bytes"):
        file_slice(b"abcdef", 4, 3, file="m.tflite")


def test_dump_shows_names_and_cuts_long_vectors():
    text = dump(decode(joined(ms_model(), ms_schema.SCHEMA), ms_schema.SCHEMA), limit=4)
    assert "value: FullConnection {" in text and "name: 'fc'" in text and "… 320 in all" in text

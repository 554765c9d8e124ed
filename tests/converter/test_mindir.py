"""MINDIR files: networks that mindspore exported against its own outputs, old forms, and what is refused."""

from __future__ import annotations

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import ModelError, UnsupportedError
from bitlite.converter.formats import read_model
from bitlite.converter.formats.mindir_schema import model_proto

MODELS = Path(__file__).parent.parent / "models" / "mindir"
NAMES = sorted(p.stem for p in MODELS.glob("*.mindir"))
FLOAT, INT64, STRING = 1, 7, 8


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_network_gives_what_mindspore_computed(name):
    data = np.load(MODELS / f"{name}.npz")
    session = bitlite.load(MODELS / f"{name}.mindir")
    found = session.run({port.name: data[f"in{k}"] for k, port in enumerate(session.inputs)})
    assert len(session.outputs) == sum(key.startswith("out") for key in data)
    for k, port in enumerate(session.outputs):
        wanted = data[f"out{k}"]
        assert found[port.name].shape == wanted.shape
        np.testing.assert_allclose(found[port.name], wanted, rtol=0, atol=1e-5 * max(np.ptp(wanted), 1e-3))


def test_tensors_and_nodes_have_the_names_of_the_network():
    graph = read_model(str(MODELS / "lenet.mindir"))
    assert [t.name for t in graph.inputs] == ["x"]
    assert graph.inputs[0].layout == "NCHW"
    assert {"conv1.weight", "conv2.bias"} <= {t.name for t in graph.constants()}
    assert "Default/conv2-Conv2d/Conv2D-op0" in {n.name for n in graph.nodes}
    assert [t.name for t in graph.outputs] == ["Default/fc3-Dense/BiasAdd-op0"]


@pytest.mark.parametrize("asked", ["MINDIR", "MS", ""])
def test_lenet_is_converted_under_the_names_of_the_format(tmp_path, asked):
    bitlite.convert(MODELS / "lenet.mindir", tmp_path / "lenet", **({"fmk": asked} if asked else {}))
    data = np.load(MODELS / "lenet.npz")
    session = bitlite.load(tmp_path / "lenet.ms")
    found = session.run({session.inputs[0].name: data["in0"].transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(found[session.outputs[0].name], data["out0"], rtol=0, atol=1e-5 * np.ptp(data["out0"]))


def attribute(holder, name, kind, form="", **values):
    made = holder.add(name=name, type=kind, ref_attr_name=form)
    for key, value in values.items():
        getattr(made, key).extend(value) if isinstance(value, list) else setattr(made, key, value)
    return made


def array(holder, name, values, order="<"):
    values = np.asarray(values, np.float32)
    return holder.add(name=name, dims=values.shape, data_type=FLOAT, raw_data=values.astype(f"{order}f4").tobytes())


def old_model(order="<"):
    """A network in the form of 1.x: operators by name, attributes on nodes, lists told by their form."""
    model = model_proto()(ir_version="0.1.0", producer_name="MindSpore")
    if order == ">":
        model.little_endian = False
    g = model.graph
    g.name = "net"
    g.input.add(name="net:x").tensor.add(dims=[1, 2, 4, 4], data_type=FLOAT)
    rng = np.random.default_rng(3)
    weight, bias = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal((1, 3, 1, 1))
    array(g.parameter, "net:w", weight, order)
    array(g.parameter, "net:b", bias, order)
    conv = g.node.add(op_type="Conv2D", input=["net:x", "net:w"], output=["net:1"], domain="Default/conv")
    for key, values in {"kernel_size": [3, 3], "stride": [1, 1, 2, 2], "dilation": [1] * 4, "pad": [0] * 4}.items():
        attribute(conv.attribute, key, INT64, "scalar:Tuple[value1,value2,]", ints=values)
    attribute(conv.attribute, "pad_mode", STRING, "scalar:value0", s=b"same")
    attribute(conv.attribute, "group", INT64, "scalar:value0", i=1)
    g.node.add(op_type="TensorAdd", input=["net:1", "net:b"], output=["net:2"], domain="Default/add")
    g.node.add(op_type="MakeTuple", input=["net:2", "net:1"], output=["net:3"])
    one = g.node.add(op_type="Constant", output=["net:4"])
    attribute(one.attribute, "value", INT64, "scalar:value0", i=1)
    g.node.add(op_type="TupleGetItem", input=["net:3", "net:4"], output=["net:5"])
    joined = g.node.add(op_type="Concat", input=["net:3"], output=["net:6"], domain="Default/concat")
    attribute(joined.attribute, "axis", INT64, "scalar:value0", i=1)
    for name in ("net:6", "net:5"):
        g.output.add(name=name)
    return model, weight.astype(np.float32), bias.astype(np.float32)


def expected(weight, bias, x):
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)])
    y = np.zeros((1, 3, 2, 2), np.float32)
    for i in range(2):
        for j in range(2):
            y[0, :, i, j] = np.einsum("chw,ochw->o", padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], weight)
    return np.concatenate([y + bias, y], 1), y


def run(path, x):
    session = bitlite.load(path)
    found = session.run({session.inputs[0].name: x})
    return [found[port.name] for port in session.outputs]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_old_form_and_big_endian_files_are_read(tmp_path, order):
    model, weight, bias = old_model(order)
    (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)
    for got, wanted in zip(run(tmp_path / "m.mindir", x), expected(weight, bias, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_parameters_are_read_from_a_file_beside_the_model(tmp_path):
    model, weight, bias = old_model()
    (tmp_path / "m_variables").mkdir()
    data = b"\0" * 64
    for p in model.graph.parameter:
        p.external_data.location, p.external_data.offset = "m_variables/data_0", len(data)
        p.external_data.length = len(p.raw_data)
        data += p.raw_data + b"\0" * (-len(p.raw_data) % 64)
        p.ClearField("raw_data")
    (tmp_path / "m_variables" / "data_0").write_bytes(data)
    (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
    x = np.ones((1, 2, 4, 4), np.float32)
    np.testing.assert_allclose(run(tmp_path / "m.mindir", x)[1], expected(weight, bias, x)[1], rtol=1e-5, atol=1e-5)
    model.graph.parameter[0].external_data.location = "../elsewhere"
    (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"w: .*'\.\./elsewhere' is not a file beside the model"):
        read_model(str(tmp_path / "m.mindir"))


def test_a_graph_that_is_called_is_read_in_its_place(tmp_path):
    model = model_proto()(ir_version="1.0")
    inner = model.functions.add(name="twice")
    inner.input.add(name="twice:a")
    inner.node.add(op_type="Add", input=["twice:a", "twice:a"], output=["twice:1"])
    inner.output.add(name="twice:1")
    g = model.graph
    g.name = "net"
    g.input.add(name="net:x").tensor.add(dims=[3], data_type=FLOAT)
    g.node.add(op_type="REF::twice", input=["net:x"], output=["net:1"])
    g.node.add(op_type="REF::twice", input=["net:1"], output=["net:2"])
    g.output.add(name="net:2")
    (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(run(tmp_path / "m.mindir", np.float32([1, 2, 3]))[0], [4, 8, 12])
    inner.node[0].op_type = "REF::twice"
    (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="call one another more than 32 deep"):
        read_model(str(tmp_path / "m.mindir"))


@pytest.mark.parametrize("first,cipher", [(0xD8, "AES-GCM"), (0xD9, "AES-CBC"), (0xDA, "SM4-CBC")])
def test_an_encrypted_file_is_refused_by_name(tmp_path, first, cipher):
    (tmp_path / "m.mindir").write_bytes(bytes((first, 0x5E, 0x3A, 0x7F)) + b"\x10" * 60)
    with pytest.raises(UnsupportedError, match=rf"is encrypted \({cipher}\); bitlite holds no keys"):
        read_model(str(tmp_path / "m.mindir"))


def test_what_is_not_read_is_named(tmp_path):
    def refused(change):
        model = old_model()[0]
        change(model.graph)
        (tmp_path / "m.mindir").write_bytes(model.SerializeToString())
        with pytest.raises((ModelError, UnsupportedError)) as caught:
            read_model(str(tmp_path / "m.mindir"))
        return str(caught.value)

    assert "Default/add: operator Foo is not read" in refused(lambda g: setattr(g.node[1], "op_type", "Foo"))
    assert "w: a compressed or quantized" in refused(lambda g: setattr(g.parameter[0], "compression_type", 3))
    assert "w: holds 216 bytes where [4, 2, 3, 3] needs 288" in refused(lambda g: g.parameter[0].dims.__setitem__(0, 4))
    assert "input 'x' is a tensor of type 8" in refused(lambda g: setattr(g.input[0].tensor[0], "data_type", 8))
    assert "takes item 2 of 2 values" in refused(lambda g: setattr(g.node[3].attribute[0], "i", 2))
    assert "'net:9' is read before anything produces it" in refused(lambda g: g.node[1].input.__setitem__(0, "net:9"))
    mode = refused(lambda g: setattr(g.node[0].attribute[4], "s", b"sam"))
    assert "Default/conv (Conv2D): pad_mode 'sam', allowed are pad, same and valid" in mode


def test_a_file_that_ends_early_is_damaged(tmp_path):
    data = (MODELS / "lenet.mindir").read_bytes()
    for size in (20, 3000, len(data) - 40):
        (tmp_path / "m.mindir").write_bytes(data[:size])
        with pytest.raises(ModelError):
            read_model(str(tmp_path / "m.mindir"))

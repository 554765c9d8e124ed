"""Sparse constants of TFLite, in every form of levels, blocks and indices, with LiteRT's DENSIFY as the judge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.formats.tflite import read
from tflite_models import run_litert, tflite_model

DENSE, CSR = 0, 1
TYPES = {"Uint8Vector": np.uint8, "Uint16Vector": np.uint16, "Int32Vector": np.int32}


def encoded(dense, order, blocks, formats, vector="Uint8Vector"):
    """(stored values, sparsity) of `dense`; blocks: axis → size of a block."""
    rank, cut = dense.ndim, list(blocks)
    sizes = [n // blocks.get(k, 1) for k, n in enumerate(dense.shape)] + [blocks[k] for k in cut]
    spread = dense.reshape([n for k in range(rank) for n in (sizes[k], blocks.get(k, 1))])
    # Axes of `spread` in pairs (blocks, inside); those that are not cut have size 1 inside.
    where = [2 * k for k in range(rank)] + [2 * k + 1 for k in cut]
    rest = [2 * k + 1 for k in range(rank) if k not in cut]
    walked = spread.transpose([where[k] for k in order] + rest).reshape([sizes[k] for k in order])
    levels = [{"format": f, "dense_size": sizes[k] if f == DENSE else 0} for f, k in zip(formats, order)]
    tables = [([0], []) for _ in order]
    stored = []

    def walk(part, depth):
        if depth == len(order):
            stored.append(part)
            return
        kept = [i for i in range(len(part)) if formats[depth] == DENSE or np.any(part[i])]
        if formats[depth] == CSR:
            tables[depth][1].extend(kept)
            tables[depth][0].append(len(tables[depth][1]))
        for i in kept:
            walk(part[i], depth + 1)

    walk(walked, 0)
    for level, (segments, indices) in zip(levels, tables):
        if level["format"] == CSR:
            level["array_segments"] = (vector, {"values": np.asarray(segments, TYPES[vector])})
            level["array_indices"] = (vector, {"values": np.asarray(indices, TYPES[vector])})
    fields = {"traversal_order": np.int32(order), "block_map": np.int32(cut), "dim_metadata": levels}
    return np.asarray(stored, dense.dtype), {"shape": dense.shape, "levels": fields}


def some_zeros(shape, dtype, blocks=None):
    rng = np.random.default_rng(4)
    coarse = [n // (blocks or {}).get(k, 1) for k, n in enumerate(shape)]
    kept = rng.random(coarse) < 0.4
    for k, size in (blocks or {}).items():
        kept = np.repeat(kept, size, k)
    return (rng.integers(-90, 90, shape) * kept).astype(dtype)


def model(values, sparsity):
    return tflite_model("DENSIFY", [values], ("DensifyOptions", {}), const=(0,), sparsity={0: sparsity})


@pytest.fixture
def unpacked(tmp_path):
    def run(data):
        path = tmp_path / "m.tflite"
        path.write_bytes(data)
        graph = read(str(path))
        [constant] = graph.constants()
        return constant.data

    return run


FORMS = {
    "csr": ((6, 8), [0, 1], {}, [DENSE, CSR]),
    "csc": ((6, 8), [1, 0], {}, [DENSE, CSR]),
    "sparse rows": ((6, 8), [0, 1], {}, [CSR, DENSE]),
    "both sparse": ((6, 8), [0, 1], {}, [CSR, CSR]),
    "dense": ((6, 8), [0, 1], {}, [DENSE, DENSE]),
    "blocks along one axis": ((6, 8), [0, 1, 2], {1: 4}, [DENSE, CSR, DENSE]),
    "blocks along both axes": ((6, 8), [0, 1, 2, 3], {0: 3, 1: 2}, [DENSE, CSR, DENSE, DENSE]),
    "columns of blocks": ((6, 8), [1, 0, 3, 2], {0: 3, 1: 2}, [DENSE, CSR, DENSE, DENSE]),
    "filters": ((5, 3, 2, 8), [0, 1, 2, 3], {}, [DENSE, DENSE, DENSE, CSR]),
    "filters in blocks": ((8, 1, 2, 4), [0, 1, 2, 3, 4], {0: 4}, [DENSE, DENSE, DENSE, CSR, DENSE]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_a_sparse_constant_is_what_litert_makes_of_it(unpacked, form, dtype):
    shape, order, blocks, formats = FORMS[form]
    dense = some_zeros(shape, dtype, blocks)
    data = model(*encoded(dense, order, blocks, formats))
    np.testing.assert_array_equal(unpacked(data), dense)
    np.testing.assert_array_equal(run_litert(data, {})[0], dense)


@pytest.mark.parametrize("vector", TYPES)
def test_indices_of_every_width_are_read(unpacked, vector):
    dense = some_zeros((6, 8), np.float32)
    data = model(*encoded(dense, [0, 1], {}, [DENSE, CSR], vector))
    np.testing.assert_array_equal(unpacked(data), dense)
    np.testing.assert_array_equal(run_litert(data, {})[0], dense)


def test_a_sparse_constant_of_zeros_alone_is_read(unpacked):
    dense = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(unpacked(model(*encoded(dense, [0, 1], {}, [DENSE, CSR]))), dense)


def _changed(**changes):
    values, sparsity = encoded(some_zeros((6, 8), np.float32), [0, 1], {}, [DENSE, CSR])
    levels = sparsity["levels"]
    for key, change in changes.items():
        if key == "shape":
            sparsity["shape"] = change
        elif key in levels:
            levels[key] = change
        elif key == "values":
            values = change(values)
        else:
            stored = levels["dim_metadata"][1][key][1]["values"]
            levels["dim_metadata"][1][key] = ("Uint8Vector", {"values": change(stored.copy())})
    return values, sparsity


def _set(at, value):
    def change(a):
        a[at] = value
        return a

    return change


HOSTILE = {
    "an index past the axis": ({"array_indices": _set(0, 8)}, "outside 0..7"),
    "segments that fall": ({"array_segments": _set(1, 200)}, "do not rise"),
    "a segment too few": ({"array_segments": lambda a: a[:-1]}, "is reached"),
    "an index twice": ({"array_indices": _set(slice(0, 2), 3)}, "stored twice"),
    "a value too few": ({"values": lambda a: a[:-1]}, "bytes where"),
    "an axis twice": ({"traversal_order": np.int32([0, 0])}, "traversal order"),
    "an axis too many": ({"traversal_order": np.int32([0, 1, 2])}, "traversal order"),
    "blocks of no axis": ({"traversal_order": np.int32([0, 1, 2]), "block_map": np.int32([5])}, "2 levels"),
    "another shape": ({"shape": (7, 8)}, "runs over an axis of 7"),
    "an enormous shape": ({"shape": (1 << 30, 1 << 30)}, "larger than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_fit_together_is_refused_in_one_line(unpacked, name):
    changes, said = HOSTILE[name]
    with pytest.raises(ModelError, match=said) as caught:
        unpacked(model(*_changed(**changes)))
    assert "\n" not in str(caught.value)


def test_dense_levels_without_values_take_no_memory(unpacked):
    levels = {
        "traversal_order": np.int32([0, 1]), "block_map": np.int32([]),
        "dim_metadata": [{"format": DENSE, "dense_size": 1 << 14}] * 2,
    }  # fmt: skip
    with pytest.raises(ModelError, match="more places than"):
        unpacked(model(np.zeros(3, np.float32), {"shape": (1 << 14, 1 << 14), "levels": levels}))


def test_every_order_of_three_axes_is_walked(unpacked):
    dense = some_zeros((2, 3, 4), np.int8)
    for order in itertools.permutations(range(3)):
        np.testing.assert_array_equal(unpacked(model(*encoded(dense, list(order), {}, [DENSE, CSR, CSR]))), dense)

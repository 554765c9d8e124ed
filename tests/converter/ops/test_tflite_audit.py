"""Every TFLite operator, against LiteRT, over shapes, broadcasting, fused activations, attributes and types.

The rows stand in `tests/converter/tflite_rows`; a few models of each operator and type are made here, all of them by
`benchmarks/tflite_audit.py`. Models go through a Session and through the numpy references. What is compared, and what
either side refuses, is counted and printed (`pytest -rP`).
"""

from __future__ import annotations

import collections
import warnings

import bitlite
import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

import tflite_rows.judge as judging
from tflite_rows import ROWS
from tflite_rows.judge import DIFFERS, NEARER, OURS, SAME, STATUSES, judge
from tflite_rows.table import CODES

_LIST = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST CEIL CONCATENATION
CONV_2D CONV_3D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR
FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LEAKY_RELU
LESS LESS_EQUAL LOCAL_RESPONSE_NORMALIZATION LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D
MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 NOT_EQUAL ONE_HOT PACK PAD PADV2
POW PRELU QUANTIZE RANGE RANK REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU_N1_TO_1 RELU6 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 ROUND RSQRT SCATTER_ND SELECT SELECT_V2 SHAPE SIGN
SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPARSE_TO_DENSE SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNIQUE
UNPACK WHERE ZEROS_LIKE TFLite_Detection_PostProcess
"""
OPERATORS = frozenset(_LIST.split())
FEW = 4


def audit(row, path, limit, few):
    """Runs the row's cases and fails on a wrong answer or a refusal that the row does not name."""
    problems = []
    for dtype in row.dtypes:
        counts: collections.Counter[str] = collections.Counter()
        for case in row.cases(dtype, limit, few=few):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                verdict = judge(case, path)
            counts[verdict.status] += 1
            known = verdict.status == OURS and any(reason in verdict.reason for reason in row.refuses)
            if verdict.status in (DIFFERS, OURS) and not known:
                problems.append(f"{verdict.status}: {case.label}: {verdict.reason}")
        print(row.op, dtype, ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s]))
        if not counts[SAME] + counts[NEARER]:
            problems.append(f"{row.op} {dtype}: nothing was compared: {dict(counts)}")
    assert not problems, "\n".join(problems)


def test_the_table_has_every_operator():
    assert {row.op for row in ROWS} >= OPERATORS
    quantized = {row.op for row in ROWS if set(row.dtypes) & set(CODES)}
    assert len(quantized) > 70
    assert len({row.op for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.op)
def test_an_operator_equals_litert(row, tmp_path):
    audit(row, tmp_path / "model.tflite", FEW, few=True)


@pytest.mark.parametrize(("op", "dtype"), [("MAXIMUM", "int8"), ("ADD", "float32"), ("SHAPE", "int32")])
def test_a_wrong_answer_is_noticed(op, dtype, tmp_path, monkeypatch):
    """The judge itself: results that are falsified by one differ."""
    row = next(row for row in ROWS if row.op == op)
    run = judging.run_litert
    monkeypatch.setattr(judging, "run_litert", lambda data, feeds: [y + y.dtype.type(1) for y in run(data, feeds)])
    shaped = [c for c in row.cases(dtype, FEW) if c.inputs[0].size > 1]
    assert {judge(case, tmp_path / "model.tflite").status for case in shaped} == {DIFFERS}


@pytest.mark.parametrize("op", ["ADD", "CONV_2D", "AVERAGE_POOL_2D"])
def test_a_fused_tanh_which_litert_leaves_out_is_refused_by_name(op, tmp_path):
    case = next(next(row for row in ROWS if row.op == op).cases("float32", FEW))
    case.options["fused_activation_function"] = "TANH"
    verdict = judge(case, tmp_path / "model.tflite")
    assert verdict.status == OURS
    assert "fused TANH" in verdict.reason


def test_every_run_starts_from_the_state_in_the_file(tmp_path):
    """LiteRT carries the state of an SVDF from run to run; here the second run is the first once more."""
    row = next(row for row in ROWS if row.op == "SVDF")
    case = next(row.cases("float32", FEW))
    path = tmp_path / "model.tflite"
    path.write_bytes(case.model())
    session = bitlite.load(str(path))
    first, second = (session.run(case.feeds()) for _ in range(2))
    np.testing.assert_array_equal(*(next(iter(outputs.values())) for outputs in (first, second)))

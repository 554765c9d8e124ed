from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def corners(rng, *lead):
    centre, size = rng.uniform(0, 1, (*lead, 2)), rng.uniform(0.1, 0.5, (*lead, 2))
    return np.concatenate([centre - size / 2, centre + size / 2], -1).astype(np.float32)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("const", [(), (2, 3, 4)])
def test_onnx_suppression_equals_onnxruntime(onnx_check, rng, center, const):
    boxes, scores = corners(rng, 2, 30), rng.random((2, 3, 30)).astype(np.float32)
    if center:
        boxes = np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
    more = [np.int64([5]), np.float32([0.4]), np.float32([0.3])]
    onnx_check("NonMaxSuppression", [boxes, scores, *more], {"center_point_box": center}, const=const)


def test_onnx_suppression_without_optional_inputs(onnx_check, rng):
    boxes, scores = corners(rng, 1, 20), rng.random((1, 1, 20)).astype(np.float32)
    onnx_check("NonMaxSuppression", [boxes, scores, np.int64([4])])
    onnx_check("NonMaxSuppression", [boxes, scores])
    onnx_check("NonMaxSuppression", [boxes[..., [2, 1, 0, 3]], scores, np.int64([9]), np.float32([0.2])])


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_tflite_padded_suppression_equals_litert(tflite_check, rng, sigma):
    boxes, scores = corners(rng, 30), rng.random(30).astype(np.float32)
    params = [np.int32(8), np.float32(0.4), np.float32(0.2)]
    if sigma:
        tflite_check("NON_MAX_SUPPRESSION_V5", [boxes, scores, *params, np.float32(sigma)], const=(2, 3, 4, 5),
                     outputs=(np.int32, np.float32, np.int32))  # fmt: skip
    tflite_check("NON_MAX_SUPPRESSION_V4", [boxes, scores, *params], const=(2, 3, 4), outputs=(np.int32, np.int32))


@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize(("classes", "background", "per_box"), [(3, 1, 1), (3, 0, 1), (4, 1, 2)])
def test_tflite_detection_post_process_equals_litert(tflite_check, rng, regular, classes, background, per_box):
    from flatbuffers import flexbuffers

    n = 24
    boxes = rng.uniform(-1, 1, (1, n, 4)).astype(np.float32)
    scores = rng.random((1, n, classes + background)).astype(np.float32)
    anchors = np.concatenate([rng.uniform(0, 1, (n, 2)), rng.uniform(0.1, 0.4, (n, 2))], 1).astype(np.float32)
    options = {"max_detections": 6, "max_classes_per_detection": per_box, "num_classes": classes}
    options |= {"nms_score_threshold": 0.3, "nms_iou_threshold": 0.4, "use_regular_nms": regular}
    options |= {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, "detections_per_class": 10}
    if regular and per_box > 1:
        return  # LiteRT leaves part of its outputs unset
    tflite_check("CUSTOM", [boxes, scores, anchors], const=(2,), outputs=(np.float32,) * 4,
                 custom="TFLite_Detection_PostProcess", custom_options=bytes(flexbuffers.Dumps(options)))  # fmt: skip


def test_broken_custom_options_are_refused_by_name(tflite_check, rng):
    x = [np.zeros((1, 2, 4), np.float32), np.zeros((1, 2, 2), np.float32), np.zeros((2, 4), np.float32)]
    with pytest.raises(Error, match=r"y0.*options cannot be read"):
        tflite_check("CUSTOM", x, const=(2,), outputs=(np.float32,) * 4, custom="TFLite_Detection_PostProcess",
                     custom_options=b"\x01\x02", want=[])  # fmt: skip

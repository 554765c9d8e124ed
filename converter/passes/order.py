"""The order in which passes run: what every model gets, and what each container needs."""

from __future__ import annotations

from .absorb_flatten import absorb_flatten
from .cancel_transposes import cancel_transposes
from .channels_first import channels_first
from .compute_between_casts import compute_between_casts, compute_between_casts_for_ms
from .declare_layout import (
    absorb_input_layout,
    absorb_output_layout,
    restore_input_layout,
    restore_output_layout,
)
from .drop_assertions import drop_assertions
from .eliminate_common_subexpressions import eliminate_common_subexpressions
from .fold_batch_norm import fold_batch_norm
from .fold_concat_scale import fold_concat_scale
from .fold_constants import fold_constants
from .fold_depthwise_scale import fold_depthwise_scale
from .fold_offset import fold_offset
from .fold_scale import fold_scale
from .fuse_activation import fuse_activation
from .fuse_bias import fuse_bias
from .fuse_block_product import fuse_block_product
from .fuse_dynamic import fuse_dynamic
from .fuse_dynamic_quantize import fuse_dynamic_quantize
from .fuse_gelu import fuse_gelu
from .fuse_group_norm import fuse_group_norm
from .fuse_hard_swish import fuse_hard_swish
from .fuse_l2_norm import fuse_l2_norm
from .fuse_layer_norm import fuse_layer_norm
from .fuse_pad import fuse_pad
from .fuse_prelu import fuse_prelu
from .fuse_quantize import fuse_quantize, split_asymmetric_weights, split_quantize, split_uneven_weights
from .fuse_softmax import fuse_softmax
from .fuse_swish import fuse_swish
from .fuse_transpose_into_matmul import fuse_transpose_into_matmul
from .keep_codes import keep_codes
from .matmul_to_fully_connected import matmul_to_fully_connected
from .merge_free_axes import merge_free_axes
from .pools import split_counted_pads
from .quantize_for_onnx import quantize_for_onnx
from .quantized_tables import quantized_tables
from .record import Pass
from .remove_dead_code import remove_dead_code
from .remove_identities import remove_identities
from .split_hard_sigmoid import split_hard_sigmoid
from .split_svdf import split_svdf
from .unroll_recurrent import unroll_recurrent, unroll_recurrent_for_ms, unroll_recurrent_for_onnx
from .unroll_sequence_lstm import unroll_sequence_lstm
from .unsigned_weights import unsigned_saturating_weights, unsigned_weights
from .widen_ends import widen_ends
from .widen_half import widen_half

NONE: tuple[Pass, ...] = (remove_dead_code,)
"""Nothing but what every writer needs."""

GENERAL: tuple[Pass, ...] = (
    remove_dead_code,
    widen_half,
    fuse_block_product,  # codes would become floats
    fold_constants,
    remove_identities,
    eliminate_common_subexpressions,
    keep_codes,
    quantized_tables,
    cancel_transposes,
    # Patterns come before the folds that would take a piece out of them.
    fuse_layer_norm,
    fuse_group_norm,
    fuse_softmax,
    fuse_l2_norm,
    fuse_gelu,
    fuse_hard_swish,
    fuse_swish,
    fuse_prelu,
    fuse_transpose_into_matmul,
    matmul_to_fully_connected,
    fuse_dynamic,
    fuse_dynamic_quantize,
    fold_batch_norm,
    fold_scale,
    fold_depthwise_scale,
    fold_concat_scale,
    fuse_bias,
    fold_offset,
    fuse_pad,
    fuse_activation,
    merge_free_axes,
    absorb_flatten,
    fuse_quantize,
)
"""What makes every model smaller and faster, whether it is run or written."""

_UNWRITABLE: tuple[Pass, ...] = (drop_assertions,)
"""What takes out that a run in memory knows and no container can say."""

# What a container needs, whatever was asked for before; run on the graph that is written.
_TARGETS: dict[str, tuple[Pass, ...]] = {
    "ms": (
        widen_ends,
        unroll_sequence_lstm,
        split_svdf,
        unroll_recurrent_for_ms,
        cancel_transposes,
        split_counted_pads,
        compute_between_casts_for_ms,
        remove_dead_code,
    ),
    "tflite": (
        split_asymmetric_weights,
        absorb_input_layout,
        absorb_output_layout,
        cancel_transposes,
        split_counted_pads,
        unroll_recurrent,
        compute_between_casts,
        split_hard_sigmoid,
        remove_dead_code,
    ),
    "c": (
        absorb_input_layout,
        absorb_output_layout,
        cancel_transposes,
        remove_dead_code,
    ),
    "onnx": (
        unroll_sequence_lstm,
        split_svdf,
        unroll_recurrent_for_onnx,
        split_uneven_weights,
        split_quantize,
        quantize_for_onnx,
        unsigned_saturating_weights,
        restore_input_layout,
        restore_output_layout,
        channels_first,
        cancel_transposes,
        absorb_flatten,
        remove_dead_code,
    ),
}

# What stands in the place of a pass of "onnx".
_ONNX_WEIGHTS: dict[str, dict[Pass, tuple[Pass, ...]]] = {
    "auto": {},
    "int8": {unsigned_saturating_weights: ()},
    "uint8": {unsigned_saturating_weights: (unsigned_weights,)},
}


def for_target(
    target: str, input_layout: str = "NHWC", output_layout: str = "", onnx_weights: str = "auto"
) -> tuple[Pass, ...]:
    """The passes for "none" and "general", or what a container ("ms", "tflite", "onnx", "c") needs when it is written.

    Args:
        input_layout, output_layout: of 4-D inputs and outputs of a .ms, "NHWC", "NCHW" or "" for the source's own; the
            other containers have one of their own.
        onnx_weights: of integer products in a .onnx: "int8", "uint8", or "auto", uint8 where int8 ones saturate.
    """
    if target in ("none", "general"):
        return (*_UNWRITABLE, *(NONE if target == "none" else GENERAL))
    if target == "onnx":
        return tuple(p for each in _TARGETS["onnx"] for p in _ONNX_WEIGHTS[onnx_weights].get(each, (each,)))
    if target != "ms":
        return _TARGETS[target]
    inputs = {"NHWC": (absorb_input_layout,), "NCHW": (restore_input_layout,)}.get(input_layout, ())
    outputs = {"NHWC": (absorb_output_layout,), "NCHW": (restore_output_layout,)}.get(output_layout, ())
    return (*inputs, *outputs, *_TARGETS["ms"])


ALL: tuple[Pass, ...] = tuple(
    dict.fromkeys((*_UNWRITABLE, *GENERAL, *(p for passes in _TARGETS.values() for p in passes), unsigned_weights))
)
"""Every pass there is; `skip` may name any of them."""

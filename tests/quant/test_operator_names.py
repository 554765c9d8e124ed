"""What quantization may do to an operator stands in its row: quant/ names no operator, but for patterns and casts."""

import ast
from pathlib import Path

import bitlite.quant
from bitlite.converter import ops  # noqa: F401  (declares the rows)
from bitlite.converter.schema.op import OPS

# File → (operators that it may name, why a cell of their rows would not say it).
PATTERNS = {
    "calibrate/first_layer.py": (
        "BatchNorm Cast Conv Dequantize ExpandDims FullyConnected Identity Pad Quantize Reshape Squeeze Transpose",
        "looks for the pattern of preprocessing in front of a network, to judge how its data are scaled",
    ),
    "calibrate/ranges.py": (
        "Reduce",
        "works around the rounding of one kernel of MindSpore Lite, of means",
    ),
    "finite.py": ("Where", "the one operator that drops an operand's values, infinite ones among them"),
    "ptq/calibration.py": ("Concat", "an option is about this operator: whether channels are made alike across it"),
    "ptq/causes.py": ("Concat", "looks for the pattern of values of other sizes that are joined on one scale"),
    "ptq/channel_groups.py": ("Add Conv", "parts a convolution by its input channels: it makes convolutions and sums"),
    "ptq/emit.py": ("Dequantize Quantize", "the casts are the IR's own: it makes them"),
    "ptq/fidelity.py": (
        "ExpandDims LogSoftmax Reshape Sigmoid Softmax Squeeze Transpose",
        "looks for the pattern that ends classifiers, whose scores tell more than its outputs",
    ),
    "ptq/groups.py": ("Dequantize Quantize", "the casts are the IR's own: it looks for codes behind them"),
    "ptq/masks.py": ("LogSoftmax Softmax", "looks for the pattern of a mask in front of an attention's Softmax"),
    "ptq/prefix_runner.py": ("Clip", "clips reals as codes do, to see the means of what is left"),
    "ptq/prepare.py": (
        "Add AveragePool BatchNorm Conv Dequantize Div Mul Quantize Reduce Relu Relu6",
        "passes: each names the pattern that it rewrites and what it makes of it",
    ),
    "ptq/simulated.py": ("Dequantize Quantize", "the casts are the IR's own: it makes them"),
    "weights/block_weights.py": (
        "BlockFullyConnected FullyConnected",
        "weights in blocks are an operator of their own, which it makes of a matrix product",
    ),
    "weights/weight_quant.py": ("FullyConnected", "says of weights in blocks which operator they were of"),
}


def test_quant_names_operators_only_in_patterns():
    root = Path(bitlite.quant.__path__[0])
    named = {}
    for path in sorted(root.rglob("*.py")):
        strings = {n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)}
        if operators := {s for s in strings if isinstance(s, str) and s in OPS}:
            named[path.relative_to(root).as_posix()] = operators
    assert named == {file: set(operators.split()) for file, (operators, _) in PATTERNS.items()}

"""Types of single options of a conversion, and the words that they know."""

from __future__ import annotations

from typing import Any

from ...converter.text import unquote
from ...quant.calibrate import methods
from ...quant.selectors import Selector, parse_selector
from .types import (
    Choice,
    Int,
    Listed,
    OptionType,
    Real,
    Text,
    split_quoted,
)

ENDINGS = {"MS": ".ms", "TFLITE": ".tflite", "ONNX": ".onnx"}


FORMATS = (*ENDINGS, "C")


NOT_READ = {
    "TF": "frozen TensorFlow graphs are not read: make ONNX of it by `python -m tf2onnx.convert --graphdef m.pb"
    " --inputs x:0 --outputs y:0 --output m.onnx`",
    "PYTORCH": 'PyTorch files are not read: make ONNX of it by `python -c "import torch;'
    " torch.onnx.export(torch.jit.load('m.pt'), torch.zeros(1, 3, 224, 224), 'm.onnx')\"`",
    "OM": "OM models hold code for Ascend devices: convert the model they were made from",
}


class ActivationBits(Choice):
    """8 or 16, as a word or a number."""

    def __init__(self) -> None:
        super().__init__({"8": 8, "16": 16})

    def check(self, value: Any) -> int:
        return super().check(str(value) if type(value) is int else value)


class BlockSize(Choice):
    """The sizes that onnxruntime takes."""

    def __init__(self) -> None:
        super().__init__({str(size): size for size in (0, 16, 32, 64, 128, 256)})

    def check(self, value: Any) -> int:
        return super().check(str(value) if type(value) is int else value)


class Method(Choice):
    """A threshold method; PERCENTILE takes its value after a colon (50..100, default 99.99)."""

    def __init__(self) -> None:
        also = {"RemovalOutlier": "REMOVAL_OUTLIER_R1", "MAX": "MAX_MIN", "MINMAX": "MAX_MIN", "MIN_MAX": "MAX_MIN"}
        super().__init__(("AUTO", *methods.names()), also)

    def parse(self, text: str) -> str:
        if text.upper().startswith("PERCENTILE"):
            tail = text[len("PERCENTILE") :].lstrip(":").replace("%", "") or "99.99"
            tail = {"9999": "99.99", "999": "99.9"}.get(tail, tail)
            return f"PERCENTILE:{Real(50, 100).parse(tail):g}"
        return super().parse(text)


class Bits(Int):
    """Bits of one layer, 1..16."""

    metavar = "BITS"

    def __init__(self) -> None:
        super().__init__(1, 16)


class Selection(OptionType):
    """The type of one selector, for `keepFloat` lists."""

    metavar = "SELECTION"

    def parse(self, text: str) -> Selector:
        return parse_selector(text)

    def check(self, value: Any) -> Selector:
        return value if isinstance(value, Selector) else super().check(value)


class Words(Listed):
    """Names, between commas or, as Horizon's yaml has them, semicolons; single quotes protect either."""

    def __init__(self, metavar: str) -> None:
        super().__init__(Text("NAME"), metavar)

    def parse(self, text: str) -> tuple[str, ...]:
        parts = [word for part in split_quoted(text, ";") for word in split_quoted(part, ",")]
        return tuple(unquote(word) for word in parts if word)


class Cut(OptionType):
    """The tensors between which a model is cut out: names, a colon, names."""

    metavar = "IN,...:OUT,..."

    def parse(self, text: str) -> Any:
        sides = split_quoted(text, ":")
        if len(sides) != 2 or not any(sides):
            raise ValueError(f"must read {self.metavar}; a name with a colon stands in single quotes")
        words = Words("NAME")
        return self.check(tuple(words.parse(side) for side in sides))

    def check(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError("must be two lists of names, of inputs and of outputs")
        return tuple(Words("NAME").check(side) for side in value)

    def show(self, value: Any) -> str:
        return ":".join(",".join(side) for side in value)


IO_TYPES = Choice(("DEFAULT", "FLOAT", "INT8", "UINT8"), {"FLOAT32": "FLOAT"})
IO_REFUSED = {name: f"{name} graph inputs and outputs are kept as the model has them; leave it DEFAULT"
               for name in ("FLOAT16", "INT32", "INT64")}  # fmt: skip
LAYOUT = Choice({"": "", "NHWC": "NHWC", "NCHW": "NCHW"})
SIZE = Int(1, 65535)
CHANNELS = Listed(Real(), "[R,G,B]", length=(1, 3))

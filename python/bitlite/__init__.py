"""bitlite: converts, quantizes and runs neural networks for devices.

    session = bitlite.load("model.tflite", threads=2)
    outputs = session.run({"input": array})
    report = bitlite.convert("model.onnx", "model.ms", quant_type="WeightQuant", bit_num=8)

Names are imported on first use, so that `import bitlite` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .converter.version import __version__

if TYPE_CHECKING:
    from .converter.errors import (
        DataError,
        Error,
        GraphError,
        InternalError,
        ModelError,
        OutputError,
        StrictError,
        UnsupportedError,
        UsageError,
    )
    from .converter.ir import Graph
    from .native.load import load
    from .native.session import Session
    from .quant.calibrate.lmdb_files import create_lmdb
    from .tools.cascade import cascade
    from .tools.convert import Report, convert
    from .tools.goals import Searched, search
    from .tools.models import read, write

_HOMES = {
    "Error": "converter.errors",
    "UsageError": "converter.errors",
    "ModelError": "converter.errors",
    "UnsupportedError": "converter.errors",
    "DataError": "converter.errors",
    "OutputError": "converter.errors",
    "StrictError": "converter.errors",
    "GraphError": "converter.errors",
    "InternalError": "converter.errors",
    "Graph": "converter.ir",
    "load": "native.load",
    "Session": "native.session",
    "convert": "tools.convert",
    "Report": "tools.convert",
    "Searched": "tools.goals",
    "search": "tools.goals",
    "cascade": "tools.cascade",
    "read": "tools.models",
    "write": "tools.models",
    "create_lmdb": "quant.calibrate.lmdb_files",
}
__all__ = [
    "DataError",
    "Error",
    "Graph",
    "GraphError",
    "InternalError",
    "ModelError",
    "OutputError",
    "Report",
    "Searched",
    "Session",
    "StrictError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "cascade",
    "convert",
    "create_lmdb",
    "load",
    "read",
    "search",
    "write",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'bitlite' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

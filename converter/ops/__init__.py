"""The operators, one family a file. Importing this declares every row; who needs rows looks them up here."""

import importlib
import pkgutil

from ..schema.op import OPS, READERS, evaluate, infer, reader, row, unread

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    if "._" not in _module.name.removeprefix(__name__):
        importlib.import_module(_module.name)

__all__ = ["OPS", "READERS", "evaluate", "infer", "reader", "row", "unread"]

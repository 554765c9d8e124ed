"""The operators, one family a file: importing this declares every row."""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    if "._" not in _module.name.removeprefix(__name__):
        importlib.import_module(_module.name)

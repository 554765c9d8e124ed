# PyTorch is an extra: where types are checked it need not be there, and is what it is used as.
from typing import Any

def __getattr__(name: str) -> Any: ...

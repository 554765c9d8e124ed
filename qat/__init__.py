"""Training with quantization: what is trained is what is written.

    from bitlite import qat
    q = qat.prepare(model, example, data=loader, weights=4)
    …an ordinary training loop on q…
    report = qat.export(q, "model.ms", verify=images)

Needs torch, `pip install bitlite[torch]`; nothing else of bitlite imports it.
"""

from __future__ import annotations

import importlib.util

from ..converter.errors import UsageError

if (_torch := importlib.util.find_spec("torch")) is None or _torch.origin is None:
    # Where there is no origin it is a folder of that name on the path.
    raise UsageError("bitlite.qat needs torch, which is not installed", hint="pip install 'bitlite[torch]'")

from .clamp import clamp
from .export import Verification, export, verify
from .finetune import finetune, from_file
from .module import QatModule
from .prepare import prepare

__all__ = ["QatModule", "Verification", "clamp", "export", "finetune", "from_file", "prepare", "verify"]

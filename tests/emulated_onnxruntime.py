"""onnxruntime on another CPU: a pytest plugin under which every InferenceSession runs in an emulated process.

    JUDGE="qemu-x86_64 -cpu Haswell" python -m pytest -p emulated_onnxruntime tests/converter/ops/test_qlayers.py

qemu's user mode gives the process a CPU with AVX2 and without the products of 8 bits of VNNI, whose integer kernels
saturate; bitlite itself runs on the machine's own CPU. Sessions live in one process, which takes pickles on its
standard input and answers on its standard output.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

OPTIONS = ("graph_optimization_level", "intra_op_num_threads", "optimized_model_filepath", "log_severity_level")


class Emulated:
    """The process, and the calls that it answers."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            [*command, sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def call(self, *message: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()
        failed, answer = pickle.load(self.process.stdout)
        if failed:
            raise RuntimeError(answer)
        return answer


def session_type(emulated: Emulated) -> type:
    class InferenceSession:
        def __init__(self, model: Any, sess_options: Any = None, providers: Any = None):
            model = model if isinstance(model, bytes) else str(model)
            chosen = {name: getattr(sess_options, name) for name in OPTIONS} if sess_options is not None else {}
            chosen = {k: int(v) if k == OPTIONS[0] else v for k, v in chosen.items()}
            self._number, self._inputs, self._outputs = emulated.call("open", model, chosen)

        def get_inputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(**port) for port in self._inputs]

        def get_outputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(**port) for port in self._outputs]

        def run(self, outputs: Any, feeds: dict[str, Any]) -> list[Any]:
            return emulated.call("run", self._number, outputs, feeds)

        def __del__(self) -> None:
            if hasattr(self, "_number"):
                emulated.call("close", self._number)

    return InferenceSession


def pytest_configure(config: Any) -> None:
    import onnxruntime

    emulated = Emulated(os.environ["JUDGE"].split())
    onnxruntime.InferenceSession = session_type(emulated)
    config.add_cleanup(emulated.process.kill)


def pytest_report_header() -> str:
    return f"onnxruntime runs under {os.environ['JUDGE']}"


def serve() -> None:
    """Answers calls until its standard input ends."""
    import onnxruntime

    sessions: dict[int, Any] = {}

    def ports(arguments: Any) -> list[dict[str, Any]]:
        return [{"name": a.name, "shape": a.shape, "type": a.type} for a in arguments]

    def answer(verb: str, *of: Any) -> Any:
        if verb == "open":
            model, chosen = of
            options = onnxruntime.SessionOptions()
            for name, value in chosen.items():
                if name == OPTIONS[0]:
                    value = onnxruntime.GraphOptimizationLevel(value)
                if value != "":
                    setattr(options, name, value)
            number = len(sessions)
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            sessions[number] = session
            return number, ports(session.get_inputs()), ports(session.get_outputs())
        if verb == "close":
            sessions[of[0]] = None
            return None
        number, outputs, feeds = of
        return sessions[number].run(outputs, feeds)

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result = (False, answer(*message))
        except Exception as error:
            result = (True, f"{type(error).__name__}: {error}")
        pickle.dump(result, out)
        out.flush()


if __name__ == "__main__":
    serve()

"""One case through LiteRT and through bitlite: same, nearer to the real number, different, or refused by whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import bitlite
import numpy as np
from bitlite.converter.execute import execute
from bitlite.converter.formats.tflite import read
from tflite_models import run_litert

from .table import Case

SAME, NEARER, DIFFERS, LITERT, OURS, BOTH = (
    "same",
    "nearer",
    "differs",
    "LiteRT refuses",
    "bitlite refuses",
    "both refuse",
)
STATUSES = (SAME, NEARER, DIFFERS, OURS, LITERT, BOTH)


@dataclass(frozen=True)
class Verdict:
    status: str
    reason: str = ""


def judge(case: Case, path: Path) -> Verdict:
    """The verdict on a case, whose model goes to `path`."""
    feeds = case.feeds()
    data, want, refusal = _litert(case, feeds)
    path.write_bytes(data)
    try:
        results = {"session": _by_session(str(path), feeds), "reference": _by_reference(str(path), feeds)}
    except bitlite.Error as error:
        reason = str(error).replace(f"{path}: ", "")
        return Verdict(BOTH, refusal) if refusal else Verdict(OURS, reason)
    if refusal:
        return Verdict(LITERT, refusal)
    verdicts = [_verdict(how, got, want, case) for how, got in results.items()]
    return max(verdicts, key=lambda v: STATUSES.index(v.status))


def _litert(case: Case, feeds: dict[str, np.ndarray]) -> tuple[bytes, list[np.ndarray], str]:
    """The model, LiteRT's results, and why it refuses. Other versions are tried, for a kernel knows only some."""
    for version in (case.version, *(v for v in range(1, 6) if v != case.version)):
        data = replace(case, version=version).model()
        try:
            return data, run_litert(data, feeds), ""
        except (RuntimeError, ValueError, TypeError) as error:
            refusal = str(error).strip()
        if "Didn't find op" not in refusal:
            break
    return data, [], (refusal.splitlines() or ["?"])[-1][:200]


def _by_session(path: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What users get: passes, kernels, and numpy where there is none."""
    session = bitlite.load(path)
    results = session.run(feeds)
    return [results[p.name] for p in session.outputs]


def _by_reference(path: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The definition: each node by its numpy reference, as it was read."""
    graph = read(path)
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        arrays = [None if t is None else t.data if t.is_const else values[t] for t in node.inputs]
        values.update(zip(node.outputs, execute(node, arrays)))
    return [t.data if t.data is not None else values[t] for t in graph.outputs]


def _verdict(how: str, got: list[np.ndarray], want: list[np.ndarray], case: Case) -> Verdict:
    worst = Verdict(SAME)
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        wrong = difference(np.asarray(g), np.asarray(w), case)
        if wrong and not (k == 0 and _exact(np.asarray(g), case)):
            return Verdict(DIFFERS, f"{how}, output {k}: {wrong}")
        worst = Verdict(NEARER, wrong) if wrong else worst
    return worst


def _exact(got: np.ndarray, case: Case) -> bool:
    """Whether each code is the one of the real result, or its neighbour where float32 cannot tell the two apart."""
    q = case.output_quant[0]
    if case.truth is not None and got.dtype == np.bool_:
        return bool((got == case.truth).all())
    if case.truth is None or q is None or got.shape != np.shape(case.truth):
        return False
    info = np.iinfo(got.dtype)
    place = np.clip(case.truth / q.scale[0] + q.zero_point[0], info.min, info.max)
    if not place.size:
        return True
    # Terms of a sum are rounded to float32, and each may be as large as the largest result.
    return bool((np.abs(got - place) <= 0.5 + 2e-7 * np.abs(place - q.zero_point[0]).max() + 1e-3).all())


def difference(got: np.ndarray, want: np.ndarray, case: Case) -> str:
    """How two results differ beyond what the case allows; "" when they do not."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{list(got.shape)}, LiteRT {want.dtype}{list(want.shape)}"
    if want.size == 0:
        return ""
    if want.dtype.kind != "f":
        apart = np.abs(got.astype(np.float64) - want.astype(np.float64))
        allowed: np.ndarray | float = case.steps
    else:
        strange = ~(np.isfinite(got) & np.isfinite(want))
        if not np.array_equal(got[strange], want[strange], equal_nan=True):
            return f"{got[strange][:4]}, LiteRT {want[strange][:4]}"
        got, want = np.where(strange, 0, got), np.where(strange, 0, want)
        apart = np.abs(got.astype(np.float64) - want.astype(np.float64))
        allowed = case.tolerance * max(float(np.abs(want).max()), 1e-30) + case.absolute
    worst = int(apart.argmax())
    if apart.reshape(-1)[worst] <= allowed:
        return ""
    place = np.unravel_index(worst, want.shape)
    many = int((apart > allowed).sum())
    return f"{many} of {want.size} differ, at {[int(i) for i in place]} {got[place]!r}, LiteRT {want[place]!r}"

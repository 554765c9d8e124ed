"""Searches of a conversion: goals as options have them, the best form, and what was tried in the report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..converter.errors import Setting, UsageError
from ..converter.ir import Graph
from ..quant.search.goal import DECIBEL, PERCENT, POINTS, Goal
from .bench_inputs import Feed
from .convert_report import Report
from .options.convert import ConvertOptions
from .outcome import WARNING
from .progress import say, track

if TYPE_CHECKING:
    from ..quant.calibrate.data import Dataset
    from ..quant.cluster.pool import WorkerPool
    from ..quant.search.find import Family
    from ..quant.search.journal import Journal
    from ..quant.search.trials import Form, Found, MadeT, Measures, Trial
    from .pareto import ParetoFolder, WriteForm

_BLOCK = 1 << 24
_TIMED = 2  # forms for each worker that are made before the times of all are measured
_MARGINS = 512  # samples that forms are fitted to whose margins in float count, too


def goal_of(options: ConvertOptions, source_bytes: int) -> Goal:
    """What the options ask for; a share of bytes is one of the float model's."""
    size = options.target_size
    if size is not None:
        size = int(size if size >= 1 else size * source_bytes)
    return Goal(options.allowed_loss, size, options.target_time)


def parts(total: int, fitted: int, goal: Goal, options: ConvertOptions) -> tuple[list[int], list[int]]:
    """(samples to fit to, samples to judge by): where they decide, those that judge are a third at least."""
    from ..quant.ptq.fidelity import hold_back

    decide = goal.max_drop is not None or bool(options.pareto)
    return hold_back(total, min(fitted, total - total // 3) if decide else fitted, scored=decide)


def open_journal(
    options: ConvertOptions, graph: Graph, samples: Dataset, container: str, report: Report, fitted: Sequence[int]
) -> Journal:
    """The journal of this search, beside the file that it is for. Raises DataError where something else is there."""
    from ..quant.search.journal import Journal

    path = options.output_path(container.upper()) + ".search"
    with options.blame("resume"):
        journal = Journal(path, _key(options, graph, samples, fitted), resume=options.resume)
    if options.resume:
        known = f"{journal.resumed} steps of {path} are known" if journal.resumed else f"{path} has none of this search"
        report.notes.append(f"resume: {known}")
    return journal


def run_search(
    family: Family[MadeT],
    goal: Goal,
    judged: Graph,
    samples: Dataset,
    shares: tuple[Sequence[int], Sequence[int]],
    measures: Measures,
    journal: Journal,
    options: ConvertOptions,
    report: Report,
    container: str,
    write: WriteForm,
    pool: WorkerPool | None,
) -> MadeT:
    """The best form that the search finds; `report` gets what was tried, and what the best one loses.

    Args:
        judged: the float graph that forms are compared with. shares: the numbers of the samples that forms are fitted
            to, and of those that they are judged by. write: a form's file, a `container`. pool: workers that make
            forms which do not wait for each other.
    Raises:
        KeyboardInterrupt: before any form was tried. UsageError: no form can meet the goal on size.
    """
    from ..quant.ptq.fidelity import judge_of, spread
    from ..quant.search.find import find_form
    from ..quant.search.front import sweep
    from ..quant.search.loss import LossJudge
    from ..quant.search.spread_forms import SpreadForms
    from ..quant.search.trials import Found, Trials

    fitted, held = shares
    threads = options.threads or os.cpu_count() or 1
    asked = options.goals
    interrupted = False
    folder = _folder(options, container, write)
    with options.blame(*asked):
        unit = goal.max_drop.unit if goal.max_drop is not None else DECIBEL
        if goal.max_drop is None and folder is not None and samples.scoring is not None:
            unit = POINTS
        reference = judge_of(judged, samples, held, samples.scoring, threads)
        apart = list(held) != list(fitted)
        others = None
        if apart and unit in (POINTS, PERCENT):
            picked = [fitted[k] for k in spread(len(fitted), _MARGINS)]
            others = judge_of(judged, samples, picked, samples.scoring, threads)
        judge = LossJudge(reference, unit, held_back=apart, others=others)
        more: dict[str, Any] = {} if folder is None else {"keep": folder.keep}
        if pool is not None and pool.lanes > 1:
            more |= {
                "apart": SpreadForms(pool, judged, family, samples, shares, reference),
                "batch": _TIMED * pool.lanes,
            }
        trials = Trials(family.make, judge, goal, measures, journal, _teller(goal, options), **more)
        try:
            if not goal.nothing:
                find_form(family, goal, trials.evaluate, trials.each)
            if folder is not None:
                sweep(family, trials.evaluate, trials.each)
        except KeyboardInterrupt:
            if trials.best is None:
                raise
            interrupted = True
        except UsageError:  # nothing is what is asked for, so that there is nothing to go on from
            journal.end()
            raise
        made, report.fidelity = trials.made()
        front = _front(
            folder, trials.done.values(), lambda form: family.make(form).graph, options, whole=not interrupted
        )
    found = Found(goal, tuple(trials.done.values()), trials.winner, interrupted, tuple(front))
    report.search = found
    report.notes += _notes(found, asked, container, options, len(held))
    if not interrupted:
        journal.end()
    return made


def _folder(options: ConvertOptions, container: str, write: WriteForm) -> ParetoFolder | None:
    """Where the front goes, if one is asked for."""
    if not options.pareto:
        return None
    from .pareto import ParetoFolder

    with options.blame("pareto"):
        name = os.path.basename(options.output_path(container.upper()))
        return ParetoFolder(options.pareto, name, write, resume=options.resume)


def _front(
    folder: ParetoFolder | None,
    trials: Iterable[Trial],
    make: Callable[[Form], Graph],
    options: ConvertOptions,
    *,
    whole: bool,
) -> list[Trial]:
    """The front, in its folder."""
    if folder is None:
        return []
    title = f"{os.path.basename(options.model_file)}, {options.quant_type}"
    return folder.finish(list(trials), title, make, whole=whole)


def timer(before: Graph, sample: Feed, threads: int) -> Callable[[Graph], tuple[float, float]]:
    """What gives the seconds of one run of a graph, and the share of those of the float graph `before`."""
    from .cost import measure
    from .read_back import Original

    before = before.copy()

    def time_of(graph: Graph) -> tuple[float, float]:
        measured = measure(before, Original(graph, threads, sample))
        if isinstance(measured, str):
            raise UsageError(f"the time of a run cannot be measured: {measured}")
        return measured[0].after.low / 1e3, measured[0].share

    return time_of


def progress_of(options: ConvertOptions) -> Callable[[Any, str], Any]:
    return lambda items, label: track(items, label, quiet=options.quiet)


def _teller(goal: Goal, options: ConvertOptions) -> Callable[[Trial], None]:
    def tell(trial: Trial) -> None:
        meets = "" if goal.nothing else ": meets the goal" if trial.meets(goal) else ": misses it"
        say(f"{trial.bytes:,} bytes, {trial.loss.text()}{meets} ({trial.form.text()})", quiet=options.quiet)

    return tell


def _notes(found: Found, asked: Sequence[str], container: str, options: ConvertOptions, judges: int) -> list[str]:
    best, goal = found.best, found.goal
    which = f" (.{container})" if len(options.output_format) > 1 else ""
    size = f"{best.bytes:,} bytes" if goal.size is None else f"{best.bytes:,} of {goal.size:,} bytes"
    time = "" if best.share is None else f", {best.share:.2f} of float's time"
    count = len(found.trials)
    lines = [
        f"{' and '.join(asked)}{which}: {size}, {best.loss.text()}{time}; form: {best.form.text()};"
        f" {count} form{'s' if count > 1 else ''} tried"
    ]
    if found.front:
        sizes = f"{found.front[0].bytes:,} to {found.front[-1].bytes:,} bytes"
        many = "s" if len(found.front) > 1 else ""
        lines.append(f"pareto: {len(found.front)} form{many} on the front, {sizes}: {options.pareto}")
    if found.interrupted:
        goes_on = options.spell(Setting("resume", True))
        lines.append(f"{WARNING}interrupted: this is the best form so far; {goes_on} goes on from here")
    elif not found.met:
        missed = f"{WARNING}the goal is missed ({goal.text()}): this is the best form that was found"
        lines.append(missed + _undecided(found, judges))
    return lines


def _undecided(found: Found, judges: int) -> str:
    """Whether it is the number of samples that leaves the goal open, and how many would tell."""
    limit = found.goal.max_drop
    more = found.best.loss.more_samples(limit) if limit is not None and found.best.fits(found.goal) else None
    if more is None:
        return ""
    return (
        f"; what is expected of it is within the goal, and {judges} samples that judge leave that open:"
        f" about {int(float(f'{more * judges:.2g}')):,} would tell"
    )


def _key(options: ConvertOptions, graph: Graph, samples: Dataset, fitted: Sequence[int]) -> str:
    """Of everything that decides how the search goes."""
    from ..converter.version import __version__

    state = hashlib.blake2b(digest_size=16)
    for path in (options.model_file, *graph.meta.get("external", ())):
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                state.update(block)
    for sample in samples.only([0, len(samples) - 1]):
        for name, value in sample.items():
            state.update(name.encode() + value.tobytes())
    scoring = samples.scoring
    scored = () if scoring is None else (scoring.name, [str(label) for label in scoring.labels])
    state.update(
        json.dumps(
            [
                __version__,
                options.as_dict(),
                list(options.output_format),
                len(samples),
                fitted,
                scored,
                bool(options.pareto),
            ]
        ).encode()
    )
    return state.hexdigest()

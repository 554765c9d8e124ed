"""The command `benchmark`, with the flags and lines of MindSpore Lite's own: times, profiles and compares models."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..converter.errors import Error
from .command import run_command
from .options.benchmark import USAGE, BenchOptions, help_text
from .options.flags import asked

if TYPE_CHECKING:
    from ..native.session import Session
    from .accuracy import Comparison

_SHOWN_INPUTS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for outputs worse than allowed, else what the kind of error says."""
    return run_command(_work, argv)


def _work(argv: Sequence[str]) -> int:
    wish = asked(argv)
    if wish == "version":
        from ..converter.version import __version__

        print(f"benchmark (bitlite) {__version__}")
        return 0
    if wish:
        print(USAGE + "\n--help lists every flag." if wish == "usage" else help_text(everything=wish == "help=all"))
        return 0
    options = BenchOptions.from_args(argv)
    if options.compare_report:
        return _compare_reports(options)
    if options.info or options.graph:
        return _show_model(options)
    name = os.path.basename(options.model_file)
    try:
        Benchmark(options).run()
    except Error as error:
        print(f"Run Benchmark {name} Failed : {error.exit_code}")
        raise
    print(f"Run Benchmark {name} Success.")
    return 0


def _show_model(options: BenchOptions) -> int:
    """What a file holds, as lines, picture and page; nothing runs."""
    from .model_info import info_lines, model_document, model_info

    document = (model_document if options.graph or options.report else model_info)(
        options.model_file, options.weight_file or None
    )
    if options.info:
        print("\n".join(info_lines(document)))
    if options.graph:
        from .report.save import save_graph

        save_graph(options.graph, document, sources=(options.model_file,))
    _save(options, document)
    return 0


def _compare_reports(options: BenchOptions) -> int:
    from .report.compare import comparison, comparison_lines

    document = comparison(options.compare_report)
    print("\n".join(comparison_lines(document)))
    _save(options, document)
    return 0


class Benchmark:
    """One run of the command. `figures` collects what `--report` saves."""

    def __init__(self, options: BenchOptions) -> None:
        self.options = options
        self.figures: dict[str, Any] = {
            "kind": "benchmark", "model": options.model_file, "threads": options.num_threads,
        }  # fmt: skip

    def say(self, *lines: str) -> None:
        if not self.options.quiet:
            print("\n".join(lines))

    def run(self) -> None:
        """Does what the options ask for. Raises bitlite.Error, AccuracyError among them."""
        from ..quant.calibrate.remote_files import is_folder
        from .affinity import bind
        from .bench_inputs import load_model

        options = self.options
        self.say(*options.echo())
        bound = bind(options.cpu_bind_mode, options.num_threads)
        start = time.perf_counter()
        self.session = load_model(options.model_file, options, options.weight_file or None)
        self.figures["prepare_ms"] = (time.perf_counter() - start) * 1e3
        self.other = load_model(options.compare_with, options) if options.compare_with else None
        if options.keep_packed:
            for reason in sorted(set(self.session.dequantized.values())):
                self.say(f"not kept packed: {reason}")
        self.say(f"PrepareTime = {self.figures['prepare_ms']:.3f} ms ({bound})")
        if options.in_data_file and is_folder(options.in_data_file[0]):
            self._samples()
        else:
            self._single()
        if options.report or options.cpu:
            self._look()
        _save(options, self.figures)

    def _look(self) -> None:
        """What a report shows of the nodes."""
        from ..converter.formats.files import bytes_of
        from .report.view import run_view

        options = self.options
        self.figures["bytes"] = bytes_of(options.model_file, self.session.graph.meta)
        self.figures |= run_view(self.session, self.feed, options.loop_count, options.cpu)
        if options.cpu:
            memory, ms = self.figures["memory"], self.figures["forecast_ms"]
            at, total = memory["at"].partition(";")[0], memory["peak"] + memory["constants"]
            self.say(
                f"Forecast for that CPU: {ms:.3f} ms, peak memory {total:,} bytes",
                f"({memory['constants']:,} of constants, {memory['peak']:,} of activations at {at})",
            )
        for row in self.figures["nodes"]:
            row["why"] = self.session.refusals.get(row["name"], "")

    def _single(self) -> None:
        """One feed: compare with a file or a model, or only time."""
        from .bench_inputs import file_feeds, layout_warnings, random_feed
        from .tables import warn

        options, ports = self.options, self.session.inputs
        self.feed = next(file_feeds(options, ports)) if options.in_data_file else random_feed(ports, options.seed)
        if options.in_data_file:
            warn(layout_warnings(self.feed, ports))
        comparison = None
        if options.benchmark_data_file:
            comparison = self._against_file()
        elif self.other is not None:
            comparison = self._against_model(self.other)
        if options.benchmark_data_file == "" or options.time_profiling:
            self._time()
        if options.save_output:
            from .expected_outputs import write_expected

            write_expected(options.save_output, self.session.run(self.feed))
        if options.verify:
            self._verify()
        if comparison is not None:
            self._judge(comparison)

    def _against_file(self) -> Comparison:
        from .accuracy import compare
        from .expected_outputs import read_expected

        self.say(*self._input_lines())
        expected = read_expected(self.options.benchmark_data_file, self.options.benchmark_data_type)
        return compare(self.session.run(self.feed), expected)

    def _against_model(self, other: Session) -> Comparison:
        from .accuracy import compare
        from .bench_inputs import feed_for, outputs_like, real_outputs

        ours = real_outputs(self.session.run(self.feed), self.session.outputs)
        theirs = other.run(feed_for(self.feed, self.session.inputs, other.inputs))
        return compare(ours, outputs_like(theirs, other.outputs, self.session.outputs))

    def _judge(self, comparison: Comparison) -> None:
        """Prints the comparison as the real tool does, then what it leaves out, then fails where it must."""
        options = self.options
        by_cosine = options.cosine_distance_threshold >= 0
        lines = comparison.lines(by_cosine)
        print("\n".join(lines[-1:] if options.quiet else lines))
        for node in comparison.nodes:
            self.say(
                f"{node.name}: cosine {node.cosine:.7f}, SQNR {node.sqnr:.2f} dB, max error {node.max_abs_error:g}"
            )
        self.figures["comparison"] = {
            "bias_percent": comparison.bias,
            "cosine": comparison.cosine,
            "outputs": [
                {k: getattr(n, k) for k in ("name", "bias", "cosine", "sqnr", "max_abs_error")}
                for n in comparison.nodes
            ],
        }
        # Another model has no reason to give the same values: it fails only where a threshold was set on purpose.
        asked_for = {"accuracy_threshold", "cosine_distance_threshold"} & set(options.origins)
        if options.benchmark_data_file or asked_for:
            comparison.check(options.accuracy_threshold, options.cosine_distance_threshold)

    def _time(self) -> None:
        from .bench_inputs import feed_for
        from .profiling import profile
        from .timing import measure

        options = self.options
        runs = [(self.session, self.feed)]
        if self.other is not None:
            runs.append((self.other, feed_for(self.feed, self.session.inputs, self.other.inputs)))
        self.say("Running warm up loops...", "Running benchmark loops...")
        timings = measure(runs, options.warm_up_loop_count, options.loop_count)
        for name, timing in zip((options.model_file, options.compare_with), timings):
            print(timing.line(os.path.basename(name), options.num_threads))
        self.figures["time_ms"] = timings[0].as_dict()
        if len(timings) > 1:
            self.figures["other_time_ms"] = timings[1].as_dict()
            self.say(f"Ratio of medians: {timings[0].median / timings[1].median:.3f}")
        if options.time_profiling:
            measured = profile(self.session, self.feed, options.loop_count)
            print("\n".join(measured.lines(timings[0].mean)))
            self.figures["profile"] = measured.as_dict()
        for node, why in self.session.refusals.items():
            self.say(f"{node}: runs through numpy: {why}")

    def _samples(self) -> None:
        """A directory: every sample through the model, and through the other one."""
        from .bench_inputs import file_samples, sample_files
        from .evaluation import Models, run_samples, stacked
        from .options.workers import open_pool
        from .progress import track

        options, session, other = self.options, self.session, self.other
        names = sample_files(options)
        samples = file_samples(options, session.inputs)
        self.feed = next(samples.only([0]))
        with open_pool(options) as pool:
            outputs = run_samples(Models(session, other), samples, pool)
            mine, expected = stacked(track(outputs, "samples", len(samples), options.quiet), len(samples))
        self._time()
        self.say(f"Samples: {len(samples)}")
        first = session.outputs[0].name
        self._labels(names, mine[first], expected.get(first))
        if options.save_output:
            from .expected_outputs import write_expected

            write_expected(options.save_output, mine)
        if options.verify:
            self._verify()
        if expected:
            from .accuracy import compare

            self._judge(compare(mine, expected))

    def _labels(self, names: list[str], scores: Any, others: Any) -> None:
        from .classification import agreement, paired_difference, read_labels, top_k

        if others is not None and scores.shape == others.shape:
            same, error = agreement(scores, others)
            print(f"Same class: {same:.2%} ± {error:.2%} (n={len(scores)})")
            self.figures["agreement"] = {"rate": same, "standard_error": error}
        if not self.options.labels_file:
            return
        labels = read_labels(self.options.labels_file, names)
        for model, table in ((self.options.model_file, scores), (self.options.compare_with, others)):
            if table is not None:
                accuracy = top_k(table, labels)
                print(os.path.basename(model), *accuracy.lines(), sep="\n  ")
                rates = {str(k): [accuracy.rate(k), accuracy.standard_error(k)] for k in accuracy.right}
                self.figures.setdefault("top_k", {})[model] = rates
        if others is not None:
            difference, error = paired_difference(scores, others, labels)
            print(f"Top-1 difference: {difference * 100:+.2f} ± {error * 100:.2f} points (standard error, paired)")
            self.figures["top1_difference"] = {"difference": difference, "standard_error": error}

    def _verify(self) -> None:
        from .accuracy import AccuracyError
        from .tables import print_table
        from .verify import verify

        verified = verify(self.session, self.feed)
        wrong = [row for row in verified if not row.ok]
        shown = sorted(verified, key=lambda row: (-row.wrong, -row.error))[: max(len(wrong), 10)]
        if not self.options.quiet:
            rows = [
                (r.name, r.op, "kernel" if r.native else "numpy", f"{r.error:.1e}", r.wrong, "yes" if r.ok else "NO")
                for r in shown
            ]
            print_table(
                f"Kernels against the reference: the {len(shown)} farthest of {len(verified)} nodes",
                ("node", "operator", "runs as", "error / range", "wrong integers", "holds"),
                rows,
            )
        if self.options.model_file.lower().endswith(".onnx") and importlib.util.find_spec("onnxruntime"):
            from .onnx_products import saturation_note
            from .options.convert import flag_of

            for line in saturation_note(self.options.model_file, flag_of):
                print(line)
        native = sum(row.native for row in verified)
        print(f"Verified {native} of {len(verified)} nodes with kernels: {len(wrong)} differ")
        self.figures["verify"] = {"nodes": len(verified), "native": native, "differ": [row.name for row in wrong]}
        if wrong:
            raise AccuracyError(f"{wrong[0].name} ({wrong[0].op}): the kernel and its reference differ")

    def _input_lines(self) -> list[str]:
        rows = (self.feed[p.name].ravel()[:_SHOWN_INPUTS].tolist() for p in self.session.inputs)
        return [f"InData{i}: " + " ".join(f"{value:g}" for value in row) for i, row in enumerate(rows)]


def _save(options: BenchOptions, figures: dict[str, Any]) -> None:
    if options.report:
        from .report.save import save_document

        for path in options.report:
            save_document(path, figures, sources=filter(None, (options.model_file, *options.compare_report)))


if __name__ == "__main__":
    sys.exit(main())

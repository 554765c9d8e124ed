"""What the options change of a model: its ends before anything else, preprocessing and batch when it is ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..converter.ir import Graph
from .options.convert import ConvertOptions

_CHANGES = "cut", "remove_node", "remove_node_type", "pad_value", "add_output", "rename"  # in their order


def operate(graph: Graph, options: ConvertOptions) -> list[str]:
    """Changes the model that was read, in place: cuts, then removes nodes, adds outputs, and names ends. Returns a line
    per change. Raises UsageError where a name is none of the model's."""
    lines: list[str] = []
    if not any(getattr(options, name) for name in _CHANGES):
        return lines
    from ..converter.surgery.cut import add_outputs, cut, rename_ends
    from ..converter.surgery.padding import set_pad_values
    from ..converter.surgery.remove import remove_node_types, remove_nodes

    for name, change in zip(
        _CHANGES,
        (
            lambda: cut(graph, *options.cut),
            lambda: remove_nodes(graph, options.remove_node),
            lambda: remove_node_types(graph, options.remove_node_type),
            lambda: set_pad_values(graph, options.pad_value),
            lambda: add_outputs(graph, options.add_output),
            lambda: rename_ends(graph, options.rename),
        ),
    ):
        if getattr(options, name):
            with options.blame(name):
                lines += change()
    return lines


@contextmanager
def kept_apart(graph: Graph, options: ConvertOptions) -> Iterator[None]:
    """Passes that run inside merge nothing into the convolutions that `not_merge` names: what is an output stays."""
    if not options.not_merge:
        yield
        return
    from ..converter.surgery.find import tensor_named

    with options.blame("not_merge"):
        apart = [tensor_named(graph, name) for name in options.not_merge]
    ends, graph.outputs = graph.outputs, [*graph.outputs, *(t for t in apart if t not in graph.outputs)]
    yield
    graph.outputs = graph.outputs[: len(ends)]


def skipped_passes(options: ConvertOptions) -> list[str]:
    """The passes that are left out, by name."""
    return [*options.skip_pass, *([] if options.fold_concat_scale else ["fold_concat_scale"])]


def changes_inputs(options: ConvertOptions) -> bool:
    """Whether the written model takes something else than what calibration feeds."""
    return options.fuse_preprocess or options.input_batch is not None


def with_inputs(graph: Graph, options: ConvertOptions) -> tuple[Graph, list[str]]:
    """A copy as it is written: preprocessing inside, then the batch. Returns a line per input that takes pixels."""
    from ..converter.surgery.batch import change_batch, split_batch
    from ..converter.surgery.preprocess import put_preprocessing
    from .options.samples import image_spec, pixels

    graph, lines = graph.copy(), list[str]()
    if options.fuse_preprocess:
        with options.blame("fuse_preprocess"):
            lines += put_preprocessing(graph, image_spec(options), pixels(options), options.pixel_inputs)
    if options.input_batch is not None:
        with options.blame("input_batch"):
            change = split_batch if options.separate_batch else change_batch
            graph = change(graph, options.input_batch)
        shown = ", ".join(f"{t.name!r} {t.type_text()}" for t in graph.inputs)
        lines.append(f"batch of {options.input_batch}: {shown}")
    return graph, lines

"""Rounding and bias correction of all layers, in one walk along the quantized prefix."""

from __future__ import annotations

from collections.abc import Collection

from ...converter.ir import Node, Tensor
from ...converter.schema.logarithms import before_logarithms
from ..calibrate.observe import ChannelMeans
from ..calibrate.ranges import AS_READ, reach
from ..calibrate.spread import Chosen
from ..calibrate.thresholds import Range
from ..progress import Progress
from .bias_correction import correct, correct_lockstep
from .prefix_runner import QuantizedPrefixRunner
from .quality import measure
from .result import Result
from .rounding import REFITS, ROUNDED_BITS, refine
from .settings import Settings

# Of the scale at which a weight's own codes come nearest with pairs held: descent makes up for much of what is cut off,
# and for most of it at a scale that differs by channel.
WIDER = 1.0, 1.02, 1.04, 1.06, 1.08


def correct_layers(
    result: Result, samples: Chosen, settings: Settings, progress: Progress, means: ChannelMeans | None = None,
    searched: Collection[Node] = (),
) -> None:  # fmt: skip
    """Fits codes and biases of the result's layers to the samples, in place, and fills its figures of layers. means: of
    what layers give in float on these samples, where they are known. searched: layers that hold pairs, whose scales are
    looked for, too."""
    # What layers before have lost is noise where activations of 8 bits lose most of it, and else can be made up for.
    upstream = bool(settings.activation_bits) or min([settings.bits, *settings.layer_bits.values()]) < 8
    quantized, watched = result.quantized, settings.measure or settings.bias_correction == "lockstep" or upstream
    floats = quantized.weighted_layers | quantized.stored if watched else {}
    bounds = _bounds(result)
    runner = QuantizedPrefixRunner(
        result.source, quantized, samples, settings.workforce, floats=floats, results=settings.measure,
        means=None if bounds else means, bounds=bounds,
    )  # fmt: skip
    steps = iter(progress(range(len(runner.layers)), "correcting layers"))
    on_codes = result.quantized.weighted_layers
    left = before_logarithms(result.source)

    def improve(runner: QuantizedPrefixRunner, node: Node) -> None:
        next(steps, None)
        if settings.bias_correction == "sequential" and node not in left:
            if settings.round_by_output:
                quant = runner.layers[node].weight.quant
                pairs = bool(settings.pairs) and node in on_codes and quant is not None and quant.bits >= 8
                few = quant is not None and quant.bits < ROUNDED_BITS
                wider = WIDER if node in searched else ()
                refine(runner, node, pairs=pairs, wider=wider, refits=REFITS if few else 0, upstream=upstream)
            correct(runner, node)
        elif settings.bias_correction == "lockstep":
            correct_lockstep(runner, node)
        if settings.measure and node in on_codes:
            result.rows.append(measure(runner, node, lambda t: result.methods[result.groups.of[t].name]))

    runner.run(improve)
    next(steps, None)
    result.samples = len(samples)
    result.corrected = 0 if settings.bias_correction == "off" else len(on_codes)


def _bounds(result: Result) -> dict[Tensor, Range]:
    """What the codes stand for of outputs that have only those that their readers tell apart: a bias that made up for
    what lies beyond would move all that lies within."""
    found: dict[Tensor, Range] = {}
    for node in result.quantized.weighted_layers:
        t = node.outputs[0]
        group, codes = result.groups.of.get(t), result.quantized.quantized_of.get(t)
        if group is not None and codes is not None and result.methods[group.name] == AS_READ:
            found[t] = reach(codes.qparams)
    return found

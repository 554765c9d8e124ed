"""Size and quality of weight quantization at every width, beside the real MindSpore Lite converter.

    python benchmarks/eval_weights.py EVAL RUNNER [--models resnet8_cifar10.tflite …] [--bits 8 4 …] [--channels 16 0]

EVAL (or $BITLITE_EVAL) is the folder of evaluation models and images with its evalpack.py; RUNNER (or
$BITLITE_RUNNER) a command that runs `RUNNER convert SOURCE TARGET CONFIG` in the real converter and
`RUNNER run MODEL.ms IN.npz OUT.npz` in the real runtime. The same layers are quantized on both sides (the same gates,
no smallest size). Their files run through bitlite's Session after a few samples have shown that it computes what their
runtime does.

Prints, per model, channel gate and width: bytes, SQNR in dB and agreement with float in % of both, and "<" where
bitlite is behind; agreement with the standard error of the paired difference.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import bitlite
import numpy as np
from bitlite.converter.formats import read_model
from bitlite.tools.accuracy import cosine, sqnr

MODELS = ("resnet8_cifar10.tflite", "mobilenet_v2_1.0_224_tf.tflite", "squeezenet1.1.onnx", "ad01_fp32.tflite")
_CONFIG = """\
[common_quant_param]
quant_type=WEIGHT_QUANT
bit_num={bits}
min_quant_weight_size=0
min_quant_weight_channel={channel}
"""
_CHECKED = 2


class Side(NamedTuple):
    """One file: its size, quantized weights, and scores of every sample."""

    bytes: int
    layers: int
    scores: np.ndarray


def load_evalpack(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("evalpack", folder / "evalpack.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(pack: ModuleType, model: str, count: int) -> tuple[np.ndarray, bool]:
    """Inputs [n, …] as the .ms takes them, and whether the outputs are classes."""
    name = model.rpartition(".")[0]
    if name in pack.MODELS:
        data, _, how, _ = pack.MODELS[name]
        images = pack.images(data, "eval")[0]
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
        return pack.preprocess(images[chosen], how), True
    shape = bitlite.load(str(model_path(model))).inputs[0].shape
    assert shape is not None
    sizes = [d or 1 for d in shape[1:]]
    return np.random.default_rng(0).standard_normal((count, *sizes)).astype(np.float32), False


def model_path(model: str) -> Path:
    return EVAL / "models" / model


def scores(path: Path, x: np.ndarray) -> np.ndarray:
    """Output of every sample through bitlite's Session, [n, values]."""
    session = bitlite.load(str(path), shapes={0: (1, *x.shape[1:])})
    name, output = session.inputs[0].name, session.outputs[0].name
    return np.stack([session.run({name: sample[None]})[output].ravel() for sample in x])


def quantized(path: Path) -> int:
    return sum(t.quant is not None and t.dtype.kind in "iu" for t in read_model(str(path)).constants())


def ours(source: Path, folder: Path, bits: int, channel: int, x: np.ndarray) -> Side:
    path = folder / "ours.ms"
    options = {"quant_type": "WeightQuant", "bit_num": bits, "quant_weight_size": 0, "quant_weight_channel": channel}
    bitlite.convert(source, path, **options)
    return Side(path.stat().st_size, quantized(path), scores(path, x))


def theirs(runner: list[str], source: Path, folder: Path, bits: int, channel: int, x: np.ndarray) -> Side:
    config, path = folder / "theirs.cfg", folder / "theirs.ms"
    config.write_text(_CONFIG.format(bits=bits, channel=channel))
    _call([*runner, "convert", str(source), str(folder / "theirs"), str(config)])
    results = scores(path, x)
    np.savez(folder / "in.npz", in0=x[:_CHECKED, None])
    _call([*runner, "run", str(path), str(folder / "in.npz"), str(folder / "out.npz")])
    real = np.load(folder / "out.npz")["out0"].reshape(_CHECKED, -1)
    same = cosine(results[:_CHECKED], real)
    if same < 0.99999:
        raise RuntimeError(f"{source.name} at {bits} bits: the Session gives cosine {same:.6f} to their runtime")
    return Side(path.stat().st_size, quantized(path), results)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1])


def line(bits: int, mine: Side, real: Side, reference: np.ndarray, classes: bool) -> str:
    noise = [sqnr(reference, side.scores) for side in (mine, real)]
    text = f"{bits:4d}  {mine.bytes:>9,} {real.bytes:>9,} {mark(mine.bytes <= real.bytes)}"
    text += f"  {noise[0]:7.2f} {noise[1]:7.2f} {mark(round(noise[0], 2) >= round(noise[1], 2))}"
    if classes:
        same = [(side.scores.argmax(1) == reference.argmax(1)).astype(float) for side in (mine, real)]
        gap = same[0] - same[1]
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        text += f"  {100 * same[0].mean():6.2f} {100 * same[1].mean():6.2f} ± {100 * error:4.2f}"
        text += f" {mark(gap.mean() >= -error)}"
    return text + (f"  layers {mine.layers} / {real.layers}" if mine.layers != real.layers else "")


def mark(good: bool) -> str:
    return " " if good else "<"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", nargs="?", default=os.environ.get("BITLITE_EVAL"))
    parser.add_argument("runner", nargs="?", default=os.environ.get("BITLITE_RUNNER"))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--bits", nargs="+", type=int, default=list(range(1, 17)))
    parser.add_argument("--channels", nargs="+", type=int, default=[16, 0])
    parser.add_argument("--samples", type=int, default=200, help="of each model's evaluation data, spread evenly")
    args = parser.parse_args()
    if not args.eval or not args.runner:
        parser.error("the evaluation folder and the runner are needed")
    global EVAL
    EVAL = Path(args.eval)
    pack = load_evalpack(EVAL)
    behind = 0
    for model in args.models:
        x, classes = samples(pack, model, args.samples)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bitlite.convert(model_path(model), folder / "float.ms")
            reference = scores(folder / "float.ms", x)
            size = (folder / "float.ms").stat().st_size
            for channel in args.channels:
                print(f"\n{model}, channel gate {channel}, n={len(x)}, float {size:,} bytes")
                print("bits      bytes: ours, theirs    SQNR: ours, theirs" + "   agreement: ours, theirs" * classes)
                for bits in args.bits:
                    mine = ours(model_path(model), folder, bits, channel, x)
                    try:
                        real = theirs(args.runner.split(), model_path(model), folder, bits, channel, x)
                    except RuntimeError as error:
                        print(f"{bits:4d}  {mine.bytes:>9,}  theirs fails: {error}", flush=True)
                        continue
                    shown = line(bits, mine, real, reference, classes)
                    behind += "<" in shown
                    print(shown, flush=True)
    print(f"\n{behind} rows where bitlite is behind")
    return 0


EVAL = Path()

if __name__ == "__main__":
    sys.exit(main())

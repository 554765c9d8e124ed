"""PostTraining with AUTO on the models of `unseen_models.py`, beside other quantizers, as a markdown table.

    python benchmarks/ptq_unseen.py EVAL FOLDER --torch PYTHON [--peers PYTHON] [--models …]

EVAL (or $BITLITE_EVAL) is the folder of evaluation images with its evalpack.py; 100 images calibrate, 100 others are
evaluated, 64x64. --torch: an interpreter with torch and onnx, which builds the models in FOLDER; --peers: one with
onnxruntime and NNCF. Figures are SQNR of all outputs against float, in dB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bitlite
import numpy as np
from ptq_table import call, load_evalpack

HERE = Path(__file__).parent
PEERS = ("onnxruntime MinMax", "NNCF, full bias correction")


def images(pack: object, part: str) -> np.ndarray:
    from PIL import Image

    pictures = pack.images("imagenet", part)[0][:100]  # pyright: ignore[reportAttributeAccessIssue]
    small = [np.asarray(Image.fromarray(a).resize((64, 64), Image.Resampling.BILINEAR)) for a in pictures]
    return (np.stack(small).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    session = bitlite.load(str(path), threads=2)
    source, target = session.inputs[0], session.outputs[0].name
    if source.shape is not None and source.shape[-1] == 3:
        x = x.transpose(0, 2, 3, 1)
    return np.stack([session.run({source.name: np.ascontiguousarray(a[None])})[target].ravel() for a in x])


def sqnr(reference: np.ndarray, actual: np.ndarray) -> str:
    error = np.square(actual.astype(np.float64) - reference).sum()
    return f"{10 * np.log10(np.square(reference.astype(np.float64)).sum() / error):.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--torch", help="not needed when FOLDER holds the models")
    parser.add_argument("--peers")
    parser.add_argument("--models", nargs="+")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    pack = load_evalpack(Path(args.eval))
    calibration, evaluation = images(pack, "calib"), images(pack, "eval")
    given, fed, results = (args.folder / name for name in ("calibration.npy", "evaluation.npy", "found.npy"))
    np.save(given, calibration)
    np.save(fed, evaluation)
    if args.torch:
        call([args.torch, str(HERE / "unseen_models.py"), str(given), str(args.folder), *(args.models or [])])
    methods = PEERS if args.peers else ()
    print("| | on codes | AUTO | " + " | ".join(methods) + " |\n" + "|---" * (3 + len(methods)) + "|")
    for source in sorted(args.folder.glob("*.onnx")):
        if (args.models and source.stem not in args.models) or source.stem == "peer":
            continue
        reference = outputs(source, evaluation)
        target, options = args.folder / "int8" / source.name, {"quant_type": "PostTraining", "output_format": "ONNX"}
        target.parent.mkdir(exist_ok=True)
        report = bitlite.convert(source, target, calibration_data=calibration, **options)
        where = next(line for line in report.notes if "compute on int8" in line).partition(" operators")[0]
        cells = [source.stem, where, sqnr(reference, outputs(target, evaluation))]
        for method in methods:
            path, run = str(args.folder / "peer.onnx"), [args.peers, str(HERE / "ptq_peers.py")]
            try:
                call([*run, method, str(source), str(given), path])
                call([*run, "run", path, str(fed), str(results)])
                cells.append(sqnr(reference, np.load(results)))
            except RuntimeError:
                cells.append("fails")
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

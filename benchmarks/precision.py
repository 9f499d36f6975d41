"""What the precision of the weights and the runtime are worth on a processor: AST-base, one window.

    python benchmarks/precision.py [--audio DIR] [--rounds N] [--threads N] [--layers N]

An AST of the published size with random weights goes through the exporter as fp32 and as int8. Both
are timed in turns with PyTorch (eager: not compiled) and with transformers' own pipeline, which
also computes the features, on the same recordings from DIR or, without any, on noise. The figures
that count are the ratios.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from models import ast_base
from report import report

from detector.inference.decoding import activate
from detector.records import SAMPLE_RATE
from export.checkpoints.checkpoint import load_checkpoint
from export.checkpoints.layout import lay_out
from export.checkpoints.network import Classifier
from export.graphs.graph import export_graph
from export.graphs.precision import Precision, to_precision
from export.parity.parity import sounds_to_compare
from export.parity.recordings import read_sounds

WINDOWS = 8


def median_ms(
    ways: dict[str, Callable[[int], object]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Milliseconds, and CPU milliseconds, that each way takes, timed in turns."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way(turn)
            passed = (time.perf_counter() - wall, time.process_time() - processor)
            if turn:  # the first warms up
                spent[name].append(passed)
    return {
        name: (
            1e3 * statistics.median(w for w, _ in all_),
            1e3 * statistics.median(c for _, c in all_),
        )
        for name, all_ in spent.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments)


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(str(ast_base(folder, arguments.layers)), "clip")
    layout = lay_out(checkpoint)
    plain = folder / "plain.onnx"
    export_graph(
        Classifier(checkpoint).eval(), torch.zeros(2, *layout.shape), plain, outputs=("clip",)
    )

    def session(precision: Precision) -> onnxruntime.InferenceSession:
        path = folder / f"{precision}.onnx"
        shutil.copyfile(plain, path)
        to_precision(path, precision, layers=arguments.layers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    samples = layout.window.samples
    heard = sounds_to_compare(samples)
    if arguments.audio:
        heard = read_sounds(arguments.audio, WINDOWS, samples)[1]
    windows = checkpoint.features.reference(heard)
    fp32, int8 = session("fp32"), session("int8")
    pipeline = transformers.pipeline(
        "audio-classification",
        model=checkpoint.model,
        feature_extractor=transformers.ASTFeatureExtractor(),
    )

    def in_torch(attention: str) -> Callable[[int], object]:
        def run(turn: int) -> object:
            checkpoint.model.set_attn_implementation(attention)
            with torch.no_grad():
                return checkpoint.model(windows[turn % len(heard)][None]).logits

        return run

    def in_onnx(of: onnxruntime.InferenceSession) -> Callable[[int], object]:
        return lambda turn: of.run(None, {"input": windows[turn % len(heard)][None].numpy()})

    def in_pipeline(turn: int) -> object:
        checkpoint.model.set_attn_implementation("sdpa")  # transformers' default
        return pipeline({"raw": heard[turn % len(heard)], "sampling_rate": SAMPLE_RATE})

    names = ("int8", "fp32", "PyTorch eager", "PyTorch eager, sdpa", "pipeline")
    ways = (in_onnx(int8), in_onnx(fp32), in_torch("eager"), in_torch("sdpa"), in_pipeline)
    taken = median_ms(dict(zip(names, ways, strict=True)), arguments.rounds)
    exact, rough = (
        np.concatenate([of.run(None, {"input": w[None].numpy()})[0] for w in windows])
        for of in (fp32, int8)
    )
    apart = np.abs(activate(exact, "sigmoid") - activate(rough, "sigmoid"))

    def ratio(slow: str, fast: str) -> float:
        return taken[slow][0] / taken[fast][0]

    report(
        "precision",
        " ".join(["python", "benchmarks/precision.py", *sys.argv[1:]]),
        [
            *((f"{name}, a window", taken[name][0], "ms", "") for name in names),
            *((f"{name}, a window, CPU", taken[name][1], "CPU ms", "") for name in names),
            ("int8 faster than fp32", ratio("fp32", "int8"), "x", ">= 1.7"),
            ("fp32 faster than PyTorch eager", ratio("PyTorch eager", "fp32"), "x", ">= 1.5"),
            ("fp32 faster than PyTorch sdpa", ratio("PyTorch eager, sdpa", "fp32"), "x", ""),
            ("fp32 faster than the pipeline", ratio("pipeline", "fp32"), "x", ""),
            ("int8 faster than the pipeline", ratio("pipeline", "int8"), "x", ""),
            ("int8 |dp|, largest", float(apart.max()), "", ""),
            ("int8 |dp|, mean", float(apart.mean()), "", ""),
            ("int8 |d logit|, largest", float(np.abs(exact - rough).max()), "", ""),
            ("standard deviation of logits", float(exact.std()), "", ""),
        ],
    )


if __name__ == "__main__":
    main()

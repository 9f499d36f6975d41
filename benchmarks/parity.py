"""How near exported models of published sizes come to PyTorch, in every precision.

    python benchmarks/parity.py [--audio DIR] [--layers N]

AST-base, wav2vec2-base and HuBERT-base with random weights go through the exporter; then the
detector hears noise and tones, and recordings from DIR, through its own features, and transformers
through its own. Everything runs on the processor, which computes fp16 in fp32: what halves cost in
weights and between layers shows, what they cost in sums on an accelerator does not.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from models import ast_base, hubert_base, wav2vec2_base
from report import report

from detector.inference.bundle import Bundle
from detector.inference.session import Session
from detector.records import FloatArray
from export.bundle import describe_graph
from export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from export.checkpoints.layout import lay_out
from export.checkpoints.network import Classifier
from export.checkpoints.tasks import Task
from export.commands.inspect import graph_facts
from export.convert import ExportOptions, export_checkpoint
from export.graphs.attention import attention_layers
from export.graphs.graph import export_graph
from export.graphs.precision import PARITY_LIMITS, Precision, to_precision
from export.parity.agreement import compare
from export.parity.parity import sounds_to_compare
from export.parity.recordings import read_sounds

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
SOUNDS = 5
THOUSANDTHS = "thousandths"
MODELS: dict[str, tuple[Callable[[Path, int], Path], Task]] = {
    "AST-base": (ast_base, "clip"),
    "wav2vec2-base": (wav2vec2_base, "frames"),
    "HuBERT-base": (hubert_base, "clip"),
}

Row = tuple[str, float, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, metavar="DIR")
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name, (make, task) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            saved = make(Path(folder), arguments.layers)
            rows += measure(name, saved, task, arguments.audio)
    report("parity", " ".join(["python", "benchmarks/parity.py", *sys.argv[1:]]), rows)


def measure(name: str, saved: Path, task: Task, audio: Path | None) -> list[Row]:
    checkpoint = load_checkpoint(str(saved), task)
    exported = saved.with_name("fp32")
    began = time.perf_counter()
    spec = export_checkpoint(checkpoint, exported, ExportOptions())
    rows: list[Row] = [(f"{name}, export", time.perf_counter() - began, "s", "")]
    # The exporter refuses what goes beyond a limit; here it is measured, so its steps are taken.
    plain = saved.with_name("plain.onnx")
    example = torch.zeros(2, *lay_out(checkpoint).shape)
    export_graph(
        Classifier(checkpoint).eval(),
        example,
        plain,
        outputs=("clip" if spec.outputs.clip else "frames",),
    )
    sounds = {"made": sounds_to_compare(spec.window.samples)}
    if audio:
        sounds["real"] = read_sounds(audio, SOUNDS, spec.window.samples)[1]
    for precision in PRECISIONS:
        folder = saved.with_name(precision)
        folder.mkdir(exist_ok=True)
        graph = folder / spec.onnx.file
        if precision != "fp32":
            shutil.copyfile(plain, graph)
            to_precision(graph, precision, layers=attention_layers(checkpoint.config))
        bundle = Bundle(folder, spec.model_copy(update={"onnx": describe_graph(graph, precision)}))
        rows += _rows(f"{name} {precision}", bundle, checkpoint, sounds)
    return rows


def _rows(
    what: str, bundle: Bundle, checkpoint: Checkpoint, sounds: dict[str, FloatArray]
) -> list[Row]:
    session = Session(bundle, "cpu", threads=2)
    limit = PARITY_LIMITS[bundle.spec.onnx.precision]
    target = f"<= {1e3 * limit:g}" if np.isfinite(limit) else "reported"
    rows: list[Row] = []
    for kind, of in sounds.items():
        found = compare(session, checkpoint, of, kind)
        worst = max(row.max_difference for row in found)
        mean = max(row.mean_difference for row in found)
        rows += [
            (f"{what}, {kind} sounds, max |dp|", 1e3 * worst, THOUSANDTHS, target),
            (f"{what}, {kind} sounds, mean |dp|", 1e3 * mean, THOUSANDTHS, ""),
            (f"{what}, {kind} sounds, same top", min(row.same_top for row in found), "of 1", ""),
        ]
    facts = graph_facts(bundle)
    rows.append((f"{what}, fused attention", facts["fused_attention"], "nodes", ""))
    rows.append((f"{what}, file", facts["bytes"] / 1e6, "MB", ""))
    return rows


if __name__ == "__main__":
    main()

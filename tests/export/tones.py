"""Recordings that are easy to tell apart, and a small base that can."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import soundfile
from onnx import TensorProto, helper, numpy_helper

from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank
from tests.bundles import IR_VERSION, OPSET, write_bundle

HZ = {"low": 300.0, "middle": 1000.0, "high": 3500.0}
DIM = 24
STEPS = 32
STEP_SAMPLES = 1280
ROWS = STEPS * STEP_SAMPLES // Fbank().shift_samples
WINDOW = 40_960
"""2.56 s."""


def tone(hz: float, seconds: float, seed: int = 0, rate: int = SAMPLE_RATE) -> FloatArray:
    """(n,) a wavering tone in a little noise, differing with the seed."""
    rng = np.random.default_rng((round(hz), seed))
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * hz * rng.uniform(0.95, 1.05) * time
    wave = np.sin(phase + 0.3 * np.sin(2 * np.pi * rng.uniform(3, 7) * time))
    noise = 1e-3 * rng.standard_normal(len(time))
    return np.asarray(rng.uniform(0.05, 0.3) * wave + noise, np.float32)


def hiss(seconds: float, seed: int = 0) -> FloatArray:
    """(n,) what holds no tone."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-3, -1.5)
    return np.asarray(level * rng.standard_normal(round(seconds * SAMPLE_RATE)), np.float32)


def write(path: Path, samples: FloatArray, rate: int = SAMPLE_RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def tone_folders(
    folder: Path,
    labels: Sequence[str] = tuple(HZ),
    each: int = 10,
    background: int = 0,
    first: int = 0,
) -> Path:
    """Write a folder of recordings for each label, of 0.6 to 3 s each."""
    for label in labels:
        for i in range(first, first + each):
            seconds = 0.6 + 2.4 * (i % 10) / 10
            write(folder / label / f"{label}-{i}.wav", tone(HZ[label], seconds, i))
    for i in range(background):
        write(folder / "background" / f"hiss-{i}.wav", hiss(6.0, i))
    return folder


def tone_table(folder: Path, files: int = 8) -> Path:
    """Write recordings of 6 s in which two tones sound, and the table that says when."""
    rows = []
    for i in range(files):
        rng = np.random.default_rng(i)
        samples = hiss(6.0, 100 + i) * 0.1
        for label, begin in (("low", 0.5), ("high", 3.5)):
            onset, length = begin + rng.uniform(0, 0.8), rng.uniform(0.6, 1.2)
            first = round(onset * SAMPLE_RATE)
            sound = tone(HZ[label], length, i)
            samples[first : first + len(sound)] += sound
            rows.append((f"{i}.wav", f"{onset:.3f}", f"{onset + length:.3f}", label))
        write(folder / f"{i}.wav", samples)
    return write_table(folder / "labels.csv", rows)


def write_table(
    path: Path,
    rows: Iterable[Sequence[object]],
    header: Sequence[str] = ("filename", "onset", "offset", "label"),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def small_base(folder: Path, *, pooled: str = "attention") -> Path:
    """A bundle whose hidden states, one every 80 ms, are random features of the spectrogram.

    `pooled` says how its own two labels come of them: attention, mean, or last (a layer over one
    state for the whole window).
    """
    rng = np.random.default_rng(1)
    bins, each = Fbank().mel_bins, ROWS // STEPS

    def matrix(rows: int, columns: int) -> FloatArray:
        return np.asarray(rng.standard_normal((rows, columns)) / np.sqrt(rows), np.float32)

    constants = {
        "shape": np.array([0, STEPS, each * bins]),
        "project": matrix(each * bins, DIM) * 3,
        "axis": np.array([1]),
        "attend": matrix(DIM, 2),
        "classify": matrix(DIM, 2),
        "bias": matrix(1, 2)[0],
    }
    node = helper.make_node
    nodes = [
        node("Reshape", ["input", "shape"], ["cut"]),
        node("MatMul", ["cut", "project"], ["projected"]),
        node("Relu", ["projected"], ["states"]),
    ]
    match pooled:
        case "attention":
            nodes += [
                node("MatMul", ["states", "attend"], ["attended"]),
                node("Softmax", ["attended"], ["weights"], axis=1),
                node("MatMul", ["states", "classify"], ["product"]),
                node("Add", ["product", "bias"], ["each"]),
                node("Mul", ["weights", "each"], ["weighted"]),
                node("ReduceSum", ["weighted", "axis"], ["clip"], keepdims=0),
            ]
        case "mean":
            nodes += [
                node("MatMul", ["states", "classify"], ["each"]),
                node("ReduceMean", ["each"], ["clip"], axes=[1], keepdims=0),
            ]
        case "last":
            nodes += [
                node("ReduceMax", ["states"], ["most"], axes=[1], keepdims=0),
                node("Gemm", ["most", "classify", "bias"], ["clip"]),
            ]
        case _:
            nodes += [node("ReduceMax", ["states"], ["clip"], axes=[1], keepdims=0)]
    used = {name for n in nodes for name in n.input}
    labels = DIM if pooled == "none" else 2
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", ROWS, bins])],
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(v, name) for name, v in constants.items() if name in used],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return write_bundle(
        folder,
        model,
        {
            "name": "small",
            "frontend": Fbank().model_dump(),
            "window": {"samples": WINDOW, "hop_samples": 8000},
            "input": {"name": "input", "shape": ["batch", ROWS, bins]},
            "outputs": {"clip": {"name": "clip", "activation": "sigmoid"}},
            "decoding": "multilabel",
            "labels": [{"slug": f"old_{i}", "name": "Old"} for i in range(labels)],
        },
    )

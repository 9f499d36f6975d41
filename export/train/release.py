"""From the trained network to the bundle `sounds`."""

import csv
import functools
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import (
    BundleSpec,
    ClipOutput,
    FramesOutput,
    Input,
    Label,
    Origin,
    Outputs,
    WindowSpec,
)
from export.bundle import build_spec, describe_graph, write_bundle
from export.graphs.graph import export_graph
from export.graphs.int8 import to_static_int8
from export.graphs.precision import to_precision
from export.parity.parity import compare
from export.parity.scores import activate
from export.train.augment import FRAME, FRAMES
from export.train.calibrate import Calibration, calibrate, starting
from export.train.data import (
    BEEP,
    FBANK,
    HELD_OUT,
    MONOXIDE,
    SMOKE,
    Row,
    label_slugs,
    read,
    training_rows,
)
from export.train.evaluate import measure, window
from export.train.model import Sounds

VERSION = "3"
WINDOW = WindowSpec(samples=81_920, hop_samples=8_000)
_SHIFT = FBANK.shift_samples
OUTPUTS = Outputs(
    clip=ClipOutput(name="clip", activation="sigmoid"),
    frames=FramesOutput(
        name="frames",
        activation="sigmoid",
        hop_samples=FRAME * _SHIFT,
        # The middle of a frame of the answer is the middle of its rows, which overlap.
        offset_samples=(FBANK.frame_samples - _SHIFT) // 2,
    ),
)
NAMES = {SMOKE: "Smoke alarm", MONOXIDE: "Carbon monoxide alarm"}
POOR = {"rain", "wind", "washing_machine"}
"""Labels that ship disabled: benchmarks/false_alarms.py found them in other steady noise."""
COUNTED = {BEEP: (0.8, 0.65)}
"""Labels that are for patterns to count, and no events unless they are enabled; with thresholds
near one another, so that a room does not join one beep to the next."""
MERGE_GAP_S = 1.0
"""Of a label that is an event; beeps are counted one by one."""
SCALES = 300
"""Training recordings on which the scales of the integers are measured."""

ATTRIBUTION = (
    "Weights: Apache-2.0. Trained on clips of ESC-50 (K. J. Piczak, ESC: Dataset for "
    "Environmental Sound Classification, ACM Multimedia 2015, doi 10.1145/2733373.2806390), of "
    "which only those under CC0 or CC-BY on Freesound were used; on utterances of the Mycroft "
    "Precise community data (public domain) and of Picovoice's wake-word benchmark (Apache-2.0); "
    "on backgrounds of Google's Speech Commands (CC BY 4.0) and Freesound; and on synthesised "
    "alarms. Each recording is listed in ATTRIBUTION.csv."
)
TAUGHT = (
    " YAMNet (Google, Apache-2.0) taught: its scores of the training recordings were soft targets "
    "of a second head, which is not part of the bundle."
)


def release(model: Sounds, data: Path, folder: Path, work: Path, *, taught: bool) -> BundleSpec:
    """Export `model` in int8, hold it against PyTorch, calibrate it, and write the bundle `folder`.

    Beside the bundle's files, its fp32 graph is left in `work`.
    """
    slugs = label_slugs(data)
    exact, graph = work / "fp32.onnx", work / "model.onnx"
    shape = model.shape
    example = torch.zeros(2, shape.frames, shape.mel_bins)
    export_graph(model, example, exact, outputs=("clip", "frames"))
    to_precision(exact, "fp32", layers=0)  # takes out what the exporter says of this machine
    windows = _windows(data)
    parity = compare(model, exact, _batches(windows), "sigmoid")
    shutil.copyfile(exact, graph)
    to_static_int8(graph, windows)
    spec = build_spec(
        name=folder.name,
        version=VERSION,
        licence="Apache-2.0",
        attribution=ATTRIBUTION + (TAUGHT if taught else ""),
        source=Origin(
            checkpoint="trained from scratch by python -m export.train",
            architecture="convolutional stem and audio spectrogram transformer",
        ),
        onnx=describe_graph(graph, "int8"),
        frontend=FBANK,
        window=WINDOW,
        graph_input=Input(name="input", shape=("batch", FRAMES, FBANK.mel_bins)),
        outputs=OUTPUTS,
        decoding="multilabel",
        labels=[starting(_label(slug)) for slug in slugs],
        parity=parity.as_json() | {"int8": _cost(exact, graph, windows)},
    )
    write_bundle(work / "provisional" / spec.name, graph, spec)
    found = calibrate(work / "provisional" / spec.name, data, work)
    spec = spec.model_copy(
        update={
            "labels": tuple(_calibrated(label, found[label.slug]) for label in spec.labels),
            "metrics": _metrics(graph, data, slugs),
        }
    )
    write_bundle(folder, graph, spec, {"ATTRIBUTION.csv": attribution(training_rows(data))})
    return spec


def attribution(rows: list[Row]) -> str:
    """CSV: every recording that trained, where it comes from and under which licence."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("filename", "source", "url", "licence"))
    for row in rows:
        url = f"https://freesound.org/s/{row.source}/" if row.fold else ""
        table.writerow((row.path.name, row.source, url, row.licence))
    return text.getvalue()


def _label(slug: str) -> Label:
    return Label(
        slug=slug,
        name=NAMES.get(slug, slug.replace("_", " ").capitalize()),
        merge_gap_s=0.0 if slug in COUNTED else MERGE_GAP_S,
    )


def _calibrated(label: Label, found: Calibration) -> Label:
    onset, offset = COUNTED.get(label.slug, (found.onset, found.offset))
    enabled = found.enabled and label.slug not in POOR | {*COUNTED}
    return label.model_copy(
        update={"onset_threshold": onset, "offset_threshold": offset, "enabled": enabled}
    )


def _metrics(graph: Path, data: Path, slugs: tuple[str, ...]) -> dict[str, object]:
    rows = training_rows(data)
    return measure(graph, data, slugs) | {
        "measured": datetime.now(UTC).date().isoformat(),
        "trained_on": f"{sum(bool(row.fold) for row in rows)} clips of ESC-50 folds 1-4, "
        f"{len(rows)} recordings in all",
        "held_out_fold": HELD_OUT,
    }


def _windows(data: Path) -> FloatArray:
    """(n, FRAMES, mel_bins): some of the training recordings, and noise of any loudness."""
    rows = training_rows(data)
    clips = [_window(read(row.path)) for row in rows[:: max(1, len(rows) // SCALES)]]
    rng = np.random.default_rng(0)
    noise = [
        _window((level * rng.standard_normal(WINDOW.samples)).astype(np.float32))
        for level in (0, 1e-4, 1e-2, 1, 10)
    ]
    return np.stack(noise + clips)


def _batches(windows: FloatArray) -> list[FloatArray]:
    """One and five at a time."""
    return [windows[:5], windows[5:10], *windows[10:40:3, None]]


def _cost(exact: Path, reduced: Path, windows: FloatArray) -> dict[str, float]:
    """How far the reduced graph's probabilities lie from those of the exact one."""
    apart = [
        np.abs(activate(a, "sigmoid") - activate(b, "sigmoid")).ravel()
        for window_ in windows
        for a, b in zip(*(_answers(path, window_[None]) for path in (exact, reduced)), strict=True)
    ]
    every = np.concatenate(apart)
    return {
        "max_probability_difference": round(float(every.max()), 4),
        "mean_probability_difference": round(float(every.mean()), 6),
    }


@functools.cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _answers(path: Path, batch: FloatArray) -> list[FloatArray]:
    answers: list[FloatArray] = _session(path).run(None, {"input": batch})
    return answers


def _window(samples: FloatArray) -> FloatArray:
    return window(LogMel(FBANK, SAMPLE_RATE).push(samples))

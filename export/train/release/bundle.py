"""From the trained network to the bundle `sounds`."""

import csv
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from detector.records import FloatArray
from detector.spec import (
    BundleSpec,
    ClipOutput,
    FramesOutput,
    Input,
    Label,
    LogMelSpec,
    Origin,
    Outputs,
    WindowSpec,
)
from export.bundle import describe, write_bundle
from export.graphs.graph import export_graph
from export.graphs.int8 import to_static_int8
from export.graphs.precision import to_precision
from export.heads.graph.surgery import HIDDEN
from export.parity.parity import compare, probabilities
from export.train.data.augment import FRAMES
from export.train.data.log_mel import BINS, FFT, FRAME, HIGH_HZ, LOW_HZ, OFFSET, SHIFT, log_mel
from export.train.data.recordings import (
    BEEP,
    CHIRP,
    HELD_OUT,
    MONOXIDE,
    SMOKE,
    Row,
    label_slugs,
    read,
    rendered_music,
    training_rows,
)
from export.train.network.fusion import Fused, Weighing, audioset_classes
from export.train.network.sounds import FRAME as ANSWER
from export.train.network.sounds import Sounds, View
from export.train.network.yamnet import Weights
from export.train.release.calibrate import Calibration, calibrate, starting
from export.train.release.evaluate import measure, window

VERSION = "4"
WINDOW = WindowSpec(samples=81_920, hop_samples=8_000)
FRONTEND = LogMelSpec(
    frame_samples=FRAME,
    shift_samples=SHIFT,
    fft_size=FFT,
    mel_bins=BINS,
    low_hz=LOW_HZ,
    high_hz=HIGH_HZ,
    spectrum="magnitude",
    slopes="mel",
    log_offset=OFFSET,
    log_floor=0.0,
)
OUTPUTS = Outputs(
    clip=ClipOutput(name="clip", activation="sigmoid"),
    frames=FramesOutput(
        name="frames",
        activation="sigmoid",
        hop_samples=ANSWER * SHIFT,
        # The middle of a frame of the answer is the middle of its rows, which overlap.
        offset_samples=(FRAME - SHIFT) // 2,
    ),
)
CLIP = Weighing(tuned=0.3, view=0.2, classes=0.5)
TIMES = Weighing(tuned=0.5, view=0.0, classes=0.5)
"""Chosen on the recordings that choose thresholds."""
NAMES = {SMOKE: "Smoke alarm", MONOXIDE: "Carbon monoxide alarm", CHIRP: "Low-battery chirp"}
POOR = {"rain", "wind", "washing_machine"}
"""Labels that ship disabled: benchmarks/false_alarms.py found them in other steady noise."""
COUNTED = {BEEP: (0.8, 0.65)}
"""Labels that are for patterns to count, and no events unless they are enabled; with thresholds
near one another, so that a room does not join one beep to the next."""
MERGE_GAP_S = 1.0
"""Of a label that is an event; beeps are counted one by one."""
SCALES = 60
"""Training recordings on which the scales of the integers are measured."""

ATTRIBUTION = (
    "Weights: Apache-2.0. YAMNet (Google, Apache-2.0), whose convolutions it begins with and "
    "whose own opinion it contains. Trained on clips of ESC-50 (K. J. Piczak, ESC: Dataset for "
    "Environmental Sound Classification, ACM Multimedia 2015, doi 10.1145/2733373.2806390), of "
    "which only those under CC0 or CC-BY on Freesound were used; on utterances of the Mycroft "
    "Precise community data (public domain) and of Picovoice's wake-word benchmark (Apache-2.0); "
    "on backgrounds of Google's Speech Commands (CC BY 4.0) and Freesound; on excerpts of music, "
    "voices and rooms under CC0, CC BY, Apache-2.0 or in the public domain; and on synthesised "
    "alarms, noises and music (FluidR3, MIT). Each recording is listed in ATTRIBUTION.csv."
)


def all_slugs(data: Path) -> tuple[str, ...]:
    """The labels that were trained, then those that YAMNet alone hears."""
    trained = label_slugs(data)
    return trained + tuple(slug for slug in audioset_classes() if slug not in trained)


def fuse(sounds: Sounds, view: View, weights: Weights, data: Path) -> Fused:
    """The whole network, as it ships."""
    slugs, classes = all_slugs(data), audioset_classes()
    return Fused(weights, sounds, view, slugs, classes, CLIP, TIMES).eval()


def release(model: Fused, data: Path, music: Path | None, folder: Path, work: Path) -> BundleSpec:
    """Export in int8, hold it against PyTorch, calibrate it, and write the bundle `folder`.

    Beside the bundle's files, its fp32 graph is left in `work`.

    Args:
        model: as `fuse` made it.
        data: the recordings.
        music: what was rendered, if it trained.
        folder: the bundle's; its name is the bundle's.
        work: for what comes before it.
    """
    slugs = all_slugs(data)
    exact, graph = work / "fp32.onnx", work / "model.onnx"
    export_graph(model, torch.zeros(2, FRAMES, BINS), exact, outputs=("clip", "frames"))
    to_precision(exact, "fp32", layers=0)  # takes out what the exporter says of this machine
    _name_hidden(exact, model.sounds)
    windows = _windows(data)
    parity = compare(model, exact, _batches(windows), "sigmoid")
    shutil.copyfile(exact, graph)
    to_static_int8(graph, windows, depthwise=True)
    spec = BundleSpec(
        name=folder.name,
        version=VERSION,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence="Apache-2.0",
        attribution=ATTRIBUTION,
        source=Origin(
            checkpoint="YAMNet, fine-tuned by python -m export.train",
            architecture="MobileNet v1 with heads for the window and its frames, beside YAMNet",
        ),
        onnx=describe(graph, "int8"),
        frontend=FRONTEND,
        window=WINDOW,
        input=Input(name="input", shape=("batch", FRAMES, BINS)),
        outputs=OUTPUTS,
        decoding="multilabel",
        labels=tuple(starting(_label(slug)) for slug in slugs),
        parity=parity.as_json() | {"int8": _cost(exact, graph, windows)},
    )
    write_bundle(work / "provisional" / spec.name, graph, spec)
    found = calibrate(work / "provisional" / spec.name, data)
    spec = spec.model_copy(
        update={
            "labels": tuple(_calibrated(label, found[label.slug]) for label in spec.labels),
            "metrics": _metrics(graph, data, slugs),
        }
    )
    write_bundle(
        folder,
        graph,
        spec,
        {"ATTRIBUTION.csv": attribution([*training_rows(data), *rendered_music(music)])},
    )
    return spec


def _name_hidden(path: Path, sounds: Sounds) -> None:
    """Call what the trained head of the window is given by the name at which `head` cuts."""
    model = onnx.load(path)
    shape = [sounds.clip.classify.in_features, sounds.clip.classify.out_features]
    heads = {tensor.name for tensor in model.graph.initializer if list(tensor.dims) == shape}
    given = [node.input[0] for node in model.graph.node if heads & {*node.input[1:]}]
    hidden = max(set(given), key=given.count)  # of two layers, the third has its mean
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == hidden:
                    names[place] = HIDDEN
    onnx.save(model, path)


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
    sessions = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (exact, reduced)
    ]
    apart = [
        np.abs(probabilities(a, "sigmoid") - probabilities(b, "sigmoid")).ravel()
        for each in windows
        for a, b in zip(*(x.run(None, {"input": each[None]}) for x in sessions), strict=True)
    ]
    every = np.concatenate(apart)
    return {
        "max_probability_difference": round(float(every.max()), 4),
        "mean_probability_difference": round(float(every.mean()), 6),
    }


def _window(samples: FloatArray) -> FloatArray:
    return window(log_mel(samples))

"""From the trained network to the bundle `sounds`."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
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
from export.bundle import describe, write_bundle
from export.graph import export_graph
from export.parity import Parity, compare
from export.precision import to_precision
from export.train.augment import FRAME, FRAMES
from export.train.data import FBANK, HELD_OUT, Row, label_slugs, read, training_rows
from export.train.evaluate import measure, window
from export.train.model import Sounds

VERSION = "2"
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
THRESHOLDS = (0.7, 0.4)
"""Onset and offset of every label but those below."""
STRICTER = {"rain": (0.9, 0.6)}
"""White noise as loud as a shower is heard as rain, by people too."""
MERGE_GAP_S = 1.0

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
    """Export `model`, hold it against PyTorch, measure it and write the bundle `folder`."""
    slugs = label_slugs(data)
    graph = work / "model.onnx"
    shape = model.shape
    example = torch.zeros(2, shape.frames, shape.mel_bins)
    export_graph(model, example, graph, outputs=("clip", "frames"))
    to_precision(graph, "fp32", layers=0)  # takes out what the exporter says of this machine
    spec = BundleSpec(
        name=folder.name,
        version=VERSION,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence="Apache-2.0",
        attribution=ATTRIBUTION + (TAUGHT if taught else ""),
        source=Origin(
            checkpoint="trained from scratch by python -m export.train",
            architecture="convolutional stem and audio spectrogram transformer",
        ),
        onnx=describe(graph),
        frontend=FBANK,
        window=WINDOW,
        input=Input(name="input", shape=("batch", FRAMES, FBANK.mel_bins)),
        outputs=OUTPUTS,
        decoding="multilabel",
        labels=tuple(_label(slug) for slug in slugs),
        metrics=_metrics(graph, data, slugs),
        parity=_parity(model, graph, data).as_json(),
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
    onset, offset = STRICTER.get(slug, THRESHOLDS)
    return Label(
        slug=slug,
        name=slug.replace("_", " ").capitalize(),
        onset_threshold=onset,
        offset_threshold=offset,
        merge_gap_s=MERGE_GAP_S,
    )


def _metrics(graph: Path, data: Path, slugs: tuple[str, ...]) -> dict[str, object]:
    rows = training_rows(data)
    return measure(graph, data, slugs) | {
        "measured": datetime.now(UTC).date().isoformat(),
        "trained_on": f"{sum(bool(row.fold) for row in rows)} clips of ESC-50 folds 1-4, "
        f"{len(rows)} recordings in all",
        "held_out_fold": HELD_OUT,
    }


def _parity(model: Sounds, graph: Path, data: Path) -> Parity:
    """On recordings and on noise of any loudness, one and five at a time."""
    clips = np.stack([_window(read(row.path)) for row in training_rows(data)[::120]])
    rng = np.random.default_rng(0)
    noise = [
        _window((level * rng.standard_normal(WINDOW.samples)).astype(np.float32))
        for level in (0, 1e-4, 1e-2, 1, 10)
    ]
    batches = [clips[:5], clips[5:10], np.stack(noise), *(clip[None] for clip in clips[10:])]
    return compare(model, graph, batches, "sigmoid")


def _window(samples: FloatArray) -> FloatArray:
    return window(LogMel(FBANK, SAMPLE_RATE).push(samples))

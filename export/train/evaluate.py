"""Measures a bundle on held-out recordings: `python -m export.train.evaluate --data DIR`."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from detector.features.fbank import LogMel
from detector.inference.bundle import load_bundle
from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, Event, FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from export.parity.scores import activate
from export.train.augment import FRAMES, HEARD, active_frames
from export.train.data import (
    FBANK,
    FREE,
    HELD_OUT,
    Row,
    esc50,
    power_mel,
    read,
    speech,
)

LEAD = (1e-3 * np.random.default_rng(5).standard_normal(6 * SAMPLE_RATE)).astype(np.float32)
"""What a quiet room sounds like before something happens: noise at -60 dBFS."""


class Listener:
    """A bundle's graph behind the detector's own front end."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def scores(self, windows: FloatArray) -> FloatArray:
        """(batch, FRAMES, mel_bins) to (batch, labels), 0..1."""
        return activate(self._session.run(["clip"], {"input": windows})[0], "sigmoid")

    def clip(self, samples: FloatArray) -> FloatArray:
        """(labels,): the scores of the recording's first window."""
        scores: FloatArray = self.scores(window(LogMel(FBANK, SAMPLE_RATE).push(samples))[None])[0]
        return scores


def window(log_mel: FloatArray) -> FloatArray:
    """(FRAMES, mel_bins): the first frames of (t, mel_bins), padded as the extractor pads."""
    rows = np.full((FRAMES, log_mel.shape[1]), FBANK.padding, np.float32)
    seen = log_mel[:HEARD]
    rows[: len(seen)] = seen
    return rows


def best(scores: FloatArray, slugs: Sequence[str], among: Sequence[str]) -> str:
    """Which of the labels `among` has the highest of the scores (labels,)."""
    return max(among, key=lambda slug: float(scores[slugs.index(slug)]))


def categories(data: Path) -> list[str]:
    """ESC-50's own labels."""
    return sorted({clip.labels[0] for clip in esc50(data)})


def top_one(
    listener: Listener, rows: Sequence[Row], slugs: Sequence[str], among: Sequence[str]
) -> dict[str, Any]:
    """Share of the clips whose highest score among ESC-50's labels is the right one's."""
    right = [best(listener.clip(read(row.path)), slugs, among) == row.labels[0] for row in rows]
    return {"clips": len(rows), "right": sum(right), "top1": round(sum(right) / len(rows), 4)}


def heard(model: LoadedModel, samples: FloatArray) -> Iterator[tuple[Event, int]]:
    """The events of a recording, each with the sample up to which was heard when it was told."""
    now = 0

    def score(_: str, window: Window) -> Scores:
        nonlocal now
        now = window.end_sample
        return model.session.score([window])[0]

    pipeline = Pipeline([model.configured])
    for event in replay(pipeline, [AudioBlock(0, samples)], score):
        yield event, now


def recall(model: LoadedModel, rows: Sequence[Row]) -> dict[str, Any]:
    """How many recordings are heard in a quiet stream, and how soon after their sound begins."""
    delays, others = [], 0
    for row in rows:
        clip = read(row.path)
        began = len(LEAD) + int(np.argmax(active_frames(power_mel(clip)))) * FBANK.shift_samples
        events = heard(model, np.concatenate((LEAD, clip, LEAD[: SAMPLE_RATE // 2])))
        starts = [(event.label, now) for event, now in events if event.type == "start"]
        own = [now for label, now in starts if label == row.labels[0] and now >= began]
        delays += [(now - began) / SAMPLE_RATE for now in own[:1]]
        others += sum(label != row.labels[0] for label, _ in starts)
    return {
        "recordings": len(rows),
        "heard": round(len(delays) / len(rows), 4),
        "median_delay_s": round(float(np.median(delays)), 2) if delays else None,
        "heard_within_1_s": round(sum(delay <= 1 for delay in delays) / len(rows), 4),
        "other_labels_each": round(others / len(rows), 3),
    }


def milliseconds(model: Path) -> float:
    """Median time of one window on one core."""
    listener = Listener(model)
    x = np.zeros((1, FRAMES, FBANK.mel_bins), np.float32)
    took = []
    for _ in range(60):
        began = time.perf_counter()
        listener.scores(x)
        took.append(time.perf_counter() - began)
    return round(float(np.median(took)) * 1e3, 2)


def held_out(data: Path) -> list[Row]:
    """Fold 5 of ESC-50."""
    return [clip for clip in esc50(data) if clip.fold == HELD_OUT]


def measure(model: Path, data: Path, slugs: Sequence[str]) -> dict[str, Any]:
    """The figures of the model card: one window a clip, of clips that did not train."""
    listener, clips, among = Listener(model), held_out(data), categories(data)
    free = [clip for clip in clips if clip.licence == FREE]
    return {
        "esc50_fold5": top_one(listener, clips, slugs, among),
        "esc50_fold5_free": top_one(listener, free, slugs, among),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--streams", action="store_true", help="also through the whole pipeline")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    figures = measure(bundle.model_file, options.data, [label.slug for label in bundle.spec.labels])
    figures["ms_per_window"] = milliseconds(bundle.model_file)
    if options.streams:
        model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
        figures["streamed"] = recall(model, held_out(options.data))
        figures["streamed_speech"] = recall(model, speech(options.data)[1::2])
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

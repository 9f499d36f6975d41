"""Measures a bundle on held-out recordings: `python -m export.train.evaluate --data DIR`."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import BundleSpec
from export.parity import probabilities
from export.train.augment import FRAMES, HEARD, active_frames
from export.train.data import (
    FBANK,
    FREE,
    HELD_OUT,
    SPEECH,
    Row,
    backgrounds,
    esc50,
    power_mel,
    read,
    speech,
)

HOP = 8_000
"""Samples between the windows of a stream."""
LEAD = (1e-3 * np.random.default_rng(5).standard_normal(6 * SAMPLE_RATE)).astype(np.float32)
"""What a quiet room sounds like before something happens: noise at -60 dBFS."""
BUILT_IN = Path(__file__).parents[2] / "detector" / "models" / "sounds"


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
        logits: FloatArray = self._session.run(None, {"input": windows})[0]
        return probabilities(logits, "sigmoid")

    def clip(self, samples: FloatArray) -> FloatArray:
        """(labels,): the scores of the recording's first window."""
        scores: FloatArray = self.scores(window(LogMel(FBANK, SAMPLE_RATE).push(samples))[None])[0]
        return scores

    def stream(self, samples: FloatArray) -> FloatArray:
        """(windows, labels): window i ends (i + 1) * HOP samples into the recording."""
        log_mel = LogMel(FBANK, SAMPLE_RATE).push(samples)
        ends = range(HOP, len(samples) + 1, HOP)
        scores = [self.scores(ending(log_mel, end)[None]) for end in ends]
        return np.concatenate(scores)


def window(log_mel: FloatArray) -> FloatArray:
    """(FRAMES, mel_bins): the first frames of (t, mel_bins), padded as the extractor pads."""
    rows = np.full((FRAMES, log_mel.shape[1]), FBANK.padding, np.float32)
    seen = log_mel[:HEARD]
    rows[: len(seen)] = seen
    return rows


def ending(log_mel: FloatArray, end: int) -> FloatArray:
    """The window whose last sample is sample `end` of the recording."""
    stop = FBANK.frames_in(end)
    return window(log_mel[max(0, stop - HEARD) : stop])


def top_one(listener: Listener, rows: list[Row], slugs: tuple[str, ...]) -> dict[str, Any]:
    """Share of the clips whose highest score among ESC-50's labels is the right one's."""
    ours = [i for i, slug in enumerate(slugs) if slug != SPEECH]
    right = [
        slugs[ours[int(np.argmax(listener.clip(read(row.path))[ours]))]] == row.labels[0]
        for row in rows
    ]
    return {"clips": len(rows), "right": sum(right), "top1": round(sum(right) / len(rows), 4)}


def recall(listener: Listener, rows: list[Row], spec: BundleSpec) -> dict[str, Any]:
    """How many recordings are heard in a quiet stream, and how soon after their sound begins."""
    slugs = [label.slug for label in spec.labels]
    delays, others = [], 0
    for row in rows:
        clip = read(row.path)
        began = len(LEAD) + int(np.argmax(active_frames(power_mel(clip)))) * FBANK.shift_samples
        scores = listener.stream(np.concatenate((LEAD, clip, LEAD[:HOP])))
        label = spec.labels[slugs.index(row.labels[0])]
        above = scores[:, slugs.index(label.slug)] >= label.onset_threshold
        if above.any():
            delays.append(((int(np.argmax(above)) + 1) * HOP - began) / SAMPLE_RATE)
        others += sum(count for _, count in _onsets(scores, spec, frozenset({label.slug})))
    return {
        "recordings": len(rows),
        "heard": round(len(delays) / len(rows), 4),
        "median_delay_s": round(float(np.median(delays)), 2),
        "heard_within_1_s": round(sum(delay <= 1 for delay in delays) / len(rows), 4),
        "other_labels_each": round(others / len(rows), 3),
    }


def false_alarms(listener: Listener, data: Path, spec: BundleSpec) -> dict[str, Any]:
    """Onsets an hour in the backgrounds and the speech that did not train, one stream each."""
    talk = np.concatenate([read(row.path) for row in speech(data)[1::2]])
    streams = [("speech", talk, frozenset({SPEECH}))]
    streams += [
        (row.path.stem, read(row.path), frozenset(row.unknown)) for row in backgrounds(data)[1::2]
    ]
    return {
        name: {
            "minutes": round(len(samples) / SAMPLE_RATE / 60, 2),
            "onsets": dict(_onsets(listener.stream(samples), spec, may_hold)),
        }
        for name, samples, may_hold in streams
    }


def _onsets(
    scores: FloatArray, spec: BundleSpec, may_hold: frozenset[str]
) -> Iterator[tuple[str, int]]:
    """How often each label goes above its onset threshold after having been below its other."""
    for label, column in zip(spec.labels, scores.T, strict=True):
        count, active = 0, False
        for score in column:
            if active:
                active = score >= label.offset_threshold
            elif score >= label.onset_threshold:
                active, count = True, count + 1
        if count and label.slug not in may_hold:
            yield label.slug, count


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


def measure(model: Path, data: Path, slugs: tuple[str, ...]) -> dict[str, Any]:
    """The figures of the model card: one window a clip, of clips that did not train."""
    listener, clips = Listener(model), esc50(data)
    held_out = [clip for clip in clips if clip.fold == HELD_OUT]
    return {
        "esc50_fold5": top_one(listener, held_out, slugs),
        "esc50_fold5_free": top_one(listener, [c for c in held_out if c.licence == FREE], slugs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", type=Path, default=BUILT_IN)
    parser.add_argument("--streams", action="store_true", help="also recall and false alarms")
    options = parser.parse_args()
    spec = BundleSpec.model_validate_json((options.bundle / "bundle.json").read_text("utf-8"))
    model, slugs = options.bundle / spec.onnx.file, tuple(label.slug for label in spec.labels)
    figures = measure(model, options.data, slugs) | {"ms_per_window": milliseconds(model)}
    if options.streams:
        listener = Listener(model)
        held_out = [clip for clip in esc50(options.data) if clip.fold == HELD_OUT]
        figures["streamed"] = recall(listener, held_out, spec)
        figures["streamed_speech"] = recall(listener, speech(options.data)[1::2], spec)
        figures["false_alarms"] = false_alarms(listener, options.data, spec)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""One recording in a picture: its spectrogram, the scores, what is true and what was detected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from detector.capture.recording import open_audio
from detector.errors import ConfigError
from detector.evaluation.detections import Detection, TrueEvent
from detector.evaluation.optional import require
from detector.evaluation.scoring import TimedScores
from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap
from detector.spec import Fbank

_MOST: Final = 10
"""Labels in one picture."""
_COLUMNS: Final = 2000
"""Pixels that a spectrogram has at most; more cannot be seen."""


def draw(
    path: Path,
    recording: Path,
    truth: Sequence[TrueEvent],
    detected: Sequence[Detection],
    timed: TimedScores,
    thresholds: Mapping[str, float],
) -> None:
    """Write a picture of one recording.

    Args:
        path: its suffix says the format (.png, .svg, .pdf).
        recording: the file.
        truth: its true events.
        detected: what was detected in it.
        timed: the scores over it.
        thresholds: the onset threshold of each label, where it has one.

    Raises:
        ConfigError: `path` cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    labels = _labels(truth, detected, timed)
    figure = require("matplotlib.figure").Figure(figsize=(12, 8), layout="constrained")
    sound, scores, events = figure.subplots(
        3, sharex=True, height_ratios=(2, 2, 0.6 + 0.25 * len(labels))
    )
    end = float(timed.times_s[-1])
    sound.imshow(
        _log_mel(recording).T,
        origin="lower",
        aspect="auto",
        extent=(0, end, 0, Fbank().mel_bins),
        cmap="magma",
    )
    sound.set(title=recording.name, ylabel="mel bin")
    for index, label in enumerate(labels):
        colour = f"C{index}"
        if label in timed.scores:
            scores.stairs(timed.scores[label], timed.times_s, color=colour, label=label)
        if label in thresholds:
            scores.axhline(thresholds[label], color=colour, linestyle=":", linewidth=0.8)
        true = [(onset, offset - onset) for onset, offset, slug in truth if slug == label]
        found = [(e.onset_s, e.offset_s - e.onset_s) for e in detected if e.label == label]
        events.broken_barh(true, (index + 0.05, 0.4), color="0.6")
        events.broken_barh(found, (index + 0.5, 0.4), color=colour)
    scores.set(ylabel="score", ylim=(0, 1.02))
    if labels:
        scores.legend(loc="upper right", fontsize="small")
    events.set(
        xlabel="seconds",
        ylabel="true (grey), detected",
        xlim=(0, end),
        ylim=(len(labels), 0),
        yticks=np.arange(len(labels)) + 0.5,
        yticklabels=labels,
    )
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: of a suffix that it does not know
        raise ConfigError(f"{path}: cannot be written: {error}") from None


def _labels(
    truth: Sequence[TrueEvent], detected: Sequence[Detection], timed: TimedScores
) -> list[str]:
    """Those that occur, then those with the highest scores."""
    occurring = dict.fromkeys([*(e[2] for e in truth), *(e.label for e in detected)])
    by_score = sorted(timed.scores, key=lambda label: -float(timed.scores[label].max(initial=0)))
    return list(occurring | dict.fromkeys(by_score[: _MOST // 2]))[:_MOST]


def _log_mel(recording: Path) -> np.ndarray:
    """(columns, mel bins): the log-mel frames, or every few of them."""
    log_mel = LogMel(Fbank(), SAMPLE_RATE)
    with open_audio(recording) as items:
        frames = np.concatenate([log_mel.push(_samples(item)) for item in items])
    return frames[:: 1 + len(frames) // _COLUMNS]


def _samples(item: AudioBlock | Gap) -> FloatArray:
    """A gap is drawn as silence."""
    return item.samples if isinstance(item, AudioBlock) else np.zeros(item.length, np.float32)

"""The frame classifier times, the tagger confirms.

A frame classifier knows when a sound begins and ends, a tagger that looks at a long window knows
better which sound it is. Here what both say becomes one score for each frame, and all that comes
after it (the votes of windows, the segmenter) is as for frames alone.

The two may be outputs of one model (`decide`) or two models that listen to one source
(`Confirmation`).
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from detector.errors import ConfigError
from detector.records import SAMPLE_RATE, Cut, FloatArray, Scores
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec, Label, WindowSpec

Decider = Literal["clip", "frames", "both"]
Rule = Literal["mean", "minimum", "gate"]

RULE: Final[Rule] = "mean"
"""How the outputs of one model are combined, unless a measurement asks for another way."""

_GATE_OPENS_AT: Final = np.float32(0.5)
"""A clip's score that is enough for a gate to open."""


def gate(frames: FloatArray, clip: FloatArray, enough: FloatArray | np.float32) -> FloatArray:
    """Frames as they are where the clip's score is `enough`, less in proportion where it is lower.

    Args:
        frames: (n_frames, n_labels) float32.
        clip: (n_labels,) or (n_frames, n_labels) float32.
        enough: a score above 0; one for all labels, or (n_labels,).
    """
    return np.asarray(frames * np.minimum(clip / enough, 1), np.float32)


RULES: Final[Mapping[Rule, Callable[[FloatArray, FloatArray], FloatArray]]] = {
    # The geometric mean: one that is sure of it helps the other.
    "mean": lambda frames, clip: np.asarray(np.sqrt(frames * clip), np.float32),
    # Both must reach the threshold.
    "minimum": lambda frames, clip: np.asarray(np.minimum(frames, clip), np.float32),
    # Frames decide wherever the clip has no doubt.
    "gate": lambda frames, clip: gate(frames, clip, _GATE_OPENS_AT),
}
"""(n_frames, n_labels) and (n_labels,) to (n_frames, n_labels); none of them raises a score above
the higher of the two, and with a clip's score of 0 all are 0."""


def decide(scores: Scores, decider: Decider, rule: Rule = RULE) -> Scores:
    """Leave of a window's scores those that decide: a clip, or frames.

    Args:
        scores: what a model said; it must have the outputs that `decider` needs.
        decider: both: frames that the clip of the same window confirms.
        rule: how both are combined.
    """
    if decider == "clip":
        return replace(scores, frames=None)
    frames = scores.frames
    if decider == "both" and frames is not None and scores.clip is not None:
        frames = RULES[rule](frames, scores.clip)
    return replace(scores, clip=None, frames=frames)


def decider_of(spec: BundleSpec, settings: ModelSettings) -> Decider:
    """Which output decides: the configuration's word, or else all that the bundle has.

    Raises:
        ConfigError: if the bundle does not have it.
    """
    clip, frames = spec.outputs.clip is not None, spec.outputs.frames is not None
    asked = settings.decided_by
    if spec.ctc:
        if asked not in (None, "frames"):
            raise ConfigError(
                f"decided_by = {asked!r}: {spec.id} spells words, and only frames do; leave it out"
            )
        return "frames"
    has: Decider = "both" if clip and frames else "clip" if clip else "frames"
    if asked is None or has in ("both", asked):
        return asked or has
    raise ConfigError(
        f"decided_by = {asked!r}: {spec.id} has only the output {has!r}; leave it out"
    )


class Confirmation:
    """Answers of a frame classifier, confirmed by a tagger that listens to the same source.

    A frame keeps its score where a window of the tagger that shows it reaches the tagger's own
    onset threshold of that label, and has less in proportion where all of them are lower. The
    windows that count for an answer are those up to the first that reaches as far as the answer;
    until the tagger has scored that one, or nothing follows, the answer waits: for one hop of the
    tagger. So what comes out depends on the scores of the two, and not on which came first.

    Labels that the tagger does not have, and frames that no window of it shows (it skipped them,
    or what was heard was too short for it), pass unchanged.
    """

    _PATIENCE: Final = 60 * SAMPLE_RATE
    """A tagger without scores for so much sound, beyond its hop, hangs: it is not waited for.
    The queues before the two models hold far less."""

    def __init__(
        self,
        spec: BundleSpec,
        window: WindowSpec,
        tagger: BundleSpec,
        tagger_settings: ModelSettings,
        tagger_window: WindowSpec,
    ) -> None:
        """Set up for one source.

        Args:
            spec: of the frame classifier.
            window: its window with the hop that it runs with.
            tagger: of the tagger.
            tagger_settings: its thresholds.
            tagger_window: its window with the hop that it runs with.

        Raises:
            ConfigError: if one of them lacks the output that is needed, or they share no label.
        """
        if spec.outputs.frames is None or spec.ctc:
            raise ConfigError(f"{spec.id} has no labels with frames that could be confirmed")
        if tagger.outputs.clip is None:
            raise ConfigError(f"{tagger.id} has no clip output that could confirm")
        places = {label.slug: i for i, label in enumerate(tagger.labels)}
        shared = [(i, places[x.slug]) for i, x in enumerate(spec.labels) if x.slug in places]
        if not shared:
            raise ConfigError(f"{tagger.id} has no label of {spec.id}, so it cannot confirm one")
        self._frames = spec.outputs.frames
        self._labels = np.array([own for own, _ in shared])
        self._tagger_labels = np.array([other for _, other in shared])
        self._confirming = [tagger.labels[other] for _, other in shared]
        self.retune(tagger_settings)
        patience = self._PATIENCE + tagger_window.hop_samples
        self._most_waiting = 1 + patience // window.hop_samples
        self._waiting: deque[Scores | Cut] = deque()
        # Twice, since at an end there are windows that show nothing new.
        kept = (patience + window.samples) // tagger_window.hop_samples
        self._tagger_windows: deque[Scores] = deque(maxlen=2 * kept)
        self._tagger_until = 0

    def retune(self, tagger_settings: ModelSettings) -> None:
        """From now on go by other thresholds of the tagger."""
        enough = [_onset_threshold(label, tagger_settings) for label in self._confirming]
        self._enough = np.maximum(np.array(enough, np.float32), np.finfo(np.float32).tiny)

    def push(self, answer: Scores | Cut) -> list[Scores | Cut]:
        """Take the frame classifier's next answer; give those that need not wait any more."""
        self._waiting.append(answer)
        return self._ready()

    def confirm(self, answer: Scores | Cut) -> list[Scores | Cut]:
        """Take the tagger's next answer; as `push`."""
        if isinstance(answer, Scores):
            self._tagger_windows.append(replace(answer, frames=None))
        self._tagger_until = answer.end_sample
        return self._ready()

    def _ready(self) -> list[Scores | Cut]:
        ready: list[Scores | Cut] = []
        while self._waiting:
            answer = self._waiting[0]
            if isinstance(answer, Scores):
                late = len(self._waiting) > self._most_waiting
                if answer.end_sample > self._tagger_until and not late:
                    break
                answer = self._confirmed(answer)
            self._waiting.popleft()
            ready.append(answer)
        return ready

    def _confirmed(self, scores: Scores) -> Scores:
        if scores.frames is None:
            return scores
        place = np.arange(1, len(scores.frames) + 1)
        ends = scores.first_sample + self._frames.offset_samples + place * self._frames.hop_samples
        ends = np.minimum(ends, scores.end_sample)  # of a last frame that is padding in part
        clip = np.full((len(ends), len(self._labels)), -1, np.float32)
        for window in self._tagger_windows:
            if window.clip is not None and window.end_sample > scores.first_sample:
                shown = (window.first_sample < ends) & (ends <= window.end_sample)
                clip[shown] = np.maximum(clip[shown], window.clip[self._tagger_labels])
            if window.end_sample >= scores.end_sample:
                break
        clip = np.where(clip < 0, self._enough, clip)  # nobody to ask
        frames = scores.frames.copy()
        frames[:, self._labels] = gate(frames[:, self._labels], clip, self._enough)
        return replace(scores, frames=frames)


def _onset_threshold(label: Label, settings: ModelSettings) -> float:
    changes = settings.by_slug([label]).labels.get(label.slug)
    changed = changes.onset_threshold if changes else None
    return label.onset_threshold if changed is None else changed

"""The scores of one recording over time, of the labels that are asked for, a few bytes a step."""

from array import array
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.configured_model import ConfiguredModel
from detector.evaluation.scoring import TimedScores
from detector.events.scores.steps import Step
from detector.records import SAMPLE_RATE


class ScoreTrack:
    """Takes the steps of several models; gives the highest of their scores over time.

    Where nothing was scored they are 0. A tagger's step lasts for the hop in which its window
    ended: after a sound its scores stay high until the window has left it, which the segmenter
    sets right and thresholds alone do not.
    """

    def __init__(
        self, configured_models: Sequence[ConfiguredModel], labels: Collection[str]
    ) -> None:
        """Of `labels`, keep those that become events of one of the models."""
        self._tracks = {
            configured.name: _ModelTrack(configured, set(labels).intersection(configured.labels))
            for configured in configured_models
            if not configured.spec.ctc
        }

    @property
    def on_step(self) -> dict[str, Callable[[Step], object]]:
        """What takes the steps of each model, by its name."""
        return {name: track.add for name, track in self._tracks.items()}

    def timed_scores(self, duration_samples: int) -> TimedScores:
        """The scores over the whole recording, which is so long."""
        tracks = [(track, *track.whole(duration_samples)) for track in self._tracks.values()]
        ends = np.array([0, duration_samples])
        edges = np.unique(np.concatenate([ends, *(times for _, times, _ in tracks)]))
        scores: dict[str, NDArray[np.float32]] = {}
        for track, times, values in tracks:
            places = np.searchsorted(times, edges[:-1], side="right") - 1
            for column, label in enumerate(track.labels):
                own = values[places, column]
                scores[label] = np.maximum(own, scores.get(label, own))
        return TimedScores(edges / SAMPLE_RATE, scores)


class _ModelTrack:
    """The steps of one model, without holes."""

    def __init__(self, configured: ConfiguredModel, labels: Collection[str]) -> None:
        places = {
            label.slug: place
            for place, label in enumerate(configured.spec.labels)
            if label.slug in labels
        }
        self.labels = list(places)
        self._columns = list(places.values())
        self._edges = array("q", [0])
        self._scores = array("f")  # a row for each but the first edge
        self._nothing = np.zeros(len(places), np.float32).tobytes()

    def add(self, step: Step) -> None:
        begin = max(step.onset_sample, self._edges[-1])
        if step.end_sample <= begin:  # nothing new was seen
            return
        if begin > self._edges[-1]:
            self._edges.append(begin)
            self._scores.frombytes(self._nothing)
        self._edges.append(step.end_sample)
        self._scores.frombytes(np.asarray(step.scores[self._columns], np.float32).tobytes())

    def whole(self, duration_samples: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(n + 1,) samples from 0 to the end of the recording, and (n, labels) scores."""
        edges = np.array(self._edges, np.int64)
        scores = np.array(self._scores, np.float32).reshape(len(edges) - 1, len(self.labels))
        inside = int(np.searchsorted(edges, duration_samples, side="left"))
        if inside == len(edges):
            nothing = np.zeros((1, len(self.labels)), np.float32)
            return np.append(edges, duration_samples), np.concatenate((scores, nothing))
        return np.append(edges[:inside], duration_samples), scores[:inside]

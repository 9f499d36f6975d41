"""What a bundle hears in minutes of mixed sound, and when, beside YAMNet run as Frigate runs it.

    python benchmarks/soundscapes.py --data DIR [--yamnet FILE] [--bundle NAME|DIR]

The soundscapes are those of `export.train.soundscapes`: recordings of ESC-50's fold 5 and speech
over backgrounds, none of which trained anything. (Two labels ship disabled because of these
backgrounds, see export/train/release.py.) A bundle's frames and its clip are
measured alone and as the pair that the detector runs, with the thresholds of the bundle and with
the one threshold, for all labels, that gives the best F1 on other soundscapes, those for tuning.

YAMNet hears windows of 0.975 s without overlap. As in Frigate: an event begins when it is detected,
at the end of the first window that reaches 0.8, and ends a window after the last one; that Frigate
holds it for 30 s more is left out, since no event would end in time. At its best: an event has the
edges of its windows, and the threshold is found as for the bundle. Either way, pauses of up to a
second do not part events, as in the bundle.

Every system goes through the detector's segmenter and one scorer, `detector.evaluation.scoring`.
Labels that a background may hold count for nobody there, and the labels that count are those of
YAMNet's map (yamnet_labels.csv).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from report import report
from yamnet import FRIGATE_THRESHOLD, LABELS, WINDOW, Yamnet, label_scores

from detector.configured_model import ConfiguredModel
from detector.evaluation.detections import COLLAR_S, Detection, matched_pairs, merge_overlapping
from detector.evaluation.scoring import OFFSET_COLLAR_RATE, Result, TimedScores, score
from detector.events.scores.fusion import RULE, RULES, Decider, Rule, decide
from detector.events.scores.steps import ClipSteps, FrameSteps, Steps
from detector.events.segments.label_rules import LabelRule, label_rules
from detector.events.segments.segmenter import Segmenter
from detector.features.windows import windows_of
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores
from detector.settings.models import ModelSettings
from export.train.data import FBANK
from export.train.soundscapes import MERGED, Soundscape, make, testing, tuning

SECONDS = 60.0
TUNING_SEED = 10_000
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
NEVER = 10**12
"""Samples: nothing is told of an event between its start and its end."""
MERGE_SAMPLES = MERGED * FBANK.shift_samples
BEST = ", best threshold"

Answers = list[Scores]
"""What a model said of one soundscape."""
Heard = tuple[Soundscape, Answers]
Measured = tuple[str, Result, float | None]
"""A system's name, its scores, and the onset error of its true positives."""


@dataclass(frozen=True)
class System:
    """What makes events of answers."""

    name: str
    rules: tuple[LabelRule, ...]
    steps: Callable[[], Steps]
    choose: Callable[[Answers], Answers] = lambda answers: answers
    """What of the answers counts."""
    delay_s: float = 0.0
    """By how much its events stand later than where it hears them."""

    def at(self, threshold: float) -> "System":
        """With one onset threshold for all labels, and offset thresholds in proportion."""
        rules = (
            replace(
                rule,
                onset_threshold=threshold,
                offset_threshold=threshold
                * rule.offset_threshold
                / max(rule.onset_threshold, 1e-9),
            )
            for rule in self.rules
        )
        return replace(self, rules=tuple(rules))

    def events(self, answers: Answers) -> Iterator[Detection]:
        segmenter, steps = Segmenter(self.name, self.rules, NEVER), self.steps()
        events = [
            event
            for answer in self.choose(answers)
            for event in segmenter.push(answer, steps.push(answer))
        ]
        for event in events + segmenter.cut(round(SECONDS * SAMPLE_RATE), steps.flush()):
            if event.offset_sample is not None:
                onset = event.onset_sample / SAMPLE_RATE + self.delay_s
                offset = min(event.offset_sample / SAMPLE_RATE + self.delay_s, SECONDS)
                if onset < offset:
                    yield Detection(onset, offset, event.label)

    def timeline(self, answers: Answers, unknown: Sequence[str]) -> TimedScores:
        """The scores over time of the labels that count; 0 for those that are unknown.

        A moment has the lowest score of the windows, or of the frame, that show it: at any
        threshold, the segmenter ends a tagger's event where the window that leaves it began.
        """
        steps = self.steps()
        answers = self.choose(answers)
        shown = [(a.first_sample, a.end_sample, a.clip) for a in answers if a.clip is not None]
        if not shown:
            known = [step for answer in answers for step in steps.push(answer)] + steps.flush()
            shown = [(step.onset_sample, step.end_sample, step.scores) for step in known]
        scores = np.stack([scores for *_, scores in shown])
        spans = np.array([span for *span, _ in shown]) / SAMPLE_RATE + self.delay_s
        spans = np.minimum(spans, SECONDS)
        times = np.unique(np.append(spans, (0.0, SECONDS)))
        lowest = np.zeros((len(times) - 1, scores.shape[1]))
        for i, (begin, end) in enumerate(pairwise(times)):
            inside = (spans[:, 0] <= begin) & (end <= spans[:, 1])
            if inside.any():
                lowest[i] = scores[inside].min(axis=0)
        return TimedScores(
            times,
            dict.fromkeys(LABELS, np.zeros(len(times) - 1))  # what is disabled is never heard
            | {
                rule.slug: lowest[:, rule.index] * (rule.slug not in unknown)
                for rule in self.rules
                if rule.slug in LABELS
            },
        )


def evaluate(system: System, heard: Sequence[Heard], *, psds: bool = True) -> Result:
    """Hold the system's events against the truth of the soundscapes."""
    reference, detected, scores = {}, {}, {}
    for number, (soundscape, answers) in enumerate(heard):
        name, unknown = str(number), soundscape.unknown
        reference[name] = soundscape.truth
        detected[name] = [e for e in system.events(answers) if e.label not in unknown]
        if psds:
            scores[name] = system.timeline(answers, unknown)
    durations = dict.fromkeys(reference, SECONDS)
    return score(reference, detected, durations, scores or None, LABELS)


def onset_error(system: System, heard: Sequence[Heard]) -> float | None:
    """Median over the true positives of event-based scoring, in seconds."""
    errors = []
    for soundscape, answers in heard:
        truth = merge_overlapping(soundscape.truth, LABELS)
        found = merge_overlapping(system.events(answers), set(LABELS) - set(soundscape.unknown))
        for label in {event.label for event in truth}:
            of_label = ([e for e in events if e.label == label] for events in (truth, found))
            for true, event in matched_pairs(*of_label):
                onset, offset = (abs(a - b) for a, b in zip(event[:2], true[:2], strict=True))
                collar = max(COLLAR_S, OFFSET_COLLAR_RATE * (true.offset_s - true.onset_s))
                if onset <= COLLAR_S and offset <= collar:
                    errors.append(onset)
    return median(errors) if errors else None


def best_threshold(system: System, heard: Sequence[Heard]) -> float:
    """The one threshold of all labels that gives the best event-based F1."""

    def f1(threshold: float) -> float:
        return evaluate(system.at(threshold), heard, psds=False).overall.event_based.f1 or 0.0

    return max(THRESHOLDS, key=f1)


class Bundle:
    """A bundle's systems, and what it says of soundscapes."""

    def __init__(self, name: str, rule: Rule) -> None:
        bundle = load_bundle(name)
        self._spec = bundle.spec
        self._session = Session(bundle, "cpu")
        self._rule = rule
        self._listener = ConfiguredModel("bundle", bundle.spec, ModelSettings(bundle=name))

    def answers(self, samples: FloatArray) -> Answers:
        """Every window's scores, those at the end included that only a clip needs."""
        request = replace(self._listener.window_request, trailing=True)
        windows = windows_of(request, [AudioBlock(0, samples)])
        return [self._session.score([window])[0] for window in windows]

    def systems(self) -> Iterator[System]:
        outputs = self._spec.outputs
        hop = self._listener.window.hop_samples
        if outputs.clip:
            yield self._system("clip", "clip", lambda: ClipSteps(hop))
        if frames := outputs.frames:
            yield self._system("frames", "frames", lambda: FrameSteps(frames, hop))
            if outputs.clip:
                yield self._system("pair", "both", lambda: FrameSteps(frames, hop))

    def _system(self, name: str, decider: Decider, steps: Callable[[], Steps]) -> System:
        def choose(answers: Answers) -> Answers:
            return [
                decide(answer, decider, self._rule)
                for answer in answers
                if answer.new_samples or decider == "clip"
            ]

        rules = label_rules(self._spec, ModelSettings(bundle=self._spec.name))
        return System(name, tuple(rules), steps, choose)


def yamnet_answers(yamnet: Yamnet, samples: FloatArray) -> Answers:
    scores = label_scores(yamnet.scores(samples))
    return [
        Scores(i * WINDOW, (i + 1) * WINDOW, WINDOW, 0.0, row, None) for i, row in enumerate(scores)
    ]


def yamnet_systems() -> Iterator[System]:
    rules = tuple(
        LabelRule(i, label, label, FRIGATE_THRESHOLD, FRIGATE_THRESHOLD, 0, MERGE_SAMPLES)
        for i, label in enumerate(LABELS)
    )
    windows = System("YAMNet", rules, lambda: ClipSteps(WINDOW))
    yield windows
    yield replace(windows, name="YAMNet in Frigate", delay_s=WINDOW / SAMPLE_RATE)


def compare(
    systems: Iterable[System],
    answers: Callable[[FloatArray], Answers],
    tune: Sequence[Soundscape],
    test: Sequence[Soundscape],
) -> Iterator[Measured]:
    """Each system with its own thresholds, and with the one threshold that suits it best."""
    tune_on = [(soundscape, answers(soundscape.samples)) for soundscape in tune]
    test_on = [(soundscape, answers(soundscape.samples)) for soundscape in test]
    for system in systems:
        yield system.name, evaluate(system, test_on), onset_error(system, test_on)
        threshold = best_threshold(system, tune_on)
        sys.stderr.write(f"{system.name}: best threshold {threshold}\n")
        best = system.at(threshold)
        result = evaluate(best, test_on, psds=False)
        yield f"{system.name}{BEST}", result, onset_error(best, test_on)


def rows(measured: Sequence[Measured]) -> Iterator[tuple[str, float, str, str]]:
    """What is reported: of each system, and how the pair compares with YAMNet at its best."""
    f1 = {name: result.overall.event_based.f1 or 0.0 for name, result, _ in measured}
    for name, result, onset_error_s in measured:
        overall = result.overall
        yield f"{name}: event-based F1", f1[name], "", ""
        yield f"{name}: segment-based F1", overall.segment_based.f1 or 0.0, "", ""
        if overall.psds1 is not None:
            yield f"{name}: PSDS1", overall.psds1, "", ""
        if onset_error_s is not None:
            target = "<= 100" if name == "pair" else ""
            yield f"{name}: onset error of true positives", 1000 * onset_error_s, "ms", target
        if overall.onset_error_s is not None:
            yield f"{name}: onset error of all heard", 1000 * overall.onset_error_s, "ms", ""
        yield f"{name}: false alarms", overall.false_alarms_per_hour, "an hour", ""
    ours, theirs = f1.get("pair"), f1.get(f"YAMNet{BEST}")
    if ours is not None and theirs:
        yield f"event-based F1, pair / YAMNet{BEST}", ours / theirs, "x", ">= 1.5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, help="yamnet.tflite, to compare with")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--count", type=int, default=60, help="soundscapes, of a minute each")
    parser.add_argument("--tuning", type=int, default=30, help="others, to find thresholds on")
    parser.add_argument("--rule", choices=RULES, default=RULE, help="how the pair decides")
    options = parser.parse_args()
    seeds = range(TUNING_SEED, TUNING_SEED + options.tuning)
    tune = [make(*tuning(options.data), seed) for seed in seeds]
    test = [make(*testing(options.data), seed) for seed in range(options.count)]
    bundle = Bundle(options.bundle, options.rule)
    measured = list(compare(bundle.systems(), bundle.answers, tune, test))
    if options.yamnet:
        yamnet = Yamnet(options.yamnet)
        measured += compare(
            yamnet_systems(), lambda samples: yamnet_answers(yamnet, samples), tune, test
        )
    events = sum(len(soundscape.truth) for soundscape in test)
    report(
        "soundscapes",
        "python benchmarks/soundscapes.py --data DIR --yamnet FILE",
        [
            ("soundscapes of a minute", len(test), "", ""),
            ("events", events, "", ""),
            *rows(measured),
        ],
    )


if __name__ == "__main__":
    main()

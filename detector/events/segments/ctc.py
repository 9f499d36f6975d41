"""Words from a CTC model: greedy decoding, frame by frame, with onset and offset.

A CTC model says for each frame which token of its vocabulary is spoken there, or none: the blank.
The best token of each frame is taken, repetitions are one token, blanks fall away (Graves et al.,
"Connectionist temporal classification", ICML 2006, section 3.1, best path decoding), and what
stands between two word delimiters is a word.

Windows overlap, and each has its own view of a frame. Their votes are averaged before anything is
decoded (see FrameSteps), so a word on the border of two windows is neither split nor doubled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from detector.decibels import dbfs
from detector.events.scores.steps import Step
from detector.events.segments.loudness import Loudness
from detector.records import SAMPLE_RATE, Event, EventType, Scores
from detector.settings.models import ModelSettings
from detector.slugs import digest, slugify
from detector.spec import BundleSpec, Ctc

_WORD_BEGINS: Final = "▁"
"""With which tokenizers of the SentencePiece kind begin the first token of a word."""


@dataclass(slots=True)
class _Word:
    onset_sample: int
    offset_sample: int
    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """The highest score of each token."""


def context_samples(window_samples: int) -> int:
    """What must be heard around a frame before its token counts: a second, if the window has it.

    A CTC model may say a token in any frame near its sound, and chooses one by all that comes
    after; until then it says little, or says it elsewhere. So a token that is taken too early is
    lost, and the word with it.
    """
    return min(SAMPLE_RATE, window_samples // 4)


class CtcDecoder:
    """Turns what a CTC model says of one source into events: a start and an end for each word.

    Both come when the word is complete, since only then it is known. A vocabulary without a
    word delimiter has no words: each token is an event.
    """

    _PAUSE: Final = SAMPLE_RATE
    """So much silence ends a word as a delimiter does."""
    _LONGEST: Final = 20 * SAMPLE_RATE
    """A word that goes on for longer is cut: where a model babbles, or never separates words,
    nothing may grow without end."""
    _KEEP_LOUDNESS: Final = 120 * SAMPLE_RATE
    _SCORE: Final = 0.5
    """A word's tokens must have this score on average, unless the configuration says otherwise."""

    def __init__(self, spec: BundleSpec, ctc: Ctc, settings: ModelSettings) -> None:
        """Set up for one source; `settings.only` lists the words that become events."""
        self._model = spec.id
        self._tokens = [label.name for label in spec.labels]
        slugs = [label.slug for label in spec.labels]
        self._blank = slugs.index(ctc.blank)
        delimiter = ctc.word_delimiter
        self._delimiter = None if delimiter is None else slugs.index(delimiter)
        self._silent = {i for i, label in enumerate(spec.labels) if not label.enabled}
        self.retune(settings)
        self._in_words = delimiter is not None or any(
            token.startswith(_WORD_BEGINS) for token in self._tokens
        )
        self._loudness = Loudness(self._KEEP_LOUDNESS)
        self._last = self._blank
        self._word: _Word | None = None
        self._stepped_until = 0

    def retune(self, settings: ModelSettings) -> None:
        """From now on go by other words and thresholds."""
        self._only = settings.only
        self._thresholds = {
            slug: changes.onset_threshold
            for slug, changes in settings.labels.items()
            if changes.onset_threshold is not None
        }
        self._disabled = {slug for slug, c in settings.labels.items() if c.enabled is False}

    @property
    def known_until(self) -> int:
        """How far words are known: up to the one that is being spoken."""
        return self._word.onset_sample if self._word else self._stepped_until

    def push(self, scores: Scores, steps: Sequence[Step]) -> list[Event]:
        """Take the scores of the next window, and the steps that are certain with them."""
        self._loudness.push(scores.end_sample, scores.new_samples, scores.power)
        return [e for step in steps for e in self._step(step)]

    def cut(self, end_sample: int, steps: Sequence[Step]) -> list[Event]:
        """Take the steps that were left; then the sound stops, and a word being spoken is cut."""
        events = [e for step in steps for e in self._step(step)]
        events += self._end_word(truncated=self._last not in (self._blank, self._delimiter))
        self._last = self._blank
        self._stepped_until = end_sample
        return events

    def _step(self, step: Step) -> list[Event]:
        token = int(np.argmax(step.scores))
        score = float(step.scores[token])
        self._stepped_until = step.end_sample
        events: list[Event] = []
        if self._word and step.end_sample - self._word.onset_sample > self._LONGEST:
            events = self._end_word(truncated=True)
        if token == self._delimiter:
            events += self._end_word()
        elif token == self._last and self._word and token not in self._silent:
            self._word.offset_sample = step.offset_sample
            self._word.scores[-1] = max(self._word.scores[-1], score)
        elif token not in self._silent:
            text = self._tokens[token]
            if not self._in_words or text.startswith(_WORD_BEGINS):
                events += self._end_word()
            if self._word is None:
                self._word = _Word(step.onset_sample, step.offset_sample)
            self._word.offset_sample = step.offset_sample
            self._word.tokens.append(text.removeprefix(_WORD_BEGINS))
            self._word.scores.append(score)
        elif self._word and step.end_sample - self._word.offset_sample >= self._PAUSE:
            events += self._end_word()
        self._last = token
        return events

    def _end_word(self, *, truncated: bool = False) -> list[Event]:
        word, self._word = self._word, None
        if word is None:
            return []
        text = "".join(word.tokens)
        # A script without Latin letters leaves nothing of a word: its digest names it.
        slug = slugify(text) or f"word_{digest(text)}"
        score = sum(word.scores) / len(word.scores)
        wanted = slug not in self._disabled if self._only is None else slug in self._only
        if not text or not wanted or score < self._thresholds.get(slug, self._SCORE):
            return []
        return [self._event(kind, word, slug, text, truncated) for kind in ("start", "end")]

    def _event(self, kind: EventType, word: _Word, slug: str, text: str, truncated: bool) -> Event:  # noqa: FBT001
        energy = self._loudness.energy(word.onset_sample, word.offset_sample)
        return Event(
            type=kind,
            model=self._model,
            label=slug,
            name=text,
            onset_sample=word.onset_sample,
            offset_sample=word.offset_sample if kind == "end" else None,
            peak=max(word.scores),
            mean=sum(word.scores) / len(word.scores),
            level_dbfs=dbfs(energy / (word.offset_sample - word.onset_sample)),
            truncated=truncated and kind == "end",
        )

"""What a CTC model of words is fitted on: windows with words, other speech and noise in them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ctc_data import WORDS, Utterance, background, clips

from detector.records import SAMPLE_RATE, FloatArray

BLANK, UNKNOWN_LETTER, DELIMITER = "<pad>", "<unk>", "|"
VOCABULARY: Final = (BLANK, UNKNOWN_LETTER, DELIMITER, *sorted(set("".join(WORDS))))
_ID: Final = {token: i for i, token in enumerate(VOCABULARY)}

WINDOW: Final = 4 * SAMPLE_RATE
FRAME: Final = SAMPLE_RATE // 25
FRAMES: Final = WINDOW // FRAME
UNKNOWN: Final = -100
"""The target of a frame that nothing is known of; PyTorch's cross-entropy skips it."""

_ELSEWHERE: Final = -1
_DELIMITER_S: Final = 0.08
_ANCHOR_S: Final = 0.06


@dataclass(frozen=True, slots=True)
class Scene:
    samples: FloatArray
    """(at most WINDOW,) float32: as long as there is sound."""
    frames: np.ndarray
    """(FRAMES,) int64: the token of each frame, or UNKNOWN."""
    tokens: tuple[int, ...] | None
    """All that is said; None if a word is cut by an edge."""


def spell(phrase: str) -> list[int]:
    """The tokens of a phrase; each word is ended by a delimiter."""
    return [_ID[letter] for word in phrase.split() for letter in (*word, DELIMITER)]


def align(phrase: str, onset: int, offset: int) -> np.ndarray:
    """(FRAMES,) int64: a phrase laid evenly over its time, _ELSEWHERE where it is not.

    A letter that follows itself is parted from it by a blank, as CTC demands.
    """
    tokens: list[int] = []
    for token in spell(phrase)[:-1]:
        if tokens and tokens[-1] == token:
            tokens.append(_ID[BLANK])
        tokens.append(token)
    centres = np.arange(FRAMES) * FRAME + FRAME // 2
    place = np.floor((centres - onset) / (offset - onset) * len(tokens)).astype(int)
    frames = np.full(FRAMES, _ELSEWHERE)
    spoken = (place >= 0) & (place < len(tokens))
    frames[spoken] = np.array(tokens)[place[spoken]]
    after = (place >= len(tokens)) & (centres < offset + _DELIMITER_S * SAMPLE_RATE)
    frames[after] = _ID[DELIMITER]
    return frames


def anchor(phrase: str, onset: int, offset: int) -> np.ndarray:
    """(FRAMES,) int64: the first letter where a phrase begins, UNKNOWN in the rest of it.

    Where the phrase is not: _ELSEWHERE.
    """
    centres = np.arange(FRAMES) * FRAME + FRAME // 2 - onset
    frames = np.full(FRAMES, _ELSEWHERE)
    frames[(centres >= 0) & (centres < offset - onset + 4 * FRAME)] = UNKNOWN
    frames[(centres >= 0) & (centres < _ANCHOR_S * SAMPLE_RATE)] = spell(phrase)[0]
    return frames


Teach = Callable[[str, int, int], np.ndarray]
"""What is known of the frames of a phrase: `align` or `anchor`."""


class _Canvas:
    """A window that is being composed."""

    def __init__(self, teach: Teach) -> None:
        self._teach = teach
        self.samples = np.zeros(WINDOW, np.float32)
        self.frames = np.full(FRAMES, _ID[BLANK])
        self.tokens: list[int] = []
        self.whole = True
        """No word is cut by an edge."""

    def add(self, at: int, sound: FloatArray, span: tuple[int, int] | None, phrase: str) -> None:
        """Add a sound that begins at sample `at`, which may lie before the window."""
        first, end = max(0, at), min(WINDOW, at + len(sound))
        if end > first:
            self.samples[first:end] += sound[first - at : end - at]
        if span:
            onset, offset = span[0] + at, span[1] + at
            known = self._teach(phrase, onset, offset)
            self.frames = np.where(known == _ELSEWHERE, self.frames, known)
            if offset > 0 and onset < WINDOW:
                self.whole &= onset >= 0 and offset + 2 * FRAME < WINDOW
                self.tokens += spell(phrase)
        elif phrase:
            self.frames[first // FRAME : -(-end // FRAME)] = UNKNOWN
            self.tokens += spell(phrase)

    def cut(self, heard: int) -> None:
        """Nothing is known of what comes after `heard` samples."""
        self.whole &= not np.any(self.frames[max(0, heard // FRAME - 3) :])
        self.frames[heard // FRAME :] = UNKNOWN


class Scenes:
    """An endless stream of scenes: different ones, but the same for the same seed."""

    def __init__(self, utterances: Sequence[Utterance], teach: Teach, seed: int) -> None:
        self._teach = teach
        self._rng = np.random.default_rng(seed)
        self._phrases: dict[str, list[Utterance]] = {}
        for utterance in utterances:
            self._phrases.setdefault(utterance.phrase, []).append(utterance)
        self._others = self._phrases.pop("")
        self._noises = background(held_out=False)
        self._clips = clips(held_out=False)

    def __iter__(self) -> Iterator[Scene]:
        while True:
            yield self._scene()

    def _scene(self) -> Scene:
        rng, canvas = self._rng, _Canvas(self._teach)
        words = 0.0 if rng.random() < 0.1 else 0.75
        cursor = round(rng.uniform(-0.4, 1.6) * SAMPLE_RATE)
        while cursor < WINDOW - SAMPLE_RATE // 4:
            sound, span, phrase = self._word() if rng.random() < words else self._other()
            if phrase and span is None:
                cursor = max(0, cursor)  # what is not known to be whole must not be cut
            end = cursor + (span[1] + 2 * FRAME if span else len(sound))
            if phrase and end > WINDOW and (span is None or rng.random() < 0.7):
                break
            canvas.add(cursor, sound, span, phrase)
            cursor += len(sound) + round(rng.exponential(0.4) * SAMPLE_RATE)
        samples = self._in_noise(canvas.samples) * np.float32(10 ** rng.uniform(-1.5, 0))
        if rng.random() < 0.15:  # as at the beginning of a recording
            heard = round(rng.uniform(0.5, 3.9) * SAMPLE_RATE)
            samples = samples[:heard]
            canvas.cut(heard)
        return Scene(samples, canvas.frames, tuple(canvas.tokens) if canvas.whole else None)

    def _word(self) -> tuple[FloatArray, tuple[int, int] | None, str]:
        rng = self._rng
        phrase = sorted(self._phrases)[rng.integers(len(self._phrases))]
        utterance = self._phrases[phrase][rng.integers(len(self._phrases[phrase]))]
        samples, span = utterance.samples, utterance.rough_span
        if span:
            before, after = (round(rng.uniform(0.03, 0.5) * SAMPLE_RATE) for _ in range(2))
            first, end = max(0, span[0] - before), min(len(samples), span[1] + after)
            samples, span = samples[first:end], (span[0] - first, span[1] - first)
        rate = rng.uniform(0.85, 1.18)
        if span:
            span = (round(span[0] / rate), round(span[1] / rate))
        return self._vary(samples, rate), span, phrase

    def _other(self) -> tuple[FloatArray, None, str]:
        rng = self._rng
        kind = rng.random()
        if kind < 0.6:
            samples = self._others[rng.integers(len(self._others))].samples
        elif kind < 0.8:
            samples = self._clips[rng.integers(len(self._clips))]
        else:  # a word backwards sounds like speech and is none of the words
            samples = self._word()[0][::-1]
        length = min(len(samples), round(rng.uniform(0.4, 2.5) * SAMPLE_RATE))
        first = rng.integers(len(samples) - length + 1)
        return self._vary(samples[first : first + length], rng.uniform(0.85, 1.18)), None, ""

    def _vary(self, samples: FloatArray, rate: float) -> FloatArray:
        """At another speed, loudness and timbre, without clicks at its ends."""
        rng = self._rng
        place = np.arange(int(len(samples) / rate)) * rate
        varied = np.interp(place, np.arange(len(samples)), samples)
        varied[1:] += rng.uniform(-0.5, 0.5) * varied[:-1]
        loudest = np.sqrt(np.mean(np.square(varied))) + 1e-5
        varied *= 10 ** (rng.uniform(-35, -15) / 20) / loudest
        fade = np.minimum(np.arange(len(varied)) / 80, 1)
        return np.asarray(varied * fade * fade[::-1], np.float32)

    def _in_noise(self, samples: FloatArray) -> FloatArray:
        rng = self._rng
        kind = rng.random()
        if kind < 0.15:
            return samples
        if kind < 0.5:
            noise = rng.standard_normal(WINDOW)
            if rng.random() < 0.5:
                noise = np.cumsum(noise - np.mean(noise))
                noise[1:] -= 0.98 * noise[:-1]
        else:
            sounds = self._noises if kind < 0.85 else self._clips
            sound = sounds[rng.integers(len(sounds))]
            noise = np.roll(np.resize(sound, max(WINDOW, len(sound))), rng.integers(len(sound)))
            noise = noise[:WINDOW]
        level = 10 ** (rng.uniform(-75, -35) / 20)
        noise = noise * level / (np.sqrt(np.mean(np.square(noise))) + 1e-6)
        return np.asarray(samples + noise, np.float32)

"""Containers, codecs, rates, channels, and what may happen to a file.

What is heard is what was put in, or there is a gap or an error that says why. None is silently
short.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from detector.capture.recording import open_audio
from detector.errors import AudioFileError
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap, to_samples
from tests.capture.encodings import (
    BY_OTHERS,
    FILES,
    SECONDS,
    Made,
    needs_encoders,
    sweep,
    write_all,
)

pytestmark = needs_encoders

ALL = (*FILES, *BY_OTHERS)
PIECE = to_samples(0.25)
LIKE = 0.9
"""Correlation of a piece with what was put in; lossy codecs keep this much of a tone."""


@dataclass(frozen=True)
class Heard:
    """A recording as it was read."""

    samples: FloatArray
    """(n,) with zeros where the gaps are."""
    gaps: list[Gap]
    error: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def gap_s(self) -> float:
        return sum(gap.seconds for gap in self.gaps)


def hear(path: Path) -> Heard:
    items: list[AudioBlock | Gap] = []
    error = ""
    try:
        with open_audio(path) as opened:
            items.extend(opened)
    except AudioFileError as failure:
        error = str(failure)
        assert str(path) in error
    end = 0
    for item in items:
        assert item.first_sample == end
        end = item.end_sample
    samples = np.zeros(end, np.float32)
    for item in items:
        if isinstance(item, AudioBlock):
            samples[item.first_sample : item.end_sample] = item.samples
    return Heard(samples, [item for item in items if isinstance(item, Gap)], error)


def places(samples: FloatArray, reference: FloatArray, slack: int) -> Iterator[float | None]:
    """By how much each piece of the reference is heard later, in seconds; None if it is not."""
    for first in range(0, len(reference) - PIECE + 1, PIECE):
        piece = reference[first : first + PIECE]
        begin = max(0, first - slack)
        window = samples[begin : first + PIECE + slack]
        if len(window) < PIECE:
            yield None
            continue
        products = np.correlate(window, piece, "valid")
        energy = np.convolve(np.square(window, dtype=np.float64), np.ones(PIECE), "valid")
        norm = np.sqrt(np.maximum(energy, 1e-9) * float(piece @ piece))
        best = int(np.argmax(products / norm))
        like = (products / norm)[best] >= LIKE
        yield (begin + best - first) / SAMPLE_RATE if like else None


def found(heard: Heard, reference: FloatArray, slack_s: float) -> list[bool]:
    """Which pieces of the reference are where they should be."""
    slack = to_samples(slack_s) + 2
    return [at is not None for at in places(heard.samples, reference, slack)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("matrix")
    write_all(made)
    return made


def altered(folder: Path, made: Made, data: bytes) -> Path:
    path = folder / f"altered.{made.encoding.suffix}"
    path.write_bytes(data)
    return path


each = pytest.mark.parametrize("made", ALL, ids=lambda made: made.name)


@each
def test_an_intact_recording_is_heard_to_the_last_sample(folder: Path, made: Made) -> None:
    heard = hear(folder / made.name)
    assert heard.error == ""
    assert heard.gaps == []
    shift_s = made.encoding.shift_s
    assert SECONDS - shift_s <= heard.seconds + 1e-9
    assert heard.seconds <= SECONDS + 1.5 * shift_s + 1 / SAMPLE_RATE
    pieces = found(heard, sweep(), shift_s)
    # At the very edges, encoders with long windows have nothing to go by.
    assert all(pieces[1:-1] if shift_s else pieces)


@each
def test_a_truncated_recording_is_heard_as_far_as_it_goes(folder: Path, made: Made) -> None:
    data = (folder / made.name).read_bytes()
    heard = hear(altered(folder, made, data[: len(data) * 6 // 10]))
    sound_s = heard.seconds - heard.gap_s
    if made.encoding.tells_length:
        assert "truncated" in heard.error or "damaged" in heard.error
    else:
        assert sound_s >= 0.5 * SECONDS
    pieces = found(heard, sweep(), made.encoding.shift_s)
    whole = max(0, int((sound_s - made.encoding.shift_s) * SAMPLE_RATE) // PIECE)
    assert all(pieces[1:whole])


@each
def test_joined_recordings_are_heard_one_after_the_other(folder: Path, made: Made) -> None:
    data = (folder / made.name).read_bytes()
    heard = hear(altered(folder, made, 2 * data))
    assert heard.error == ""
    assert heard.gaps == []
    once = hear(folder / made.name)
    assert heard.seconds == pytest.approx(2 * once.seconds, abs=0.03)
    for half in (heard.samples[: len(once.samples)], heard.samples[len(once.samples) :]):
        pieces = found(Heard(half, [], ""), sweep(), made.encoding.shift_s + 0.03)
        assert all(pieces[1:-1])


@each
def test_damage_in_the_middle_costs_no_more_than_it_must(folder: Path, made: Made) -> None:
    data = (folder / made.name).read_bytes()
    middle = len(data) // 2
    heard = hear(altered(folder, made, data[:middle] + bytes(200) + data[middle + 200 :]))
    once = hear(folder / made.name)
    pieces = found(heard, sweep(), made.encoding.shift_s + 0.03)
    if not made.encoding.survives:
        assert all(pieces) or heard.gaps or heard.error
        return
    assert heard.error == ""
    assert heard.seconds == pytest.approx(once.seconds, abs=0.03)
    assert pieces[1:-1].count(False) <= 2
    assert heard.gap_s < 0.3

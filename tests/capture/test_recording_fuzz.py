"""Damaged recordings of every kind: the reader neither fails otherwise than it says nor hangs."""

import random
import resource
import time
from pathlib import Path

import pytest

from detector.capture.recording import open_audio
from detector.errors import AudioFileError
from detector.records import AudioBlock
from tests.capture.encodings import BY_OTHERS, FILES, SECONDS, needs_encoders, write_all

pytestmark = needs_encoders

ROUNDS = 4
LONGEST_S = 40 * SECONDS
"""Garbage can be sound of some codec; sound beyond all measure is a mistake."""
MOST_BYTES = 150 << 20
"""By so much may the memory grow in all rounds together: libraries are loaded in them."""
_MAGIC = (b"RIFF", b"data", b"OggS", b"fLaC", b"ID3\x03\x00", b"\xff\xfb\x90\x64", b"\x1aE\xdf\xa3")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few changes: bits, runs, sizes, cuts, repetitions, headers in the wrong place."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 20))):
        at = rng.randrange(max(1, len(changed))) if rng.random() < 0.6 else rng.randrange(120)
        length = rng.choice((1, 2, 4, 8, 100, 4000))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 1:
            changed[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[rng.randrange(len(changed) + 1) :][:length]
        elif kind == 4:
            changed[at:at] = rng.choice(_MAGIC)
        else:
            changed = changed[: max(1, at)] if rng.random() < 0.2 else changed
    return bytes(changed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    write_all(made)
    return made


def memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_no_damage_ends_in_anything_but_sound_gaps_and_a_reason(folder: Path) -> None:
    path = folder / "mutated"
    before = memory_bytes()
    slow = []
    for seed, made in enumerate(made for made in (*FILES, *BY_OTHERS) if made.rate < 90_000):
        rng = random.Random(seed)  # noqa: S311
        data = (folder / made.name).read_bytes()
        for _ in range(ROUNDS):
            path.write_bytes(mutated(data, rng))
            began = time.process_time()
            end = sound = 0
            try:
                with open_audio(path) as items:
                    for item in items:
                        assert item.first_sample == end
                        assert item.end_sample > end
                        end = item.end_sample
                        sound += len(item.samples) if isinstance(item, AudioBlock) else 0
                        assert sound < LONGEST_S * 16_000, made.name
            except AudioFileError as error:
                assert str(path) in str(error)  # noqa: PT017 (it need not be raised)
            slow += [made.name] if time.process_time() - began > 5 else []
    assert slow == []
    assert memory_bytes() - before < MOST_BYTES

"""A ring takes memory for what waits in it, not for what might."""

from itertools import zip_longest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.ring import RingBuffer
from detector.records import AudioBlock, Gap


@given(
    lengths=st.lists(st.integers(1, 40), max_size=60),
    reads=st.lists(st.integers(0, 50), max_size=60),
    keep=st.integers(1, 100),
)
def test_one_that_takes_memory_as_it_must_gives_what_one_of_full_size_would(
    lengths: list[int], reads: list[int], keep: int
) -> None:
    """And so much memory only as its readers were late."""
    rings = RingBuffer(100), RingBuffer(100, keep_samples=keep)
    readers = [ring.reader() for ring in rings]
    end, latest = 0, 0
    for length, count in zip_longest(lengths, reads, fillvalue=0):
        samples = np.arange(end, end + length, dtype=np.float32)
        for ring in rings:
            ring.write(AudioBlock(end, samples))
        end += length
        latest = max(latest, min(100, readers[1].pending_samples))
        for _ in range(count // 10):
            one, other = (reader.read(count + 1) for reader in readers)
            assert type(one) is type(other)
            if isinstance(one, AudioBlock) and isinstance(other, AudioBlock):
                assert one.first_sample == other.first_sample
                np.testing.assert_array_equal(one.samples, other.samples)
            else:
                assert one == other
    assert len(rings[1]._buffer) <= max(keep, min(100, 2 * max(keep, latest)))


def test_a_gap_that_nobody_has_read_takes_no_memory_and_is_no_sound() -> None:
    ring = RingBuffer(1000, keep_samples=10)
    reader = ring.reader()
    ring.write(AudioBlock(0, np.zeros(20, np.float32)))
    ring.write(Gap(20, 10**6, "stall"))
    ring.write(AudioBlock(10**6 + 20, np.zeros(5, np.float32)))
    assert (reader.pending_sound, len(ring._buffer)) == (25, 40)
    reader.read(15)
    assert reader.pending_sound == 10
    reader.read(100)
    assert reader.pending_sound == 5
    reader.read(1)
    reader.read(5)
    assert reader.pending_sound == 0

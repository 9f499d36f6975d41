import asyncio
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.microphone import QUEUE_S
from detector.capture.ring import Reader, RingBuffer
from detector.records import AudioBlock, Cut, FloatArray, Gap, GapReason, to_samples


def sound(first_sample: int, length: int) -> FloatArray:
    """Samples that tell their own index."""
    return np.arange(first_sample, first_sample + length, dtype=np.float32)


def block(first_sample: int, length: int) -> AudioBlock:
    return AudioBlock(first_sample, sound(first_sample, length))


@dataclass
class Model:
    """A plain list that does what the ring buffer should: the oracle."""

    capacity: int
    pieces: list[int | Gap | Cut] = field(default_factory=list)
    """Each sample's index, the gaps and the cuts."""
    end: int = 0

    def write(self, item: AudioBlock | Gap | Cut) -> None:
        if isinstance(item, Cut) and not (self.pieces and isinstance(self.pieces[-1], int)):
            return
        self.pieces += range(self.end, item.end_sample) if isinstance(item, AudioBlock) else [item]
        self.end = item.end_sample
        while sum(isinstance(piece, int) for piece in self.pieces) > self.capacity:
            while not isinstance(self.pieces.pop(0), int):
                pass

    def read(self, position: int, most: int, *, cut: bool) -> tuple[str, int, int] | None:
        """What a reader at `position` gets: (kind or reason, first sample, end).

        `cut` says that it was last told of a cut, or of what was overwritten.
        """
        if Cut(position) in self.pieces and not cut:
            return "cut", position, position
        if position == self.end:
            return None
        oldest = begin_of(self.pieces[0])
        if position < oldest:
            return "overrun", position, oldest
        end = position
        for piece in self.pieces:
            if isinstance(piece, Gap) and piece.first_sample == position:
                return piece.reason, position, piece.end_sample
            if not isinstance(piece, int) and begin_of(piece) == end > position:
                break
            if piece == end and end - position < most:
                end += 1
        return "sound", position, end


def begin_of(piece: int | Gap | Cut) -> int:
    if isinstance(piece, int):
        return piece
    return piece.end_sample if isinstance(piece, Cut) else piece.first_sample


reasons: st.SearchStrategy[GapReason] = st.sampled_from(["overflow", "restart", "stall"])
operations = st.lists(
    st.one_of(
        st.tuples(st.just("block"), st.integers(1, 30)),
        st.tuples(st.just("gap"), st.integers(1, 100), reasons),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 25)),
    ),
    max_size=40,
)


@given(st.integers(1, 40), st.integers(0, 1000), operations)
def test_readers_see_what_a_plain_list_would_show(
    capacity: int, begin: int, operations: list[tuple[str, int] | tuple[str, int, object]]
) -> None:
    ring, model = RingBuffer(capacity), Model(capacity, end=begin)
    readers = [ring.reader() for _ in range(3)]
    positions, overrun, cut = [begin] * 3, [0] * 3, [False] * 3
    for kind, number, *rest in operations:
        if kind == "block":
            item: AudioBlock | Gap | Cut = block(model.end, number)
        elif kind == "gap":
            item = Gap(model.end, number, rest[0])  # type: ignore[arg-type]
        elif kind == "cut":
            item = Cut(model.end)
        else:
            most = int(str(rest[0]))
            expected = model.read(positions[number], most, cut=cut[number])
            got = readers[number].read(most)
            if expected is None:
                assert got is None
                continue
            reason, first_sample, end = expected
            positions[number], cut[number] = end, reason in ("cut", "overrun")
            assert got is not None
            assert got.end_sample == end
            if isinstance(got, Cut):
                assert reason == "cut"
                continue
            assert got.first_sample == first_sample
            if isinstance(got, Gap):
                assert got.reason == reason
                overrun[number] += got.length * (reason == "overrun")
            else:
                assert reason == "sound"
                assert np.array_equal(got.samples, sound(first_sample, end - first_sample))
            assert readers[number].overrun_samples == overrun[number]
            continue
        ring.write(item)
        model.write(item)
    assert [reader.pending_samples for reader in readers] == [
        (model.end - position) * bool(ring.end_sample) for position in positions
    ]


def test_it_holds_exactly_its_capacity() -> None:
    ring = RingBuffer(1000)
    reader = ring.reader()
    for i in range(50):
        ring.write(block(i * 70, 70))
    assert reader.read(10_000) == Gap(0, 2500, "overrun")
    got = reader.read(10_000)
    assert isinstance(got, AudioBlock)
    assert np.array_equal(got.samples, sound(2500, 1000))


def test_what_was_read_does_not_change_when_it_is_overwritten() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    ring.write(block(0, 10))
    got = reader.read(10)
    ring.write(block(10, 10))
    assert isinstance(got, AudioBlock)
    assert np.array_equal(got.samples, sound(0, 10))


def test_a_block_that_is_longer_than_the_ring_leaves_its_end() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    ring.write(block(5, 25))
    assert reader.read(99) == Gap(5, 15, "overrun")
    got = reader.read(99)
    assert isinstance(got, AudioBlock)
    assert np.array_equal(got.samples, sound(20, 10))


def test_gaps_are_neither_merged_nor_bounded_in_length() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    gaps = [Gap(0, 10**9, "restart"), Gap(10**9, 5, "stall"), Gap(10**9 + 5, 5, "stall")]
    for gap in gaps:
        ring.write(gap)
    assert [reader.read(1) for _ in range(4)] == [*gaps, None]


def test_gaps_without_end_do_not_fill_the_memory() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    for i in range(20_000):
        ring.write(Gap(i, 1, "stall"))
    assert len(ring._pieces) <= ring._MAX_PIECES
    first = reader.read(1)
    assert isinstance(first, Gap)
    assert first.reason == "overrun"
    assert reader.read(1) == Gap(first.end_sample, 1, "stall")


def test_a_new_reader_begins_with_what_comes_next() -> None:
    ring = RingBuffer(100)
    ring.write(block(0, 50))
    reader = ring.reader()
    assert reader.read(10) is None
    ring.write(block(50, 5))
    got = reader.read(10)
    assert isinstance(got, AudioBlock)
    assert got.first_sample == 50


def test_what_is_kept_can_be_read_from_any_sample_on() -> None:
    ring = RingBuffer(20)
    for item in (block(0, 10), Gap(10, 5, "stall"), block(15, 12), Cut(27), block(27, 3)):
        ring.write(item)
    assert (ring.begin_sample, ring.oldest_sample, ring.end_sample) == (0, 5, 30)
    items: list[AudioBlock | Gap] = []
    at = 7
    while at < ring.end_sample:
        items.append(ring.read(at, 8))
        at = items[-1].end_sample
    spans = [(type(item), item.first_sample, item.end_sample) for item in items]
    assert spans == [
        (AudioBlock, 7, 10),
        (Gap, 10, 15),
        (AudioBlock, 15, 23),
        (AudioBlock, 23, 27),
        (AudioBlock, 27, 30),
    ]
    assert ring.read(12, 8) == Gap(12, 3, "stall")
    for outside in (4, 30):
        with pytest.raises(ValueError, match=f"sample {outside} is not kept, only 5 to 30"):
            ring.read(outside, 8)


def test_gaps_are_not_counted_as_heard() -> None:
    ring = RingBuffer(10)
    for item in (block(0, 15), Gap(15, 1000, "stall"), Cut(1015), block(1015, 7)):
        ring.write(item)
    assert ring.samples_heard == 22


def test_it_keeps_what_a_capture_program_may_deliver_at_once_in_little_memory() -> None:
    tracemalloc.start()
    try:
        ring = RingBuffer()
        reader = ring.reader()
        ring.write(AudioBlock(0, np.ones(to_samples(QUEUE_S + 1), np.float32)))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 0.71e6
    item = reader.read(ring.end_sample)
    assert isinstance(item, AudioBlock)
    assert item.seconds == QUEUE_S + 1


def test_a_cut_comes_once_where_the_sound_stops_and_the_sound_goes_on_behind_it() -> None:
    ring = RingBuffer(100)
    reader = ring.reader()
    ring.write(Cut(0))  # nothing was heard yet
    for item in (block(0, 10), Cut(10), Cut(10), block(10, 5), Gap(15, 2, "stall"), Cut(17)):
        ring.write(item)
    read = [reader.read(50) for _ in range(5)]
    spans = [item and (type(item), item.end_sample) for item in read]
    assert spans == [(AudioBlock, 10), (Cut, 10), (AudioBlock, 15), (Gap, 17), None]
    ring.write(block(17, 3))
    ring.write(Cut(20))
    assert ring.reader().read(50) is None  # whoever heard nothing has nothing to cut


def test_a_cut_wakes_who_waits_for_sound_and_is_read_before_the_end() -> None:
    async def scenario() -> None:
        ring = RingBuffer(10)
        reader = ring.reader()
        ring.write(block(0, 5))
        assert isinstance(reader.read(9), AudioBlock)
        waiting = asyncio.create_task(reader.wait())
        await asyncio.sleep(0)
        ring.write(Cut(5))
        async with asyncio.timeout(5):
            await waiting
        ring.close()
        assert not reader.closed
        assert reader.read(9) == Cut(5)
        assert reader.closed

    asyncio.run(scenario())


def test_cuts_without_end_do_not_fill_the_memory() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    for i in range(10_000):
        ring.write(block(i, 1))
        ring.write(Cut(i + 1))
    assert len(ring._cuts) <= ring._MAX_PIECES
    assert len(ring._pieces) <= ring._MAX_PIECES
    assert reader.read(1) == Gap(0, 9990, "overrun")
    for i in range(9990, 10_000):
        assert isinstance(reader.read(9), AudioBlock)
        assert reader.read(9) == Cut(i + 1)


@pytest.mark.parametrize(
    ("item", "first_sample"),
    [
        (block(9, 5), 9),
        (block(11, 5), 11),
        (Gap(0, 5, "stall"), 0),
        (Gap(12, 1, "stall"), 12),
        (Cut(9), 9),
    ],
)
def test_a_hole_or_an_overlap_is_refused(item: AudioBlock | Gap | Cut, first_sample: int) -> None:
    ring = RingBuffer(100)
    ring.write(block(0, 10))
    with pytest.raises(ValueError, match=f"sample 10 comes next, not {first_sample}"):
        ring.write(item)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        RingBuffer(0)
    ring = RingBuffer(1)
    with pytest.raises(ValueError, match="max_samples = 0"):
        ring.reader().read(0)
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        ring.write(block(0, 1))


def test_nothing_yet_and_nothing_any_more_are_two_things() -> None:
    ring = RingBuffer(10)
    reader = ring.reader()
    assert reader.read(5) is None
    assert not reader.closed
    ring.write(block(0, 5))
    ring.close()
    assert not reader.closed
    assert isinstance(reader.read(5), AudioBlock)
    assert reader.read(5) is None
    assert reader.closed


async def read_all(reader: Reader) -> list[AudioBlock | Gap | Cut]:
    items = []
    while not reader.closed:
        await reader.wait()
        item = reader.read(7)
        if item is not None:
            items.append(item)
    return items


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30))
def test_waiting_readers_miss_nothing_however_writes_and_reads_interleave(
    writes: list[tuple[int, bool]],
) -> None:
    async def scenario() -> list[list[AudioBlock | Gap | Cut]]:
        ring = RingBuffer(1000)
        readings = [asyncio.create_task(read_all(ring.reader())) for _ in range(3)]
        await asyncio.sleep(0)
        for length, pause in writes:
            ring.write(block(ring.end_sample, length))
            if pause:
                await asyncio.sleep(0)
        ring.close()
        async with asyncio.timeout(5):
            return await asyncio.gather(*readings)

    total = sum(length for length, _ in writes)
    for items in asyncio.run(scenario()):
        heard = [item.samples for item in items if isinstance(item, AudioBlock)]
        assert np.array_equal(np.concatenate([*heard, sound(0, 0)]), sound(0, total))


def test_a_reader_that_gives_up_waiting_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        ring = RingBuffer(10)
        reader = ring.reader()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await reader.wait()
        assert not ring._changed._waiting
        ring.write(block(0, 5))
        await reader.wait()
        assert isinstance(reader.read(5), AudioBlock)

    asyncio.run(scenario())

"""Whoever reads a ring buffer waits for as much sound as it wants, or for what interrupts it."""

import asyncio
import contextlib

import pytest

from detector.capture.ring import Reader, RingBuffer
from detector.records import AudioBlock, Cut, Gap
from tests.capture.test_ring import block


def test_a_cut_in_the_middle_of_what_waits_wakes_who_waits_for_more() -> None:
    async def scenario() -> None:
        ring = RingBuffer(1000)
        reader = ring.reader()
        ring.write(block(0, 20))
        ring.write(Cut(20))
        ring.write(block(20, 30))
        for expected in (AudioBlock, Cut):
            await asyncio.wait_for(reader.wait(100), 1)
            assert isinstance(reader.read(1000), expected)
        with pytest.raises(TimeoutError):  # nothing interrupts the rest
            await asyncio.wait_for(reader.wait(100), 0.01)

    asyncio.run(scenario())


def test_a_reader_waits_for_as_much_sound_as_it_wants_but_not_past_what_interrupts_it() -> None:
    async def waits(reader: Reader) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.wait(100), 0.01)
            return False
        return True

    async def run() -> None:
        ring = RingBuffer(1000)
        reader = ring.reader()
        ring.write(block(0, 99))
        assert await waits(reader)
        ring.write(block(99, 1))
        assert not await waits(reader)
        reader.read(1000)
        ring.write(block(100, 20))
        assert await waits(reader)
        ring.write(Cut(120))
        assert not await waits(reader)
        reader.read(1000)
        reader.read(1000)
        ring.write(block(120, 20))
        ring.write(Gap(140, 5, "stall"))
        assert not await waits(reader)

    asyncio.run(run())

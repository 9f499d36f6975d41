"""Windows that wait for a slow model: few, and nothing is lost from the account."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.inference.window_queue import WaitingWindows
from detector.records import Cut, Window

LIMIT = 3
MOST_CUTS = 16
Item = Window | Cut


def window(end_sample: int, new_samples: int = 10, power: float = 1.0) -> Window:
    data = np.array([end_sample], np.float32)
    return Window(end_sample - 100, end_sample, new_samples, data, power)


def drain(waiting: WaitingWindows) -> list[Item]:
    async def run() -> list[Item]:
        waiting.close()
        found = []
        while (item := await waiting.get()) is not None:
            found.append(item)
        return found

    return asyncio.run(run())


def stretches(items: list[Item]) -> list[list[Window]]:
    """The windows before, between and after cuts."""
    parts: list[list[Window]] = [[]]
    for item in items:
        if isinstance(item, Cut):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def sound(items: list[Window]) -> tuple[int, float]:
    """New samples, and their energy."""
    return sum(w.new_samples for w in items), sum(w.new_samples * w.power for w in items)


@st.composite
def work(draw: st.DrawFn, most_cuts: int = MOST_CUTS) -> list[Item]:
    """What a source makes: windows, then those that show nothing new, then a cut; and so on."""
    items: list[Item] = []
    end = 0
    for _ in range(draw(st.integers(0, most_cuts))):
        for _ in range(draw(st.integers(0, 8))):
            new = draw(st.integers(1, 50))
            end += new
            items.append(window(end, new, draw(st.floats(0, 1))))
        items += [window(end, 0, 0.0) for _ in range(draw(st.integers(0, 4)))]
        items.append(Cut(end))
        end += draw(st.integers(0, 100))
    for _ in range(draw(st.integers(0, 8))):
        end += 10
        items.append(window(end, 10, draw(st.floats(0, 1))))
    return items


@given(items=work())
@settings(max_examples=100)
def test_few_wait_and_no_sound_is_lost(items: list[Item]) -> None:
    waiting = WaitingWindows(LIMIT)
    for item in items:
        waiting.put(item)
    left = drain(waiting)
    assert [i for i in left if isinstance(i, Cut)] == [i for i in items if isinstance(i, Cut)]
    assert waiting.skipped == len(items) - len(left)
    for put, got in zip(stretches(items), stretches(left), strict=True):
        new = [w for w in put if w.new_samples]
        assert len([w for w in got if w.new_samples]) == min(LIMIT, len(new))
        assert [w.end_sample for w in got] == [w.end_sample for w in put][-len(got) :]
        assert [w.data.tolist() for w in got] == [w.data.tolist() for w in put][-len(got) :]
        assert sound(got)[0] == sound(put)[0]
        assert sound(got)[1] == pytest.approx(sound(put)[1], rel=1e-12)


def test_windows_before_a_cut_that_show_nothing_new_are_kept() -> None:
    """They come all at once, and time the end of what sounded last."""
    waiting = WaitingWindows(1)
    items: list[Item] = [window(10), window(10, 0), window(10, 0), window(10, 0), Cut(10)]
    for item in items:
        waiting.put(item)
    assert drain(waiting) == items
    assert waiting.skipped == 0


def test_nothing_is_skipped_while_the_model_keeps_up() -> None:
    async def run() -> None:
        waiting = WaitingWindows(1)
        for end in range(10, 1000, 10):
            waiting.put(window(end))
            item = await waiting.get()
            assert isinstance(item, Window)
            assert (item.end_sample, item.new_samples) == (end, 10)
        assert waiting.skipped == 0

    asyncio.run(run())


def test_a_skipped_window_counts_with_the_one_after_it() -> None:
    waiting = WaitingWindows(1)
    waiting.put(window(10, new_samples=10, power=1.0))
    waiting.put(window(40, new_samples=30, power=0.2))
    [left] = drain(waiting)
    assert isinstance(left, Window)
    assert (left.end_sample, left.new_samples) == (40, 40)
    assert left.power == pytest.approx((10 * 1.0 + 30 * 0.2) / 40)


@given(items=work(most_cuts=60))
@settings(max_examples=30)
def test_a_storm_of_cuts_is_bounded_too(items: list[Item]) -> None:
    waiting = WaitingWindows(LIMIT)
    for item in items:
        waiting.put(item)
    left = drain(waiting)
    cuts = [item for item in items if isinstance(item, Cut)]
    kept = [item for item in left if isinstance(item, Cut)]
    assert len(kept) == min(MOST_CUTS, len(cuts))
    assert kept == cuts[:1] + cuts[1 - len(kept) :] if len(cuts) > 1 else kept == cuts
    windows = sum(isinstance(item, Window) for item in items)
    assert waiting.skipped == windows - sum(isinstance(item, Window) for item in left)
    # What came before the first cut was not touched: it ends what was answered already.
    assert len(stretches(left)[0]) == len(stretches_after_skipping(items)[0])


def stretches_after_skipping(items: list[Item]) -> list[list[Window]]:
    first = stretches(items)[0]
    new = [w for w in first if w.new_samples]
    return [new[-LIMIT:] + [w for w in first if not w.new_samples]]


def test_get_waits_for_what_is_put_later() -> None:
    async def run() -> None:
        waiting = WaitingWindows(LIMIT)
        getting = asyncio.create_task(waiting.get())
        await asyncio.sleep(0)
        assert not getting.done()
        waiting.put(Cut(7))
        assert await asyncio.wait_for(getting, 5) == Cut(7)

    asyncio.run(run())


def test_get_ends_when_it_is_closed_and_empty() -> None:
    async def run() -> None:
        waiting = WaitingWindows(LIMIT)
        waiting.put(Cut(7))
        waiting.close()
        assert await waiting.get() == Cut(7)
        assert await waiting.get() is None
        getting = asyncio.create_task(WaitingWindows(LIMIT).get())
        await asyncio.sleep(0)
        getting.cancel()

    asyncio.run(run())


def test_close_wakes_who_waits() -> None:
    async def run() -> None:
        waiting = WaitingWindows(LIMIT)
        getting = asyncio.create_task(waiting.get())
        await asyncio.sleep(0)
        waiting.close()
        assert await asyncio.wait_for(getting, 5) is None

    asyncio.run(run())


def test_a_cancelled_reader_loses_nothing() -> None:
    async def run() -> None:
        waiting = WaitingWindows(LIMIT)
        getting = asyncio.create_task(waiting.get())
        await asyncio.sleep(0)
        getting.cancel()
        waiting.put(Cut(7))
        await asyncio.gather(getting, return_exceptions=True)
        assert await asyncio.wait_for(waiting.get(), 5) == Cut(7)

    asyncio.run(run())

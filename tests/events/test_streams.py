"""Several streams are taken in the order of the sound."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.events.patterns.stream_merger import StreamMerger
from detector.events.patterns.streams import StreamUpdate
from tests.events.streams import event


def test_streams_are_given_out_in_the_order_of_the_sound() -> None:
    order = StreamMerger(2)
    assert list(order.push(0, StreamUpdate(10))) == []
    assert list(order.push(0, StreamUpdate(20))) == []
    assert list(order.push(1, StreamUpdate(15))) == [(StreamUpdate(10), 0), (StreamUpdate(15), 10)]
    assert list(order.push(1, StreamUpdate(30))) == [(StreamUpdate(20), 15)]


def test_of_equals_the_first_stream_comes_first_and_a_cut_last() -> None:
    order = StreamMerger(2)
    first, second, cut = (
        StreamUpdate(10),
        StreamUpdate(10, (event("start", 5),)),
        StreamUpdate(10, cut=True),
    )
    assert list(order.push(1, first)) == []
    assert list(order.push(0, second)) == [(second, 0)]
    assert list(order.push(0, cut)) == [(first, 10)], "the cut waits for what the other may say"
    assert list(order.push(1, cut)) == [(cut, 10), (cut, 10)]


@given(st.data())
def test_streams_may_tell_in_any_order(data: st.DataObject) -> None:
    steps = st.lists(st.integers(0, 3), max_size=12)
    streams = [np.cumsum(data.draw(steps)).tolist() for _ in range(3)]
    ends = [StreamUpdate(until, cut=True) for until in (100, 100, 100)]
    with_ends = [
        [*map(StreamUpdate, untils), end] for untils, end in zip(streams, ends, strict=True)
    ]

    def run(turns: Sequence[int]) -> list[tuple[StreamUpdate, int]]:
        order, queues = StreamMerger(3), [iter(stream) for stream in with_ends]
        return [told for turn in turns for told in order.push(turn, next(queues[turn]))]

    turns = [index for index, stream in enumerate(with_ends) for _ in stream]
    expected = run(turns)
    assert len(expected) == len(turns)
    assert run(data.draw(st.permutations(turns))) == expected


def test_a_stream_that_hangs_is_not_waited_for_without_end() -> None:
    order = StreamMerger(2)
    found = [item for until in range(10_000) for item in order.push(0, StreamUpdate(until + 1))]
    assert 5000 < len(found) < 6000
    assert found[-1] == (StreamUpdate(len(found)), len(found))

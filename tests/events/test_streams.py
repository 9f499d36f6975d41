"""Several streams are taken in the order of the sound."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.events.patterns.streams import Heard, InOrder
from tests.events.streams import event


def test_streams_are_given_out_in_the_order_of_the_sound() -> None:
    order = InOrder(2)
    assert list(order.push(0, Heard(10))) == []
    assert list(order.push(0, Heard(20))) == []
    assert list(order.push(1, Heard(15))) == [(Heard(10), 0), (Heard(15), 10)]
    assert list(order.push(1, Heard(30))) == [(Heard(20), 15)]


def test_of_equals_the_first_stream_comes_first_and_a_cut_last() -> None:
    order = InOrder(2)
    first, second, cut = Heard(10), Heard(10, (event("start", 5),)), Heard(10, cut=True)
    assert list(order.push(1, first)) == []
    assert list(order.push(0, second)) == [(second, 0)]
    assert list(order.push(0, cut)) == [(first, 10)], "the cut waits for what the other may say"
    assert list(order.push(1, cut)) == [(cut, 10), (cut, 10)]


@given(st.data())
def test_streams_may_tell_in_any_order(data: st.DataObject) -> None:
    steps = st.lists(st.integers(0, 3), max_size=12)
    streams = [np.cumsum(data.draw(steps)).tolist() for _ in range(3)]
    ends = [Heard(until, cut=True) for until in (100, 100, 100)]
    streams_told = [[*map(Heard, untils), end] for untils, end in zip(streams, ends, strict=True)]

    def run(turns: Sequence[int]) -> list[tuple[Heard, int]]:
        order, queues = InOrder(3), [iter(stream) for stream in streams_told]
        return [told for turn in turns for told in order.push(turn, next(queues[turn]))]

    turns = [index for index, stream in enumerate(streams_told) for _ in stream]
    expected = run(turns)
    assert len(expected) == len(turns)
    assert run(data.draw(st.permutations(turns))) == expected


def test_a_stream_that_hangs_is_not_waited_for_without_end() -> None:
    order = InOrder(2)
    found = [item for until in range(10_000) for item in order.push(0, Heard(until + 1))]
    assert 5000 < len(found) < 6000
    assert found[-1] == (Heard(len(found)), len(found))

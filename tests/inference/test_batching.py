"""Which windows are scored together, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.inference.batching import BUCKETS, Batcher, bucket_of


def test_nothing_is_due_while_nothing_waits() -> None:
    batcher: Batcher[int] = Batcher(4, 0.5)
    assert batcher.due_in_s(0) is None
    assert batcher.take() == []


def test_a_batch_is_due_when_it_is_full_or_the_oldest_window_has_waited_long_enough() -> None:
    batcher: Batcher[int] = Batcher(2, 0.5)
    batcher.add("hall", 1, 10.0)
    assert batcher.due_in_s(10.1) == pytest.approx(0.4)
    assert batcher.due_in_s(10.6) == 0
    batcher.add("yard", 2, 10.1)
    assert batcher.due_in_s(10.1) == 0, "it is full"


def test_at_no_delay_nothing_waits_for_company() -> None:
    batcher: Batcher[int] = Batcher(8)
    batcher.add("hall", 1, 3.0)
    assert batcher.due_in_s(3.0) == 0


def test_sources_take_turns_whatever_their_backlogs_are() -> None:
    batcher: Batcher[str] = Batcher(2)
    for job in ("a1", "a2", "a3", "a4"):
        batcher.add("a", job, 0)
    batcher.add("b", "b1", 1)
    batcher.add("c", "c1", 2)
    assert [batcher.take() for _ in range(3)] == [["a1", "b1"], ["c1", "a2"], ["a3", "a4"]]


@given(
    jobs=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60),
    largest=st.integers(1, 64),
)
def test_each_window_is_taken_once_and_in_its_sources_order(
    jobs: list[tuple[int, bool]], largest: int
) -> None:
    batcher: Batcher[tuple[int, int]] = Batcher(largest)
    taken: list[tuple[int, int]] = []
    for number, (source, take) in enumerate(jobs):
        batcher.add(source, (source, number), number)
        if take:
            batch = batcher.take()
            assert 0 < len(batch) <= largest
            taken += batch
    while batch := batcher.take():
        taken += batch
    assert len(batcher) == 0
    assert sorted(taken, key=lambda job: job[1]) == [
        (source, number) for number, (source, _) in enumerate(jobs)
    ]
    for source in range(6):
        numbers = [number for one, number in taken if one == source]
        assert numbers == sorted(numbers)


@given(count=st.integers(1, BUCKETS[-1]))
def test_a_bucket_holds_the_batch_and_the_next_smaller_one_does_not(count: int) -> None:
    bucket = bucket_of(count)
    assert bucket >= count
    assert bucket == 1 or bucket // 2 < count


def test_there_is_no_bucket_for_more_than_the_largest_holds() -> None:
    with pytest.raises(ValueError, match="65"):
        bucket_of(65)

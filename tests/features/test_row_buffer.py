"""The latest rows of a stream, by absolute index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.features.row_buffer import RowBuffer


@given(lengths=st.lists(st.integers(0, 10), max_size=60))
@settings(max_examples=50)
def test_the_last_rows_are_there_and_are_the_right_ones(lengths: list[int]) -> None:
    buffer = RowBuffer(10, 10, width=3)
    stream = np.arange(3 * sum(lengths), dtype=np.float32).reshape(-1, 3)
    end = 0
    for length in lengths:
        buffer.append(stream[end : end + length])
        end += length
        assert buffer.end == end
        first = max(0, end - 10)
        np.testing.assert_array_equal(buffer.rows(first, end), stream[first:end])


def test_rows_that_are_gone_or_yet_to_come_are_refused() -> None:
    buffer = RowBuffer(4, 4)
    for i in range(100):
        buffer.append(np.array([i], np.float32))
    with pytest.raises(IndexError, match=r"rows 0\.\.2 are not in"):
        buffer.rows(0, 2)
    with pytest.raises(IndexError, match=r"rows 99\.\.101"):
        buffer.rows(99, 101)
    with pytest.raises(IndexError):
        buffer.rows(99, 98)

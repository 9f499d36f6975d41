"""Where a long recording can be cut so that its parts say the same as the whole.

What it takes to compute a PSDS grows with the square of a recording's length.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

LONGEST: Final = 3_000
"""Steps in one chunk, if there is a place to cut."""


def chunks(
    times_s: NDArray[np.floating],
    scores: NDArray[np.floating],
    events: Iterable[tuple[float, float]],
) -> list[tuple[int, int]]:
    """Cut where no event is and the scores are low.

    What a threshold above them detects stays whole.

    Args:
        times_s: (n + 1,) the edges of the steps.
        scores: (n, labels).
        events: (onset, offset) in seconds; none is cut.

    Returns:
        The first step of each chunk, and the step after its last.
    """
    # What the higher of two thresholds that meet at an edge would have to exceed.
    across = np.minimum(scores[:-1], scores[1:]).max(axis=1, initial=0)
    for onset, offset in events:
        across[(onset < times_s[1:-1]) & (times_s[1:-1] < offset)] = np.inf
    edges = [0]
    while len(scores) - edges[-1] > LONGEST:
        begin = edges[-1] + LONGEST // 2
        near = across[begin - 1 : begin - 1 + LONGEST // 2]
        if not np.isfinite(near).any():
            near = across[begin - 1 :]
            free = np.flatnonzero(np.isfinite(near))
            if not len(free):
                break
            near = near[: free[0] + 1]
        edges.append(begin + int(np.argmin(near)))
    return list(pairwise([*edges, len(scores)]))

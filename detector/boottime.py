"""Seconds since the machine was started, which go on while it is suspended.

Neither a step of the wall clock nor a suspension upsets a difference of two of these. The timers
of asyncio and `time.monotonic` stand still during a suspension, on Linux.
"""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux alone has the first


def boottime() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(_CLOCK)


def boottime_ns() -> int:
    """Nanoseconds since the machine was started."""
    return time.clock_gettime_ns(_CLOCK)

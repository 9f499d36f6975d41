"""How a capture is."""

from collections.abc import Callable
from typing import Literal

CaptureStatus = Literal["listening", "stalled", "offline"]
"""listening: sound comes; stalled: it has stopped coming, without an error; offline: there is no
device, stream or file that could deliver any."""

OnStatus = Callable[[CaptureStatus], None]
"""Is called at each change of the status, and when it is offline for another reason."""

"""A few numbers beside the database, by which it is seen what the database has lost.

A log cut off by a power failure leaves a database that is sound and merely older: nothing in it
tells of what came after. So the newest ticket and the sequence numbers stand in a file of their
own as well. It is written in place, which needs no room on the disk and so works on a full one.

Until when each source was heard stands here too: it changes all the time, and to write it in
place costs one block.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far an outbox had come."""

    ticket: int = 0
    """The newest ticket given out, not counting those that the disk never took nor needs to."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """The last sequence number of each source."""
    heard_until: Mapping[str, float] = field(default_factory=dict)
    """Seconds since 1970, UTC, by source: until when sound was heard."""

    @classmethod
    def read(cls, path: Path) -> "Watermark":
        """What the file says; nothing at all if it cannot be read or is damaged."""
        try:
            check, _, text = path.read_bytes().rstrip(b" ").partition(b" ")
            if int(check, 16) != zlib.crc32(text):
                return cls()
            values = json.loads(text)
            return cls(
                int(values["ticket"]),
                {source: int(last) for source, last in values["sequences"].items()},
                {source: float(at) for source, at in values.get("heard_until", {}).items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path) -> None:
        """Write in place, and not to the disk at once: a killed process leaves what it wrote."""
        values = {
            "ticket": self.ticket,
            "sequences": dict(self.sequences),
            "heard_until": dict(self.heard_until),
        }
        text = json.dumps(values).encode()
        content = b"%08x %s" % (zlib.crc32(text), text)
        content = content.ljust(-len(content) % _BLOCK + len(content))
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, content, 0)
                os.ftruncate(file, len(content))
            finally:
                os.close(file)

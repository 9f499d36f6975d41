"""Events as lines for people."""

from rich.console import Console
from rich.text import Text

from detector.publish.messages import EventMessage
from detector.publish.publisher import Publisher


def describe(message: EventMessage) -> Text:
    """When, where, what, how sure and how loud."""
    ended = message.type == "end" and message.offset is not None
    when = message.offset if ended and message.offset else message.onset
    took = f" after {message.duration_s:.2f} s" if message.duration_s is not None else ""
    cut = ", cut off" if message.truncated else ""
    return Text.assemble(
        (f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}  ", "dim"),
        f"{message.source:<16} {message.type:<6} ",
        (message.name, "bold" if message.type == "start" else ""),
        f"{took}{cut}",
        (f"  {message.score.peak:.2f}  {message.level_dbfs:.0f} dBFS", "dim"),
    )


class LinesPublisher(Publisher):
    """Prints starts and ends on stdout."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def event(self, message: EventMessage) -> None:
        if message.type != "update":
            self._console.print(describe(message))

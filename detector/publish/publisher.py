"""What the daemon hands to whoever publishes it."""

from collections.abc import Sequence
from datetime import datetime

from detector.health_report import HealthReport
from detector.publish.messages import EventMessage, GapMessage
from detector.records import SourceStatus
from detector.stats import Stats


class Publisher:
    """Base of all publishers: each carries what it has a place for, and passes over the rest.

    Every call returns at once; whoever must wait does so elsewhere.
    """

    def declare(self, source: str, labels: Sequence[str]) -> None:
        """Say which labels a source can have, before anything is heard."""

    def event(self, message: EventMessage) -> None:
        """A segment begins, goes on or ends."""

    def gap(self, message: GapMessage) -> None:
        """Something was not heard."""

    def source_status(self, source: str, status: SourceStatus) -> None:
        """A source is in another state."""

    def health(self, source: str, report: HealthReport) -> None:
        """How a source is: at each change, and now and then."""

    def stats(self, stats: Stats) -> None:
        """What was counted until now."""

    def heard(self, source: str, until: datetime) -> None:
        """Sound of a source was heard until then (UTC)."""

    def scores(self, source: str, top: dict[str, float]) -> None:
        """The highest scores of a window, by label."""

    def level(
        self, source: str, power: float, samples: int, a_weighted: float | None = None
    ) -> None:
        """The mean square of the samples that just came in (full scale is 1).

        Args:
            source: whose.
            power: of all frequencies alike.
            samples: how many these are.
            a_weighted: as the ear weighs them, and those before that came without; None where too
                little came for that.
        """

"""Several publishers as one, none of which can do harm to the others."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from detector.health_report import HealthReport
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.publisher import Publisher
from detector.records import SourceStatus
from detector.stats import Stats

log = structlog.get_logger()


class FanOut(Publisher):
    """Tells every publisher. One that fails is said once, and told again the next time."""

    def __init__(self, publishers: Sequence[Publisher]) -> None:
        self._publishers = publishers
        self._failing: set[Publisher] = set()

    def declare(self, source: str, labels: Sequence[str]) -> None:
        self._each(lambda publisher: publisher.declare(source, labels))

    def event(self, message: EventMessage) -> None:
        self._each(lambda publisher: publisher.event(message))

    def gap(self, message: GapMessage) -> None:
        self._each(lambda publisher: publisher.gap(message))

    def source_status(self, source: str, status: SourceStatus) -> None:
        self._each(lambda publisher: publisher.source_status(source, status))

    def health(self, source: str, report: HealthReport) -> None:
        self._each(lambda publisher: publisher.health(source, report))

    def stats(self, stats: Stats) -> None:
        self._each(lambda publisher: publisher.stats(stats))

    def heard(self, source: str, until: datetime) -> None:
        self._each(lambda publisher: publisher.heard(source, until))

    def scores(self, source: str, top: dict[str, float]) -> None:
        self._each(lambda publisher: publisher.scores(source, top))

    def level(
        self, source: str, power: float, samples: int, a_weighted: float | None = None
    ) -> None:
        self._each(lambda publisher: publisher.level(source, power, samples, a_weighted))

    def _each(self, tell: Callable[[Publisher], None]) -> None:
        for publisher in self._publishers:
            try:
                tell(publisher)
            except Exception as error:
                if publisher not in self._failing:
                    self._failing.add(publisher)
                    to = type(publisher).__name__
                    log.warning("what is heard cannot be written", to=to, exc_info=error)
            else:
                self._failing.discard(publisher)

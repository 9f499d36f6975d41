"""The sound of a source before the models hear it: conditioned, watched, and told about."""

from collections.abc import Mapping

import structlog

from detector.capture.capture import Capture
from detector.capture.sound.conditioning import Conditioning
from detector.health_report import HealthReport, Problem, ProblemKind
from detector.operate.health import SourceHealth
from detector.publish.publisher import Publisher
from detector.records import AudioBlock, SourceStatus
from detector.settings.sources import SourceSettings

log = structlog.get_logger()


class SourceSignal:
    """What is known of a source's sound, and whoever is told."""

    def __init__(self, settings: SourceSettings, capture: Capture, publisher: Publisher) -> None:
        self._name, self._capture, self._publisher = settings.name, capture, publisher
        self._conditioning = Conditioning(settings.gain_db, settings.highpass_hz, settings.mains_hz)
        self._health = SourceHealth(removes_offset=settings.highpass_hz is not None)
        self._failure: str | None = None
        self._problems: dict[ProblemKind, Problem] = {}
        self.status: SourceStatus = "offline"

    def report(self) -> HealthReport:
        """How the source is now."""
        failure = self._failure or self._capture.failure
        return self._health.report(self._capture.stream, failure)

    def declare(self) -> None:
        """Tell the publishers how it is, before it is heard."""
        report = self.report()
        self._problems = {problem.kind: problem for problem in report.problems}
        self._publisher.source_status(self._name, self.status)
        self._publisher.health(self._name, report)

    def hear(self, block: AudioBlock) -> AudioBlock:
        """Take what was captured, return it as the models are to hear it."""
        heard = self._conditioning.apply(block)
        self._failure = None
        power, a_weighted = self._health.push(block, heard)
        self._refresh()
        self._publisher.level(self._name, power, len(heard.samples), a_weighted)
        return heard

    def captured(self, status: SourceStatus) -> None:
        """Take the capture's word."""
        self._health.captured(status)
        self._refresh()

    def failed(self, why: str) -> None:
        """The source is offline for a reason that the capture does not know."""
        self._failure = why
        self._refresh()

    def hangs(self, model: str) -> bool:
        """Whether a model does not answer."""
        return self._health.hangs(model)

    def hang(self, model: str) -> None:
        """A model does not answer."""
        self._health.hang(model)
        self._refresh()

    def answer(self, model: str) -> bool:
        """A model has answered; say whether it had not for a while."""
        hung = self._health.answer(model)
        if hung:
            self._refresh()
        return hung

    def _refresh(self) -> None:
        report = self.report()
        if report.status != self.status:
            self.status = report.status
            log.info("source", source=self._name, status=self.status)
            self._publisher.source_status(self._name, self.status)
        problems = {problem.kind: problem for problem in report.problems}
        reason, told = problems.get("offline"), self._problems.get("offline")
        if problems.keys() != self._problems.keys() or reason != told:
            self._log(problems)
            self._publisher.health(self._name, report)
        self._problems = problems

    def _log(self, problems: Mapping[ProblemKind, Problem]) -> None:
        """Log what is new, and what is over; the capture itself says why it captures nothing."""
        for kind in problems.keys() - self._problems.keys() - {"offline", "stalled"}:
            advice = problems[kind].advice
            log.warning(
                "the source does not hear well", source=self._name, problem=kind, advice=advice
            )
        if "offline" not in problems:
            for kind in self._problems.keys() - problems.keys() - {"offline", "stalled"}:
                log.info("the source hears well again", source=self._name, problem=kind)

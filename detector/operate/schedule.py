"""At which hours which labels become events: the local time at which a sound began decides."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from detector.settings.schedule import WEEKDAYS, ScheduleSettings


class Schedule:
    """The hours of a configuration. A label must be allowed by all that apply at a moment."""

    def __init__(self, settings: Sequence[ScheduleSettings], time_zone: str | None = None) -> None:
        """`time_zone` is this machine's own if it is not given."""
        self._settings = tuple(settings)
        self._zone = ZoneInfo(time_zone) if time_zone else None

    def allows(self, source: str, label: str, onset: datetime) -> bool:
        """Whether a sound that began at `onset`, a time with a zone, becomes an event."""
        local = onset.astimezone(self._zone)
        return all(
            label in (hours.only or ())
            for hours in self._settings
            if source in (hours.sources or (source,)) and _within(hours, local)
        )


def _within(hours: ScheduleSettings, local: datetime) -> bool:
    """Whether a local time falls into the hours, of this day or of those that began yesterday."""
    now = local.time()
    if hours.begin < hours.end:
        return _on(hours, local) and hours.begin <= now < hours.end
    if now >= hours.begin:
        return _on(hours, local)
    return now < hours.end and _on(hours, local - timedelta(days=1))


def _on(hours: ScheduleSettings, day: datetime) -> bool:
    return hours.days is None or WEEKDAYS[day.weekday()] in hours.days

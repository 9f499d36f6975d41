"""Which settings can be changed in a running service: those whose field is marked with LIVE.

A marked field changes as a whole. In one that is not marked, the fields of its table are looked at
each for itself; of a table of named tables those that there are before and after.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from detector.settings.base import Settings


class Live:
    """The mark of a field: `Annotated[…, LIVE]`."""


LIVE: Final = Live()

S = TypeVar("S", bound=Settings)


def is_live(settings: type[Settings], field: str) -> bool:
    """Whether the field can be changed in a running service."""
    return LIVE in settings.model_fields[field].metadata


def need_restart(running: Settings, wanted: Settings) -> Iterator[str]:
    """The dotted names of the settings that differ and count only after a restart."""
    for field in type(running).model_fields:
        if not is_live(type(running), field):
            yield from _differing(field, getattr(running, field), getattr(wanted, field))


def _differing(name: str, running: object, wanted: object) -> Iterator[str]:
    if running == wanted:
        return
    if isinstance(running, Settings) and isinstance(wanted, type(running)):
        yield from (f"{name}.{inner}" for inner in need_restart(running, wanted))
    elif isinstance(running, Mapping) and isinstance(wanted, Mapping):
        for key in dict.fromkeys((*running, *wanted)):
            yield from _differing(f"{name}.{key}", running.get(key), wanted.get(key))
    else:
        yield name


def with_live(running: S, wanted: S) -> S:
    """What runs from now on: `running`, with what of `wanted` can be changed at once."""
    changes: dict[str, Any] = {
        field: getattr(wanted, field)
        if is_live(type(running), field)
        else _merged(getattr(running, field), getattr(wanted, field))
        for field in type(running).model_fields
    }
    return running.model_copy(update=changes)


def _merged(running: object, wanted: object) -> object:
    if isinstance(running, Settings) and isinstance(wanted, type(running)):
        return with_live(running, wanted)
    if isinstance(running, Mapping) and isinstance(wanted, Mapping):
        return {key: _merged(value, wanted.get(key)) for key, value in running.items()}
    return running

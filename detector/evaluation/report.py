"""The figures of an evaluation, as a table for people and as JSON for programs."""

import json
from dataclasses import asdict

from rich.table import Table

from detector.evaluation.scoring import LabelResult, Result

_HEADINGS = (
    "events",
    "heard",
    "F1\nevent",
    "F1\nsegment",
    "PSDS1",
    "false\nalarms",
    "an\nhour",
    "latency\ns",
    "onset\nerror s",
)


def as_table(result: Result) -> Table:
    """A row for each label that occurs in the reference or was detected, then one for all."""
    view = Table(box=None, padding=(0, 0, 0, 1), pad_edge=False, header_style="bold")
    view.add_column("label", overflow="fold")
    for heading in _HEADINGS:
        view.add_column(heading, justify="right", no_wrap=True)
    for one in result.labels:
        if one.reference_events or one.detected_events:
            view.add_row(one.label, *_cells(one))
    view.add_section()
    view.add_row("all", *_cells(result.overall), style="bold")
    mean = ["", ""] + [
        _number(value) for value in (result.event_based_macro_f1, result.segment_based_macro_f1)
    ]
    rate = result.overall.false_alarms_per_hour / max(1, len(result.labels))
    view.add_row("mean of labels", *mean, "", "", _number(rate, 1), style="bold")
    return view


def _cells(one: LabelResult) -> list[str]:
    return [
        str(one.reference_events),
        str(one.heard_events),
        _number(one.event_based.f1),
        _number(one.segment_based.f1),
        _number(one.psds1),
        str(one.false_alarms),
        _number(one.false_alarms_per_hour, 1),
        _number(one.latency_s, 2),
        _number(one.onset_error_s, 2),
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 (a dash for nothing)


def as_json(result: Result) -> str:
    return json.dumps(asdict(result), indent=2)

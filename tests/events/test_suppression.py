"""Whatever is held back, subscribers see whole segments or none."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from detector.events.segments.suppression import SuppressionGate
from detector.explanations import Suppression
from detector.records import Event


def event(kind: str, onset: int = 0, offset: int | None = None, label: str = "dog") -> Event:
    return Event(
        type=kind,  # type: ignore[arg-type]
        model="m@1",
        label=label,
        name=label,
        onset_sample=onset,
        offset_sample=offset,
        peak=0.9,
        mean=0.8,
        level_dbfs=-20.0,
    )


START, UPDATE, END = event("start"), event("update"), event("end", offset=500)


def test_what_is_allowed_passes_unchanged() -> None:
    gate = SuppressionGate()
    assert [gate.admit(e, None, 0) for e in (START, UPDATE, END)] == [START, UPDATE, END]


def test_a_segment_that_was_held_back_stays_unheard_of_to_its_end() -> None:
    gate = SuppressionGate()
    assert [gate.admit(e, "quiet_hours", 0) for e in (START, UPDATE)] == [None, None]
    assert gate.admit(END, None, 0) is None


def test_closing_ends_what_was_told_to_begin_and_nothing_else() -> None:
    gate = SuppressionGate()
    gate.admit(START, None, 0)
    gate.admit(event("start", 10, label="cat"), "quiet_hours", 0)
    assert gate.close(300) == [replace(START, type="end", offset_sample=300, truncated=True)]
    assert gate.close(400) == []
    assert gate.admit(UPDATE, "muted", 350) is None
    assert gate.admit(END, "muted", 500) is None


def test_a_sound_that_outlasts_the_mute_starts_again_as_a_segment_of_its_own() -> None:
    gate = SuppressionGate()
    gate.admit(START, None, 0)
    gate.close(300)
    resumed = gate.admit(UPDATE, None, 900)
    assert resumed == replace(UPDATE, type="start", onset_sample=900)
    end = gate.admit(event("end", offset=1200), None, 1300)
    assert end == replace(END, onset_sample=900, offset_sample=1200)


def test_a_sound_that_began_in_the_mute_is_told_with_its_own_onset() -> None:
    gate = SuppressionGate()
    gate.admit(START, "muted", 0)
    assert gate.admit(UPDATE, None, 900) == replace(UPDATE, type="start")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "update", "end", "close"]),
            st.sampled_from(["dog", "cat"]),
            st.sampled_from([None, "muted", "quiet_hours"]),
        )
    )
)
def test_every_start_has_one_end_whatever_is_held_back(
    actions: list[tuple[str, str, Suppression | None]],
) -> None:
    """Told events of a label are start, updates, end, and so on; never one within another."""
    gate, told = SuppressionGate(), []
    going_on: dict[str, int] = {}
    for now, (kind, label, suppressed_by) in enumerate(actions):
        if kind == "close":
            told += gate.close(now)
            continue
        if (kind == "start") == (label in going_on):
            continue  # no segmenter says that
        onset = going_on.setdefault(label, now)
        if kind == "end":
            del going_on[label]
        one = gate.admit(
            event(kind, onset, now if kind == "end" else None, label), suppressed_by, now
        )
        told += [one] if one else []
    for label in ("dog", "cat"):
        open_since: int | None = None
        for e in (e for e in told if e.label == label):
            assert (e.type == "start") == (open_since is None)
            if open_since is not None:
                assert e.onset_sample == open_since
            assert e.offset_sample is None or e.offset_sample >= e.onset_sample
            open_since = None if e.type == "end" else e.onset_sample

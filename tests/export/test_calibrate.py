"""What soundscapes and talk say of a label becomes its thresholds, within bounds."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

from detector.evaluation.thresholds import Threshold
from export.train.calibrate import HIGHEST, LOWEST, Calibration, bounded

pytestmark = pytest.mark.export

USUAL = Threshold(
    "bell", 0.8, 0.4, reference_events=10, heard_events=9, false_alarms=0, reached=True
)
SILENT = replace(USUAL, onset=0.5, reference_events=0, heard_events=0)
"""Of a label that nobody takes talk for."""


def calibrated(found: Threshold, in_talk: Threshold = SILENT, recordings: int = 9) -> Calibration:
    """Of a label beside one that everybody hears."""
    return bounded([USUAL, found], [SILENT, in_talk], {found.slug: recordings})[1]


def test_a_label_gets_what_the_soundscapes_say_within_bounds() -> None:
    dog = replace(USUAL, slug="dog", onset=0.82)
    assert calibrated(dog) == Calibration(0.82, 0.41, enabled=True)
    assert calibrated(replace(dog, onset=0.3)).onset == LOWEST
    assert calibrated(replace(dog, onset=0.96)).onset == HIGHEST


def test_a_label_that_is_heard_in_talk_needs_more() -> None:
    drops = replace(USUAL, slug="drops", onset=0.76)
    assert calibrated(drops, replace(SILENT, onset=0.95)) == Calibration(0.95, 0.47, enabled=True)


def test_a_label_that_talk_always_makes_is_disabled() -> None:
    breath = replace(USUAL, slug="breath")
    assert not calibrated(breath, replace(SILENT, onset=0.99)).enabled


def test_a_label_of_which_hardly_any_is_heard_is_disabled_if_enough_were_tried() -> None:
    machine = replace(USUAL, slug="machine", heard_events=1)
    assert not calibrated(machine).enabled
    assert calibrated(machine, recordings=2).enabled


def test_a_label_without_recordings_gets_what_the_others_get() -> None:
    unheard = replace(USUAL, slug="siren", onset=0.3, reference_events=0, heard_events=0)
    assert calibrated(unheard, recordings=0).onset == USUAL.onset


def test_the_threshold_of_speech_does_not_depend_on_talk() -> None:
    speech = replace(USUAL, slug="speech", onset=0.85)
    assert calibrated(speech, replace(SILENT, onset=0.99)) == Calibration(0.85, 0.42, enabled=True)

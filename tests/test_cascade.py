"""An expensive model looks only where a cheap one, or the level, gives cause."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, Event, FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from tests.bundles import HIGH_HZ, LOW_HZ, tone_bundle
from tests.events.test_ctc import bundle as ctc_bundle
from tests.test_pipeline import scene

QUIET_S = 40
SOUND = scene(60, (LOW_HZ, QUIET_S, QUIET_S + 2.2), (HIGH_HZ, QUIET_S + 1, QUIET_S + 1.5))


class Pair:
    """A cheap model and an expensive one, which listen to the same sound."""

    def __init__(self, folder: Path, **settings: object) -> None:
        cheap = tone_bundle(
            folder / "cheap", "cheap", outputs=("frames",), window_s=0.64, hop_s=0.2
        )
        dear = tone_bundle(folder / "dear", "dear", outputs=("clip",), window_s=2.56, hop_s=0.5)
        self._sessions = {p.name: Session(load_bundle(str(p)), "cpu") for p in (cheap, dear)}
        self.models = [  # the expensive one first: the order of a configuration does not matter
            ConfiguredModel("dear", self._sessions["dear"].spec, self._settings(**settings)),
            ConfiguredModel("cheap", self._sessions["cheap"].spec, ModelSettings(bundle="x")),
        ]
        self.asked: list[Window] = []

    def _settings(self, **settings: object) -> ModelSettings:
        return ModelSettings.model_validate({"bundle": "x", **settings})

    def score(self, name: str, window: Window) -> Scores:
        if name == "dear":
            self.asked.append(window)
        return self._sessions[name].score([window])[0]

    def hear(self, samples: FloatArray, block: int = SAMPLE_RATE) -> list[tuple[object, ...]]:
        """The events of the expensive model."""
        self.pipeline = Pipeline(self.models)
        events = replay(self.pipeline, blocks(samples, block), self.score)
        return [life(event) for event in events if event.model == "dear@1"]

    @property
    def lane_withheld(self) -> int:
        return self.pipeline.lanes[0].withheld


def blocks(samples: FloatArray, length: int) -> Iterator[AudioBlock]:
    for first in range(0, len(samples), length):
        yield AudioBlock(first, samples[first : first + length])


def life(event: Event) -> tuple[object, ...]:
    return event.type, event.label, event.onset_sample, event.offset_sample, event.truncated


def test_events_are_those_of_a_model_that_sees_all_for_a_fraction_of_the_work(
    tmp_path: Path,
) -> None:
    whole, spared = Pair(tmp_path), Pair(tmp_path, cascade_from="cheap")
    expected = whole.hear(SOUND)
    assert [kind for kind, *_ in expected] == ["start", "start", "end", "end"]
    assert spared.hear(SOUND) == expected
    assert len(whole.asked) > 120
    # Each window that shows any of the 2.2 s, and those that its trailing edge needs.
    assert len(spared.asked) < (2.2 + 2 * 2.56) / 0.5 + 2
    assert spared.lane_withheld + len(spared.asked) == len(whole.asked)


@pytest.mark.parametrize("block", [1600, 7001])
def test_what_is_withheld_does_not_depend_on_how_the_sound_arrives(
    tmp_path: Path, block: int
) -> None:
    pair = Pair(tmp_path, cascade_from="cheap")
    expected, asked = pair.hear(SOUND), list(pair.asked)
    pair.asked.clear()
    assert pair.hear(SOUND, block) == expected
    assert [w.end_sample for w in pair.asked] == [w.end_sample for w in asked]


def test_the_level_alone_can_give_cause(tmp_path: Path) -> None:
    whole, spared = Pair(tmp_path), Pair(tmp_path, cascade_level_dbfs=-40)
    assert spared.hear(SOUND) == whole.hear(SOUND)
    assert 0 < len(spared.asked) < len(whole.asked) / 4


def test_what_the_cheap_model_does_not_hear_is_missed_and_is_no_gap(tmp_path: Path) -> None:
    pair = Pair(tmp_path, cascade_from="cheap", cascade_threshold=1.0)
    assert pair.hear(SOUND) == []
    assert pair.asked == []


def test_where_the_cheap_model_failed_the_other_one_looks(tmp_path: Path) -> None:
    pair = Pair(tmp_path, cascade_from="cheap", cascade_threshold=1.0)
    cascade = Pipeline(pair.models).lanes[0].cascade
    assert cascade
    cascade.hear(Scores(0, 16_000, 16_000, 0.0, clip=None, frames=None))
    cascade.hear(Scores(20_000, 30_000, 2_000, 0.0, clip=None, frames=None))

    def judged(first: int, end: int, behind: int = 0) -> bool | None:
        window = Window(first, end, 1000, SOUND[:1], 0.0)
        return cascade.judge(window, behind)

    assert judged(0, 15_000) is False
    assert judged(10_000, 20_000) is True, "16000 to 28000 was not scored"
    assert judged(28_000, 29_000) is False
    assert judged(29_000, 31_000) is None, "it will say"
    assert judged(29_000, 31_000, behind=3 * SAMPLE_RATE) is True, "it hangs"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cascade_from": "absent"}, "does not listen to the same source"),
        ({"cascade_from": "dear"}, "that is the model itself"),
    ],
)
def test_a_cascade_that_cannot_be_is_refused(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Pipeline(Pair(tmp_path, **settings).models)


def test_a_model_that_spells_words_is_not_spared() -> None:
    spec = ctc_bundle()
    settings = ModelSettings(bundle="x", only=("yes",), cascade_level_dbfs=-40)
    with pytest.raises(ConfigError, match="spells words"):
        Pipeline([ConfiguredModel("words", spec, settings)])

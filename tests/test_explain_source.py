"""What a source says of a time: how much of it was not heard, also while an outage goes on."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, get_args

import pytest
import soundfile as sf

from detector.capture.clock import SampleClock
from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.explain.segment_log import SegmentLog
from detector.explain_source import SourceMemory, explain_source
from detector.explanations import MEANING, LabelOutcome, PatternOutcome
from detector.inference.bundle import load_bundle
from detector.pipeline import Pipeline
from detector.records import SAMPLE_RATE, Gap, SourceStatus
from detector.settings.models import ModelSettings
from tests.broker import Broker, broker
from tests.bundles import tone_bundle
from tests.service import HALL, RATE, ROOT, now_and_then, service

__all__ = ["broker"]

HEARD_S: Final = 60


Memory = Callable[..., SourceMemory]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    bundle = load_bundle(str(tone_bundle(tmp_path_factory.mktemp("bundles") / "tones")))
    configured = ConfiguredModel("tones", bundle.spec, ModelSettings(bundle="tones"))

    def made(
        status: SourceStatus, *gaps: Gap, ended_s: float = 0.0, heard_s: float = HEARD_S
    ) -> SourceMemory:
        """Of a source whose sound has lasted for `heard_s`, and ended `ended_s` ago."""
        clock = SampleClock()
        end = round(heard_s * SAMPLE_RATE)
        clock.observe(end, time.monotonic() - ended_s)
        pipeline = Pipeline([configured], remember=True)
        return SourceMemory("hall", status, clock, end, gaps, SegmentLog(), pipeline)

    return made


def unheard_s(source: SourceMemory, ago_s: float, within_s: float) -> float:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return explain_source(source, at, within_s).not_heard_s


@pytest.mark.parametrize("status", ["stalled", "offline"])
def test_what_an_outage_that_goes_on_has_taken_so_far_was_not_heard(
    memory: Memory, status: SourceStatus
) -> None:
    source = memory(status, ended_s=5)
    assert unheard_s(source, ago_s=2, within_s=1) == pytest.approx(2, abs=0.05)
    assert unheard_s(source, ago_s=5, within_s=1) == pytest.approx(1, abs=0.05)
    assert unheard_s(source, ago_s=10, within_s=1) == 0
    assert unheard_s(source, ago_s=0.5, within_s=10) == pytest.approx(5, abs=0.05), "and no more"


@pytest.mark.parametrize("status", ["listening", "silent", "clipping"])
def test_of_a_source_that_listens_what_is_on_its_way_is_no_outage(
    memory: Memory, status: SourceStatus
) -> None:
    assert unheard_s(memory(status, ended_s=0.4), ago_s=0.2, within_s=1) == 0


def test_gaps_that_are_over_count_beside_the_outage(memory: Memory) -> None:
    gap = Gap((HEARD_S - 4) * SAMPLE_RATE, SAMPLE_RATE, "stall")
    assert unheard_s(memory("listening", gap), ago_s=3, within_s=2) == pytest.approx(1, abs=0.01)
    source = memory("stalled", gap, ended_s=1)
    assert unheard_s(source, ago_s=3, within_s=3) == pytest.approx(2, abs=0.05)


def test_what_single_models_did_not_hear_is_said_of_them(memory: Memory) -> None:
    for_all = Gap((HEARD_S - 4) * SAMPLE_RATE, SAMPLE_RATE, "stall")
    slow = Gap((HEARD_S - 3) * SAMPLE_RATE, SAMPLE_RATE // 2, "overrun", "slow@1")
    at = datetime.now(UTC) - timedelta(seconds=3)
    said = explain_source(memory("listening", for_all, slow), at, 2)
    assert said.not_heard_s == pytest.approx(1, abs=0.01)
    assert said.not_heard_by == {"slow@1": pytest.approx(0.5, abs=0.01)}


def test_what_cannot_be_known_is_refused(memory: Memory) -> None:
    with pytest.raises(ConfigError, match="has not come yet"):
        unheard_s(memory("listening"), ago_s=-5, within_s=1)
    with pytest.raises(ConfigError, match="only the last 10 minutes"):
        unheard_s(memory("listening"), ago_s=601, within_s=1)
    with pytest.raises(ConfigError, match="since the source began"):
        unheard_s(memory("listening", heard_s=5), ago_s=10, within_s=1)


def test_the_documentation_has_every_word() -> None:
    text = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
    assert [word for word in MEANING if f"`{word}`" not in text] == []
    assert set(MEANING) == {*get_args(LabelOutcome), *get_args(PatternOutcome)}


@pytest.mark.broker
def test_the_service_says_how_long_a_source_has_been_away(broker: Broker, tmp_path: Path) -> None:
    sf.write(tmp_path / "other.wav", now_and_then(), RATE)
    other = '[[sources]]\nname = "cellar"\naudio_file = "other.wav"\n'

    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then()[: 2 * RATE], other) as daemon:
            await daemon.seen.until(lambda s: s.last(f"{HALL}/status") == "offline")
            await asyncio.sleep(1.5)
            for source, unheard_s in (("hall", 1), ("cellar", 0)):
                at = (datetime.now(UTC) - timedelta(seconds=0.5)).isoformat()
                request = {"source": source, "at": at, "within_s": 0.5}
                answer = await daemon.command("explain", request)
                said = answer["explanation"]
                assert said["not_heard_s"] == pytest.approx(unheard_s, abs=0.05)

    asyncio.run(talk())

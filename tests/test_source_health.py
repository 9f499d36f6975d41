"""What is wrong with a source is told, with what to do about it, and when it is over."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
import structlog
from structlog.testing import capture_logs

from detector.capture.playback import Recording
from detector.capture.ring import RingBuffer
from detector.health_report import HealthReport, ProblemKind
from detector.publish.health_message import HealthMessage
from detector.publish.messages import json_schema
from detector.records import SAMPLE_RATE, FloatArray, StreamInfo
from detector.settings.sources import SourceSettings
from detector.source_signal import SourceSignal
from tests.hearing import Heard, Model, hearing, model
from tests.sound import tone

__all__ = ["model"]


def kinds(report: HealthReport) -> list[ProblemKind]:
    return [problem.kind for problem in report.problems]


def run(
    monkeypatch: pytest.MonkeyPatch,
    model: Model,
    sound: FloatArray,
    stream: StreamInfo | None = None,
    **settings: object,
) -> tuple[list[HealthReport], HealthReport, list[str]]:
    """Hear it to its end; all reports, the last one before it, and what was logged as wrong."""

    async def hear() -> tuple[list[HealthReport], HealthReport]:
        async with hearing(monkeypatch, model, **settings) as heard:
            heard.source.declare()
            heard.capture.stream = stream
            for part in np.split(sound, range(SAMPLE_RATE, len(sound), SAMPLE_RATE)):
                heard.capture.sound(part)
                await heard.until(lambda: heard.source.stats().samples_heard == heard.capture.end)
            heard.source.tell_health()
            return heard.written.healths, heard.written.healths[-1]

    structlog.reset_defaults()
    with capture_logs() as logs:
        reports, last = asyncio.run(hear())
    return reports, last, [e["problem"] for e in logs if "does not hear well" in e["event"]]


def test_a_good_microphone_has_no_problem_and_a_level(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    stream = StreamInfo(rate=48_000, channels=2, drift_ppm=-31.5)
    reports, last, logged = run(monkeypatch, model, tone(1000, 12), stream)
    assert (last.status, last.problems, logged) == ("listening", (), [])
    assert last.level_dbfs == pytest.approx(-13.5, abs=0.1)
    assert last.level_a_dbfs == pytest.approx(-13.5, abs=0.2)
    assert last.dc_offset == pytest.approx(0, abs=1e-3)
    assert (last.clipped, last.stream) == (0, stream)
    assert kinds(reports[0]) == ["offline"]


def test_an_offset_is_told_with_its_remedy_which_helps(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    sound = tone(1000, 12) + np.float32(0.3)
    reports, last, logged = run(monkeypatch, model, sound)
    assert (last.status, kinds(last), logged) == ("listening", ["dc_offset"], ["dc_offset"])
    assert last.dc_offset == pytest.approx(0.3, abs=1e-3)
    assert "30% of full scale" in last.problems[0].advice
    assert "highpass_hz = 20" in last.problems[0].advice
    assert [kinds(report) for report in reports[:3]] == [["offline"], [], ["dc_offset"]]
    _, last, logged = run(monkeypatch, model, sound, highpass_hz=20)
    assert (kinds(last), logged) == ([], [])
    assert last.dc_offset == pytest.approx(0.3, abs=1e-3)
    assert last.level_dbfs == pytest.approx(-13.5, abs=0.1)


def test_clipping_is_looked_for_before_the_gain_and_the_level_is_after_it(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    _, last, _ = run(monkeypatch, model, tone(1000, 4), gain_db=30)
    assert (last.status, last.clipped) == ("listening", 0)
    assert last.level_dbfs == pytest.approx(16.5, abs=0.1)
    _, last, logged = run(monkeypatch, model, np.clip(9 * tone(1000, 4), -1, 1), gain_db=-30)
    assert (last.status, kinds(last), logged) == ("clipping", ["clipping"], ["clipping"])


def test_silence_is_told_until_it_is_over(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    sound = np.concatenate([np.zeros(11 * SAMPLE_RATE, np.float32), tone(1000, 1)])
    reports, last, logged = run(monkeypatch, model, sound)
    assert logged == ["silent"]
    assert ["silent"] in [kinds(report) for report in reports]
    assert last.problems == ()


@pytest.mark.parametrize(
    ("stream", "kind", "advice"),
    [
        (StreamInfo(rate=8000, channels=1, codec="pcm_alaw"), "narrow_band", "above 4 kHz"),
        (StreamInfo(rate=48_000, channels=1, drift_ppm=-81_250), "wrong_rate", "44100 samples"),
        (StreamInfo(rate=48_000, channels=2, cancels=True), "out_of_phase", "channel = 1"),
    ],
)
def test_what_is_wrong_with_the_stream_is_told(
    monkeypatch: pytest.MonkeyPatch,
    model: Model,
    stream: StreamInfo,
    kind: ProblemKind,
    advice: str,
) -> None:
    _, last, logged = run(monkeypatch, model, tone(1000, 1), stream)
    assert (kinds(last), logged) == ([kind], [kind])
    assert advice in last.problems[0].advice


def test_a_source_that_is_offline_says_why(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    def offline(heard: Heard, why: str) -> Callable[[], bool]:
        return lambda: [p.advice for p in heard.written.healths[-1].problems] == [why]

    async def hear() -> None:
        async with hearing(monkeypatch, model) as heard:
            heard.source.declare()
            heard.capture.sound(tone(1000, 1))
            await heard.until(lambda: heard.written.healths[-1].problems == ())
            heard.capture.fail(OSError("the cable broke"))
            await heard.until(offline(heard, "the cable broke"))

    asyncio.run(hear())


def test_another_reason_is_told_at_once(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """The first one too, after that nothing was captured yet."""

    async def hear() -> list[list[str]]:
        async with hearing(monkeypatch, model) as heard:
            signal = SourceSignal(
                SourceSettings(name="hall", device="test"), heard.capture, heard.written
            )
            signal.declare()
            for heard.capture.failure in ("it is gone", "it is gone", "it is in use"):
                signal.captured("offline")
            signal.failed("the cable broke")
            return [[p.advice for p in report.problems] for report in heard.written.healths]

    assert asyncio.run(hear()) == [
        ["nothing has been captured yet"], ["it is gone"], ["it is in use"], ["the cable broke"]
    ]  # fmt: skip


def test_a_recording_that_has_ended_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1000, 0.2), SAMPLE_RATE)
    capture, told = Recording(path), list[tuple[str, str | None]]()
    asyncio.run(capture.run(RingBuffer(), lambda status: told.append((status, capture.failure))))
    ended = "the recording has ended; loop = true plays it again and again"
    assert told == [("listening", None), ("offline", ended)]


def test_the_message_is_the_documented_object(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    stream = StreamInfo(rate=8000, channels=1, codec="pcm_alaw")
    reports, last, _ = run(monkeypatch, model, tone(1000, 1), stream)
    for report in (reports[0], last):
        values = json.loads(HealthMessage.of("attic", "hall", report).to_json())
        jsonschema.validate(values, json_schema(HealthMessage))
    assert {key: values[key] for key in ("node", "source", "status", "stream")} == {
        "node": "attic",
        "source": "hall",
        "status": "listening",
        "stream": {"rate": 8000, "channels": 1, "codec": "pcm_alaw", "drift_ppm": None},
    }

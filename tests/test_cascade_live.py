"""A cascade while the cheap model is late, fails or hangs: nobody waits for it for long."""

import asyncio
from collections.abc import Callable

import pytest

from detector.errors import InferenceError
from detector.records import SAMPLE_RATE
from detector.settings.models import ModelSettings
from tests.bundles import LOW_HZ
from tests.hearing import HOP_S, Model, hearing, model, other

__all__ = ["model", "other"]


def slow(cheap: Model) -> None:
    cheap.slow_s = 0.4  # at four times the speed of sound, it leaves out windows


def failing(cheap: Model) -> None:
    cheap.wrong = InferenceError("no numbers", "not_finite")


def hanging(cheap: Model) -> None:
    cheap.answers.clear()


@pytest.mark.parametrize("trouble", [slow, failing, hanging])
def test_the_other_models_go_on_whatever_the_cheap_one_does(
    monkeypatch: pytest.MonkeyPatch,
    model: Model,
    other: Model,
    trouble: Callable[[Model], None],
) -> None:
    monkeypatch.setattr("detector.overload.HUNG_S", 1.0)
    monkeypatch.setattr("detector.overload.HUNG_HOPS", 0)
    monkeypatch.setattr("detector.inference.worker.MOST_FAILURES", 10_000)
    model.settings = ModelSettings(bundle="x", cascade_from="other", cascade_threshold=1.0)

    async def run() -> None:
        async with hearing(monkeypatch, model, other) as heard:
            trouble(other)
            for _ in range(3):
                await heard.pace(4, LOW_HZ)
            end = heard.capture.end
            await heard.until(
                lambda: (
                    max((w.end_sample for w in model.windows), default=0)
                    > end - (4 + HOP_S) * SAMPLE_RATE
                )
            )
            assert "tones@1" in heard.starts
            other.answers.set()

    asyncio.run(run())

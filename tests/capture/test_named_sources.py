"""Microphones by the sound server's names and by ALSA's, each of which hears its own sound."""

import asyncio

import numpy as np
import pytest

from detector.records import SAMPLE_RATE, FloatArray, StreamInfo
from tests.capture.test_microphone import microphone
from tests.capturing import listening
from tests.sound import SoundServer, tone

pytestmark = pytest.mark.sound

HALL_HZ, PORCH_HZ = 1000, 2500


def strongest_hz(samples: FloatArray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize("porch", ["porch.monitor", "room:porch.monitor"])
def test_a_source_is_opened_by_its_name_beside_another(
    sound_server: SoundServer, porch: str
) -> None:
    sound_server.load_second_source("porch", channels=1)

    async def scenario() -> None:
        async with listening(microphone("hall.monitor"), microphone(porch)) as captures:
            await asyncio.gather(
                asyncio.to_thread(sound_server.play_samples, tone(HALL_HZ, 1.5), SAMPLE_RATE),
                asyncio.to_thread(
                    sound_server.play_samples, tone(PORCH_HZ, 1.5), SAMPLE_RATE, "porch"
                ),
            )
            heard = [strongest_hz(capture.samples) for capture in captures]
            assert heard == pytest.approx([HALL_HZ, PORCH_HZ], abs=5)
            assert captures[0].stream == StreamInfo(rate=SAMPLE_RATE, channels=2)

    asyncio.run(scenario())


def test_a_source_that_the_server_does_not_have_is_waited_for_and_not_replaced(
    sound_server: SoundServer,
) -> None:
    """A server that does not find what is asked for may give another one."""
    sound_server.load_second_source("porch")

    async def scenario() -> None:
        async with listening(microphone("hall.monitor")) as [hall]:
            await hall.heard(0.3)
            sound_server.unload_sink()
            await hall.status("offline", within_s=3)
            await asyncio.sleep(2.5)
            assert hall.statuses[-1][0] == "offline"
            sound_server.load_sink()
            await hall.status("listening")

    asyncio.run(scenario())

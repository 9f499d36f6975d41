"""Radios and playlists: streams by HTTP, whole and at their time."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.boottime import boottime
from detector.records import SAMPLE_RATE
from detector.settings.sources import SourceSettings
from tests.broker import free_port
from tests.capturing import RunningCapture, listening
from tests.http_streams import FORMATS, TONE_HZ, StreamServer, stream_server

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

SEGMENT_S = 2


class Playlist:
    """HLS as a camera or a radio writes it: segments of two seconds, of which the last are kept."""

    def __init__(self, folder: Path) -> None:
        self.began_s = boottime()
        burst = "if(lt(mod(t,0.5),0.02),0.5*sin(2*PI*1000*t),0)"
        self._encoder = subprocess.Popen(
            [
                *(
                    "ffmpeg",
                    "-v",
                    "error",
                    "-re",
                    "-f",
                    "lavfi",
                    "-i",
                    f"aevalsrc='{burst}':s=48000",
                ),
                *("-c:a", "aac", "-f", "hls", "-hls_time", str(SEGMENT_S), "-hls_list_size", "4"),
                *("-hls_flags", "delete_segments", str(folder / "live.m3u8")),
            ],
            stdin=subprocess.DEVNULL,
        )
        while not (folder / "live.m3u8").exists():
            time.sleep(0.05)

    def stop(self) -> None:
        self._encoder.kill()
        self._encoder.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StreamServer]:
    with stream_server(tmp_path) as running:
        yield running


@pytest.fixture
def playlist(tmp_path: Path) -> Iterator[Playlist]:
    running = Playlist(tmp_path)
    yield running
    running.stop()


def source(url: str) -> SourceSettings:
    return SourceSettings(name="radio", url=url)


def hears_tone(capture: RunningCapture) -> bool:
    """Whether all that was heard after the first moment is the tone, without a break."""
    samples = capture.samples[SAMPLE_RATE // 2 :]
    heard = samples.reshape(-1)[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    spectra = np.abs(np.fft.rfft(heard * np.hanning(1600)))
    return bool((spectra.argmax(axis=1) == TONE_HZ // 10).all())


def times(capture: RunningCapture) -> list[float]:
    """When each burst of the playlist is said to have been heard."""
    loud = np.abs(capture.samples) > 0.15
    quiet_before = np.convolve(loud, np.ones(SAMPLE_RATE // 5), "full")[: len(loud)] == 1
    return [capture.clock.captured_at(int(onset)) for onset in np.flatnonzero(loud & quiet_before)]


def test_radios_are_heard_in_every_form(server: StreamServer) -> None:
    async def scenario() -> None:
        sources = [source(server.url(form)) for form in FORMATS]
        async with listening(*sources) as captures:
            for capture in captures:
                await capture.heard(1.5)
                assert not capture.gaps
                assert hears_tone(capture)
                assert capture.skew_s() < 1

    asyncio.run(scenario())


def wait_until_listening(port: int) -> None:
    """By the kernel's table: this server takes one connection, and one that only asks is one."""
    deadline = time.monotonic() + 20
    while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.05)


def test_rtmp_is_heard() -> None:
    async def scenario(url: str) -> None:
        async with listening(source(url)) as [capture]:
            await capture.heard(1.5)
            assert not capture.gaps
            assert hears_tone(capture)

    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/radio"
    tone = ("-re", "-f", "lavfi", "-i", f"sine={TONE_HZ}:r=44100")
    with subprocess.Popen(
        ["ffmpeg", "-v", "quiet", *tone, "-c:a", "aac", "-f", "flv", "-listen", "1", url],
        stdin=subprocess.DEVNULL,
    ) as server:
        try:
            wait_until_listening(port)
            asyncio.run(scenario(url))
        finally:
            server.kill()


def test_a_stream_that_changes_its_rate_is_heard_on(server: StreamServer) -> None:
    async def scenario() -> None:
        async with listening(source(server.url("change"))) as [capture]:
            await capture.heard(4)
            assert [status for status, _ in capture.statuses] == ["listening"]
            assert hears_tone(capture)
            assert abs(capture.skew_s()) < 2

    asyncio.run(scenario())


def test_segments_that_arrive_at_once_are_sound_at_its_time(
    server: StreamServer, playlist: Playlist
) -> None:
    async def scenario() -> None:
        async with listening(source(server.url("live.m3u8"))) as [capture]:
            await capture.heard(3 * SEGMENT_S)
            assert not capture.gaps
            assert not capture.cuts
            assert [status for status, _ in capture.statuses] == ["listening"]
            heard = np.array(times(capture))
            assert np.diff(heard) == pytest.approx(0.5, abs=0.03)
            late = (heard - playlist.began_s) % 0.5
            assert late.max() - late.min() < 0.1

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_playlist_that_stops_is_offline_and_one_that_returns_is_heard_again(
    server: StreamServer, playlist: Playlist
) -> None:
    async def scenario() -> None:
        async with listening(source(server.url("live.m3u8"))) as [capture]:
            await capture.heard(2 * SEGMENT_S)
            gone = boottime()
            server.stop()
            assert await capture.status("offline", within_s=15) - gone < 3 * SEGMENT_S + 3
            server.start()
            back = boottime()
            assert await capture.status("listening") - back < 5
            again = boottime()
            await capture.heard(2 * SEGMENT_S)
            # How old the first segment is, nobody knows before the next one comes.
            [gap] = capture.gaps
            assert gap.reason == "restart"
            assert gap.seconds == pytest.approx(again - gone, abs=2 * SEGMENT_S)
            assert abs(capture.skew_s()) < 2 * SEGMENT_S

    asyncio.run(scenario())

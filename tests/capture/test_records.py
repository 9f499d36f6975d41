"""Records that somebody else writes: what is documented is heard, and nothing else does harm."""

import asyncio
import contextlib
import random
import re
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from detector.boottime import boottime, boottime_ns
from detector.capture.programs.framing import (
    FramingError,
    Header,
    Kind,
    StreamFormat,
    pack_error,
    pack_format,
    pack_header,
    pack_text,
    pack_waiting,
)
from detector.capture.reader.records import MAX_RECORD_BYTES, RecordedAudio, RecordParser
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.load import load_config
from detector.settings.sources import SourceSettings
from tests.capture.test_pipes import connected, free_port
from tests.capturing import RunningCapture, all_running
from tests.sound import noise

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Programs, sockets and pipes")[2].partition("\n## ")[0]
SECOND = 1_000_000_000
Item = StreamFormat | RecordedAudio


def audio(
    first_sample: int, frames: FloatArray, captured_ns: int = 0, kind: Kind = Kind.AUDIO
) -> bytes:
    header = Header(kind, first_sample, captured_ns, 0, len(frames))
    return pack_header(header) + frames.astype("<f4").tobytes()


def parsed(data: bytes, arrived_ns: int = 100 * SECOND, *, chunk: int = 1 << 20) -> list[Item]:
    parser, items = RecordParser(), list[Item]()
    for first in range(0, len(data), chunk):
        items += parser.push(data[first : first + chunk], arrived_ns)
    return items


def blocks(items: list[Item]) -> list[RecordedAudio]:
    return [item for item in items if isinstance(item, RecordedAudio)]


STEREO = pack_format(StreamFormat(48_000, 2))
MANY = pack_format(StreamFormat(192_000, 64))
MONO = pack_format(StreamFormat(16_000, 1))
RAMP: FloatArray = (np.arange(1600) / 1600).astype(np.float32).reshape(-1, 1)


def test_the_client_that_the_documentation_shows_is_heard(tmp_path: Path) -> None:
    [client] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert len([line for line in client.splitlines() if line]) <= 10
    port = free_port()
    path = tmp_path / "client.py"
    path.write_text(client.replace("9000", str(port)))

    async def scenario() -> None:
        hall = RunningCapture(SourceSettings(name="hall", socket=f"tcp:127.0.0.1:{port}"))
        async with all_running(hall):
            await hall.status("offline")
            writer = await asyncio.create_subprocess_exec(sys.executable, str(path))
            try:
                await hall.status("listening")
                await hall.heard(1.0)
            finally:
                writer.kill()
                await writer.wait()
            gone = boottime()
            assert await hall.status("offline") - gone < 0.5
            assert not hall.gaps
            assert hall.clock.captured_at(hall.end_sample) - gone == pytest.approx(0, abs=0.2)

    asyncio.run(scenario())


def test_the_settings_that_the_documentation_shows_are_valid(tmp_path: Path) -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    path = tmp_path / "config.toml"
    path.write_text(shown)
    assert len(load_config(path).sources) == 6


@pytest.mark.parametrize("chunk", [1, 7, 36, 1000, 1 << 20])
def test_records_are_the_same_however_they_are_cut(chunk: int) -> None:
    stereo = np.stack([RAMP[:, 0], -RAMP[:, 0]], axis=1)
    data = STEREO + audio(5, stereo) + audio(1605, stereo) + MONO + audio(0, RAMP)
    items = parsed(data, chunk=chunk)
    formats = [item for item in items if isinstance(item, StreamFormat)]
    assert formats == [StreamFormat(48_000, 2), StreamFormat(16_000, 1)]
    assert [block.frames.tolist() for block in blocks(items)] == [
        stereo.tolist(), stereo.tolist(), RAMP.tolist()
    ]  # fmt: skip
    assert [block.skipped for block in blocks(items)] == [0, 0, 0]


def test_what_a_writer_lost_is_told() -> None:
    lost = parsed(MONO + audio(0, RAMP) + audio(4800, RAMP, kind=Kind.AUDIO_AFTER_OVERFLOW))
    assert [(block.skipped, block.after_overflow) for block in blocks(lost)] == [
        (0, False), (3200, True)
    ]  # fmt: skip


def test_a_writer_may_say_that_it_waits() -> None:
    for waits in (pack_waiting(), pack_text(Kind.WAITING, "why")):
        items = parsed(waits + MONO + waits + audio(0, RAMP) + waits + audio(1600, RAMP))
        assert [block.skipped for block in blocks(items)] == [0, 0]


def test_a_time_is_that_of_this_machine_or_utc_or_that_of_the_arrival() -> None:
    now = boottime_ns()
    ago = SECOND // 2
    for told, captured in ((0, now), (now - ago, now - ago), (time.time_ns() - ago, now - ago)):
        [block] = blocks(parsed(MONO + audio(0, RAMP, told), now))
        assert block.captured_ns == pytest.approx(captured, abs=SECOND // 20)


def test_sound_that_is_too_old_is_left_out_and_counted() -> None:
    now = boottime_ns()
    old = audio(0, RAMP, now - 11 * SECOND) + audio(1600, RAMP, now - 11 * SECOND)
    [block] = blocks(parsed(MONO + old + audio(3200, RAMP, now), now))
    assert block.skipped == 3200


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (audio(0, RAMP), "audio before the format"),
        (b"RIFF" + bytes(100), "a record begins with b'DMIC', not b'RIFF'"),
        (MONO + audio(0, RAMP) + audio(1599, RAMP), "before the end of the last one, 1600"),
        (MONO + audio(0, RAMP) + audio(2**63, RAMP), "more time than has gone by"),
        (MONO + audio(0, RAMP, 200 * SECOND), "clock is 100.0 s ahead of this machine's"),
        (MONO + pack_header(Header(Kind.AUDIO, 0, 0, 0, 16_001)), "longer than a second"),
        (MANY + pack_header(Header(Kind.AUDIO, 0, 0, 0, 10_000)), "2560000 bytes is too long"),
        (pack_format(StreamFormat(16_000, 2**31)), "2147483648 channels at 16000 Hz are not"),
        (pack_format(StreamFormat(1, 1)), "1 channels at 1 Hz are not supported"),
        (pack_header(Header(Kind.NOTE, 0, 0, 0, 0)), "format, audio and error"),
        (MONO + pack_text(Kind.REFUSED, "why"), "format, audio and error"),
        (MONO + pack_text(Kind.OFFLINE, "why"), "format, audio and error"),
        (MONO + pack_error("no microphone"), "the writer ends: no microphone"),
    ],
)
def test_records_that_make_no_sense_are_refused_with_the_reason(
    data: bytes, complaint: str
) -> None:
    with pytest.raises(FramingError, match=re.escape(complaint)):
        parsed(data)


def damaged(data: bytes, seed: int) -> bytes:
    """Some bytes changed, removed, doubled or inserted."""
    chance, found = random.Random(seed), bytearray(data)  # noqa: S311
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(found))
        length = chance.choice((1, 1, 4, 36, 100))
        kind = chance.randrange(4)
        if kind == 0:
            found[at : at + length] = chance.randbytes(len(found[at : at + length]))
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length]
        else:
            found[at] = chance.choice((0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF))
        if not found:
            return b""
    return bytes(found)


def check_harmless(data: bytes, chunk: int) -> None:
    """Whatever it is, it is audio of a bounded length or a `FramingError`; little is kept."""
    parser = RecordParser()
    heard = 0
    try:
        for first in range(0, len(data), chunk):
            for item in parser.push(data[first : first + chunk], 100 * SECOND):
                if isinstance(item, RecordedAudio):
                    assert item.frames.size * 4 <= MAX_RECORD_BYTES
                    assert item.captured_ns <= 100 * SECOND
                    assert 0 <= item.skipped <= 11 * 384_000
                    heard += item.frames.size
            assert parser.buffered <= MAX_RECORD_BYTES + chunk
    except FramingError:
        pass
    assert heard * 4 <= len(data)


@given(st.binary(max_size=400), st.integers(1, 100))
def test_bytes_of_any_kind_do_no_harm(data: bytes, chunk: int) -> None:
    check_harmless(data, chunk)
    check_harmless(b"DMIC" + data, chunk)
    check_harmless(MONO + data, chunk)


def test_damaged_records_do_no_harm() -> None:
    whole = STEREO + b"".join(
        audio(160 * i, np.zeros((160, 2), np.float32), 99 * SECOND) for i in range(10)
    )
    for seed in range(3000):
        check_harmless(damaged(whole, seed), chunk=1 + seed % 701)


def test_a_socket_survives_writers_of_any_kind_and_hears_the_next_one(tmp_path: Path) -> None:
    """Each is refused for a reason or heard; in bounded memory, and nothing is left of it."""
    address, chance = f"unix:{tmp_path}/socket", random.Random(0)  # noqa: S311
    whole, sound = MONO + audio(0, RAMP) + audio(1600, RAMP), noise(0.5, SAMPLE_RATE)
    heads = (
        b"",
        b"DMIC",
        b"RIFF",
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"fLaC",
        b"OggS\0",
        b"ID3\4\0\0",
    )

    async def scenario() -> None:
        hall = RunningCapture(SourceSettings(name="hall", socket=address))
        async with all_running(hall):
            await hall.status("offline")
            for seed in range(12):
                data = damaged(whole, seed)
                if seed % 2:
                    data = heads[seed // 2 % len(heads)] + chance.randbytes(20_000)
                with connected(tmp_path, address, 0) as writer:
                    await asyncio.to_thread(send_all, writer, data)
            with connected(tmp_path, address, 0) as writer:
                await asyncio.to_thread(send_all, writer, MONO + audio(7, sound[:, None]))
                while not is_heard(hall):  # noqa: ASYNC110 - it says nothing when it is
                    await asyncio.sleep(0.05)

    def is_heard(hall: RunningCapture) -> bool:
        return any(np.array_equal(block.samples, sound) for block in hall.blocks)

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(asyncio.wait_for(scenario(), 30))
    assert not [entry for entry in logs if "Traceback" in str(entry)]


def send_all(writer: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it is refused
        writer.sendall(data)

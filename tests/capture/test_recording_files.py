"""Recordings as programs really leave them: wrong sizes, joined files, holes, pipes, no sound."""

import io
import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from structlog.testing import capture_logs

from detector.capture.containers.byte_reader import ByteReader
from detector.capture.containers.riff import RiffLink
from detector.capture.containers.sniff import sniff
from detector.capture.recording import open_audio, open_stream
from detector.errors import AudioFileError
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap
from tests.capture.encodings import SECONDS, needs_encoders, sweep

CASES = Path(os.environ.get("AUDIO_CASES") or Path(__file__).parents[3] / "shared" / "cases")
needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"no recordings in {CASES}; AUDIO_CASES names another folder"
)
CHAIN = b"LIST" + (26).to_bytes(4, "little") + b"INFOISFT" + (14).to_bytes(4, "little") + 14 * b"x"


class Pipe:
    """What cannot be sought in, and gives out as much as it likes."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, 1009))


def heard(path: Path) -> tuple[list[AudioBlock | Gap], FloatArray]:
    with open_audio(path) as opened:
        return collected(opened)


def collected(
    opened: Iterator[AudioBlock | Gap],
) -> tuple[list[AudioBlock | Gap], FloatArray]:
    items = list(opened)
    blocks = [item.samples for item in items if isinstance(item, AudioBlock)]
    assert all(one.end_sample == other.first_sample for one, other in pairwise(items))
    return items, np.concatenate(blocks)


def ffmpeg(source: Path, options: str, target: Path) -> bytes:
    """Write a recording to a pipe, as programs do that cannot go back."""
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-i", source, *options.split(), "-"]
    target.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return target.read_bytes()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.wav"
    soundfile.write(path, sweep(), SAMPLE_RATE)
    return path


def with_sizes(path: Path, data_size: int, riff_size: int | None = None) -> bytes:
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data_size.to_bytes(4, "little")
    if riff_size is not None:
        data[4:8] = riff_size.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data_size", "riff_size"),
    [
        pytest.param(0, None, id="no size"),
        pytest.param(0, 0, id="no sizes at all"),
        pytest.param(0x7FFFF000, 0x7FFFF024, id="SoX to a pipe"),
        pytest.param(0x80000000, 0x80000024, id="arecord to a pipe"),
        pytest.param(0xFFFFFFFF, 0xFFFFFFFF, id="FFmpeg to a pipe"),
        pytest.param(32_000, None, id="less than there is"),
        pytest.param(1, None, id="hardly anything"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_wav_is_read_on_whatever_its_header_says(
    wav: Path, data_size: int, riff_size: int | None, *, joined: bool
) -> None:
    wav.write_bytes((1 + joined) * with_sizes(wav, data_size, riff_size))
    items, samples = heard(wav)
    assert not any(isinstance(item, Gap) for item in items)
    assert np.abs(samples - np.tile(sweep(), 1 + joined)).max() < 1e-4


def test_chunks_behind_the_sound_are_not_heard(wav: Path) -> None:
    data = wav.read_bytes()
    for behind in (CHAIN, b"odd " + bytes(4) + CHAIN, b"id3 " + (10).to_bytes(4, "little")):
        wav.write_bytes(data + behind)
        assert len(heard(wav)[1]) == len(sweep())
        wav.write_bytes(data + behind + data)
        assert len(heard(wav)[1]) in (len(sweep()), 2 * len(sweep()))
    assert len(heard(wav)[1]) == len(sweep())  # the last chunk swallows what follows, as it says


class LongWav:
    """More silence than 32 bits can count, and a header that says what they can."""

    def __init__(self, header: bytes, silence: int) -> None:
        self._parts = [header, CHAIN]
        self._left = silence

    def read(self, _size: int = -1, /) -> bytes:
        if len(self._parts) == 1 and self._left:
            self._left -= (size := min(self._left, 1 << 20))
            return bytes(size)
        return self._parts.pop(0) if self._parts else b""


@pytest.mark.slow
def test_a_wav_longer_than_its_size_can_say_ends_where_its_chunks_begin(wav: Path) -> None:
    header = with_sizes(wav, 1000)[: -2 * len(sweep())]
    link = RiffLink(ByteReader(LongWav(header, (1 << 32) + 1000)))
    count = sum(len(piece) for piece in iter(lambda: link.read(1 << 20), b""))
    assert count == len(header) + (1 << 32) + 1000
    assert link.fault == ""


@needs_encoders
@pytest.mark.parametrize(
    ("options", "length_s"),
    [
        ("-f wav", SECONDS),
        ("-f wav -rf64 always", SECONDS),
        ("-f w64", SECONDS),
        ("-f au", SECONDS),
        ("-f flac", SECONDS),
        ("-f ogg -c:a flac", SECONDS),
        ("-f ogg -c:a libopus", SECONDS),
        ("-f mp3", SECONDS),
        ("-f matroska -c:a aac", SECONDS),
        ("-f webm -c:a libopus", SECONDS),
        ("-f mp4 -c:a aac -movflags frag_keyframe+empty_moov", SECONDS),
        ("-f adts", SECONDS),
        ("-f mpegts -c:a aac", SECONDS),
    ],
)
@pytest.mark.parametrize("read_from", ["file", "pipe"])
def test_what_is_written_to_a_pipe_is_heard_to_its_end(
    wav: Path, tmp_path: Path, options: str, length_s: float, read_from: str
) -> None:
    path = tmp_path / "piped"
    data = ffmpeg(wav, options, path)
    if read_from == "file":
        items, samples = heard(path)
    else:
        with open_stream(Pipe(data), "the stream") as opened:
            items, samples = collected(opened)
    assert not any(isinstance(item, Gap) for item in items)
    assert len(samples) / SAMPLE_RATE == pytest.approx(length_s, abs=0.13)
    shift = int(np.argmax(np.correlate(samples[:4000], sweep()[:1500], "valid")))
    assert shift < 0.08 * SAMPLE_RATE


@needs_encoders
def test_an_index_at_the_end_is_had_from_a_file_and_not_from_a_pipe(
    wav: Path, tmp_path: Path
) -> None:
    path = tmp_path / "phone.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-b:a", "500k", path], check=True)
    assert len(heard(path)[1]) == pytest.approx(len(sweep()), abs=1100)
    with (
        pytest.raises(AudioFileError, match="the stream: may have its index at its end"),
        open_stream(Pipe(3 * path.read_bytes()), "the stream") as opened,
    ):
        list(opened)


@needs_encoders
def test_what_holds_no_sound_is_told_apart(wav: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=1", "-c:v", "mjpeg", str(film)]
    subprocess.run(["ffmpeg", "-v", "error", *picture], check=True)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{wav}\n#EXT-X-ENDLIST\n")
    for path, reason in ((film, "is a video without sound"), (playlist, "no audio that can be")):
        with pytest.raises(AudioFileError, match=reason), open_audio(path) as opened:
            list(opened)


@needs_encoders
def test_rates_and_channels_may_change_between_joined_recordings(tmp_path: Path) -> None:
    one, two, both = tmp_path / "one.flac", tmp_path / "two.flac", tmp_path / "both.flac"
    soundfile.write(one, sweep(44_100), 44_100)
    soundfile.write(two, np.stack([sweep(48_000)] * 2, axis=1), 48_000)
    both.write_bytes(one.read_bytes() + two.read_bytes())
    _, samples = heard(both)
    assert np.abs(samples - np.tile(sweep(), 2))[200:-200].mean() < 1e-3
    with (
        pytest.raises(AudioFileError, match="channel = 2: the sound has 1 channel"),
        open_audio(both, channel=2) as opened,
    ):
        list(opened)


@needs_encoders
def test_what_time_stamps_leave_out_is_a_gap_with_its_place_on_stderr(
    wav: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gap.mkv"
    command = ["ffmpeg", "-v", "error", "-i", str(wav), "-af", "aselect='lt(t,1)+gte(t,1.5)'"]
    subprocess.run([*command, "-c:a", "libopus", str(path)], check=True)
    with capture_logs() as logs:
        items, samples = heard(path)
    [gap] = [item for item in items if isinstance(item, Gap)]
    assert gap.reason == "undecodable"
    assert gap.seconds == pytest.approx(0.5, abs=0.07)
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS - 0.5, abs=0.07)
    assert [log["seconds"] for log in logs] == [pytest.approx(gap.seconds, abs=0.001)]
    assert logs[0]["at_s"] == pytest.approx(1.0, abs=0.07)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"fLaC\x00\x00\x00\x22", "flac"),
        (b"OggS\x00\x02", "ogg"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02\x00\x00fLaC", "flac"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02\x00\x00", "mp3"),
        (b"\x00\x00\x00\x20ftypM4A ", "mov"),
        (b"\x1a\x45\xdf\xa3\x01", "matroska"),
        (b"#!AMR\n", "amr"),
        (3 * (b"\xff\xfb\x90\x00" + bytes(413)), "mp3"),
        (b"\xff\xfb\x90\x00" + bytes(5000), None),
        (b"Listen to what is free to wide ears", None),
        (bytes(8192), None),
        (b"\xff\xff" * 4096, None),
        (b"", None),
    ],
)
def test_a_container_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


def test_bare_samples_are_not_taken_for_a_container() -> None:
    rng = np.random.default_rng(0)
    for loudness in (1, 10, 1000, 30_000):
        for _ in range(50):
            assert sniff((rng.standard_normal(4096) * loudness).astype("<i2").tobytes()) is None


@needs_cases
@pytest.mark.recordings
@pytest.mark.parametrize(
    ("name", "seconds", "gap_s"),
    [
        ("vbr-without-xing.mp3", 28.03, 0),
        ("cbr-sox.mp3", 56.03, 0),
        ("two-joined.mp3", 10.0, 0),
        ("two-joined.flac", 10.0, 0),
        ("two-joined.ogg", 10.0, 0),
        ("time-stamp-gap.opus", 4.5, 0.5),
        ("data-size-small.wav", 4.98, 0),
        ("data-size-zero.wav", 4.98, 0),
        ("both-sizes-zero.wav", 4.98, 0),
        ("data-size-sox-pipe.wav", 4.98, 0),
        ("hole.flac", 4.93, 0.07),
        ("phone.m4a", 5.0, 0),
        ("ogg-flac.oga", 5.0, 0),
        ("mp3-in-wav.wav", 5.0, 0),
    ],
)
def test_what_failed_elsewhere_is_heard(name: str, seconds: float, gap_s: float) -> None:
    items, samples = heard(CASES / name)
    gaps = sum(item.seconds for item in items if isinstance(item, Gap))
    assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.04)
    assert gaps == pytest.approx(gap_s, abs=0.04)

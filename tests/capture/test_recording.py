import io
import subprocess
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from structlog.testing import capture_logs

from detector.capture.recording import Channel, only_sound, open_audio, open_stdin
from detector.capture.sound.pcm import RawFormat
from detector.errors import AudioFileError
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap
from detector.settings.pcm import SampleFormat


def tone(rate: int, seconds: float = 1.5, hz: float = 440.0) -> FloatArray:
    at = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


def heard(path: Path, channel: Channel = "mix", block_samples: int = 4000) -> FloatArray:
    with open_audio(path, channel, block_samples) as blocks:
        return joined(only_sound(path, blocks), block_samples)


def joined(items: Iterable[AudioBlock | Gap], block_samples: int) -> FloatArray:
    blocks, end = list(only_sound("the recording", items)), 0
    for block in blocks:
        assert block.first_sample == end
        assert block.samples.dtype == np.float32
        end = block.end_sample
    assert all(len(block.samples) == block_samples for block in blocks[:-1])
    return np.concatenate([block.samples for block in blocks])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 0.01),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-4),
        ("wav", "FLOAT", 1e-4),
        ("flac", "PCM_16", 1e-4),
        ("ogg", "VORBIS", 0.05),
    ],
)
def test_any_format_and_rate_becomes_the_analysis_rate(
    tmp_path: Path, rate: int, suffix: str, subtype: str, tolerance: float
) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate), rate, subtype=subtype)
    samples = heard(path)
    assert len(samples) == 1.5 * SAMPLE_RATE
    inside = slice(2000, -2000)
    assert np.abs(samples[inside] - tone(SAMPLE_RATE)[inside]).max() < tolerance


def test_channels_are_mixed_or_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(16_000, hz=300), tone(16_000, hz=1234)
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    assert np.array_equal(heard(path, 1), left)
    assert np.array_equal(heard(path, 2), right)
    assert heard(path) == pytest.approx((left + right) / 2, abs=1e-6)
    with pytest.raises(AudioFileError, match=r"stereo\.wav: channel = 3: the sound has 2 channels"):
        heard(path, 3)


@pytest.mark.parametrize("block_samples", [1, 160, 15_999, 16_000, 10**6])
def test_the_length_of_blocks_changes_nothing_else(tmp_path: Path, block_samples: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(44_100, 0.5), 44_100)
    assert np.array_equal(heard(path, block_samples=block_samples), heard(path))


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "recording.raw"
    soundfile.write(path, tone(16_000), 16_000, format="WAV")
    assert len(heard(path)) == 24_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(tone(48_000), 100), 48_000)
    tracemalloc.start()
    with open_audio(path) as blocks:
        for _ in blocks:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000 < path.stat().st_size


def refusal(path: Path) -> str:
    with pytest.raises(AudioFileError) as raised:
        heard(path)
    assert str(path) in str(raised.value)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "missing.wav")
    assert "is a directory" in refusal(tmp_path)
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert "is empty (0 bytes)" in refusal(empty)
    text = tmp_path / "text.wav"
    text.write_text("This is no sound. " * 100)
    assert "no audio that can be read here" in refusal(text)
    silent = tmp_path / "no samples.wav"
    soundfile.write(silent, np.zeros(0), 16_000)
    assert "holds no samples" in refusal(silent)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        *[("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("aiff", "PCM_16")],
        *[("w64", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS")],
        ("mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("kept", [0.35, 0.6, 0.9])
def test_a_truncated_file_is_refused(
    tmp_path: Path, suffix: str, subtype: str, kept: float
) -> None:
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 48_000).astype(np.float32)
    soundfile.write(whole, noise, 48_000, subtype=subtype)
    assert len(heard(whole)) == pytest.approx(5 * SAMPLE_RATE, abs=1000)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * kept)])
    message = refusal(cut)
    assert "truncated" in message or "damaged" in message


def test_a_recording_whose_length_its_writer_did_not_know_is_read(tmp_path: Path) -> None:
    path = tmp_path / "streamed.wav"
    soundfile.write(path, tone(16_000), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
        data[4:8] = data[at : at + 4] = size
        path.write_bytes(data)
        assert len(heard(path)) == 24_000


@pytest.mark.parametrize("rate", [4_000, 400_000])
def test_an_unsupported_rate_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "rate.wav"
    soundfile.write(path, tone(16_000), rate)
    assert f"{rate} Hz is not supported" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e15, -200.0])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_what_is_no_sound_becomes_a_gap_and_spoils_nothing_around_it(
    tmp_path: Path, value: float, rate: int
) -> None:
    path = tmp_path / "damaged.wav"
    sound = np.stack([tone(rate, 2.0)] * 2, axis=1)
    clean = Path(tmp_path / "clean.wav")
    soundfile.write(clean, sound, rate, subtype="FLOAT")
    sound[rate : rate + rate // 10, 1] = value
    soundfile.write(path, sound, rate, subtype="FLOAT")
    with capture_logs() as logs, open_audio(path, block_samples=4_000) as opened:
        items = list(opened)
    [gap] = [item for item in items if isinstance(item, Gap)]
    assert gap == Gap(SAMPLE_RATE, SAMPLE_RATE // 10, "not_finite")
    assert [(log["file"], log["seconds"]) for log in logs] == [(str(path), 0.1)]
    expected, end = heard(clean), 0
    for item in items:
        assert item.first_sample == end
        end = item.end_sample
        if isinstance(item, AudioBlock):
            inside = slice(100, len(item.samples) - 100)  # of the resampler's edges
            same = expected[item.first_sample : item.end_sample]
            assert np.abs(item.samples[inside] - same[inside]).max() < 1e-3
    assert end == 2 * SAMPLE_RATE


def test_who_needs_every_sample_refuses_a_recording_that_holds_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "damaged.wav"
    sound = tone(16_000)
    sound[8_000] = np.nan
    soundfile.write(path, sound, 16_000, subtype="FLOAT")
    with (
        open_audio(path) as items,
        pytest.raises(AudioFileError, match=r"not finite.* at 0\.500 s"),
    ):
        list(only_sound(path, items))


class Trickle(io.RawIOBase):
    """Gives away an odd number of bytes at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 701))


def raw(rate: int, channels: int = 1, sample_format: SampleFormat = "s16le") -> RawFormat:
    return RawFormat(rate, channels, sample_format)


@pytest.mark.parametrize("source", [io.BytesIO, Trickle])
def test_bare_samples_are_read_from_stdin(source: type) -> None:
    stereo = np.stack([tone(16_000), -tone(16_000) / 2], axis=1)
    data = np.round(stereo * 32768).astype("<i2").tobytes()
    with open_stdin(source(data), raw(16_000, 2), channel=2, block_samples=1000) as blocks:
        assert joined(blocks, 1000) == pytest.approx(stereo[:, 1], abs=1e-4)
    with open_stdin(source(data), raw(48_000, 2)) as blocks:
        assert len(joined(blocks, SAMPLE_RATE)) == 8_000


@pytest.mark.parametrize("source", [io.BytesIO, Trickle])
@pytest.mark.parametrize("said", [None, raw(8_000, 2)])
@pytest.mark.parametrize("output", ["wav", "flac", "ogg", "mp3", "adts", "matroska"])
def test_a_recording_on_stdin_is_never_heard_as_bare_samples(
    tmp_path: Path, source: type, said: RawFormat | None, output: str
) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(16_000), 16_000)
    command = ("ffmpeg", "-v", "error", "-i", path, "-f", output, "-")
    data = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    with open_stdin(source(data), said) as blocks:
        heard = joined(blocks, SAMPLE_RATE)
    assert len(heard) / SAMPLE_RATE == pytest.approx(1.5, abs=0.15)
    assert np.argmax(np.abs(np.fft.rfft(heard[4000:20_000]))) == 440


@pytest.mark.parametrize(
    ("data", "said", "complaint"),
    [
        (b"", raw(16_000), "standard input: holds no samples"),
        (b"", None, "standard input: holds no samples"),
        (b"\0" * 7, raw(16_000, 2), "ends within a frame of 4 bytes"),
        (b"\0" * 8, raw(1_000), "1000 Hz is not supported"),
        (b"abcdefgh" * 9, None, r"begins with b'abcdefgh', .* give --rate, --channels and"),
        (b"DMIC" + bytes(99), raw(16_000), "records are for a source's program, socket or fifo"),
    ],
)
def test_what_makes_no_sense_on_stdin_is_refused(
    data: bytes, said: RawFormat | None, complaint: str
) -> None:
    with (
        pytest.raises(AudioFileError, match=complaint),
        open_stdin(io.BytesIO(data), said) as blocks,
    ):
        list(blocks)


@pytest.mark.parametrize("codec", ["pcm_s64le", "pcm_f64le"])
def test_64_bits_are_heard(tmp_path: Path, codec: str) -> None:
    plain, path = tmp_path / "plain.wav", tmp_path / "wide.wav"
    stereo = np.stack((tone(SAMPLE_RATE), -0.5 * tone(SAMPLE_RATE)), axis=1)
    soundfile.write(plain, stereo, SAMPLE_RATE, subtype="FLOAT")
    command = ("ffmpeg", "-v", "error", "-i", plain, "-c:a", codec, path)
    subprocess.run(command, check=True, timeout=30)
    for channel in (1, 2):
        assert np.allclose(heard(path, channel), stereo[:, channel - 1], atol=1e-6)

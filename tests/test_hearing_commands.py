"""`detector check` and `detector record` open what is configured, and end."""

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.commands.listening_check import LISTEN_S, PATIENCE_S, hear_all
from detector.commands.record import _record
from detector.errors import DetectorError, SourceError
from detector.records import SAMPLE_RATE
from detector.settings.sources import SourceSettings
from tests.capture.test_named_sources import strongest_hz
from tests.sound import SoundServer, tone
from tests.test_cli import detector

HZ = 1000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(HZ, 4), SAMPLE_RATE)
    return path


def configured(folder: Path, *sources: str) -> Path:
    path = folder / "detector.toml"
    path.write_text("[mqtt]\nenabled = false\n" + "".join(f"[[sources]]\n{s}\n" for s in sources))
    return path


def heard(**settings: object) -> str | DetectorError:
    [outcome] = asyncio.run(hear_all([SourceSettings(name="hall", **settings)]))  # type: ignore[arg-type]
    return outcome


def test_a_recording_is_heard_with_its_gain_and_filters(recording: Path) -> None:
    assert heard(audio_file=recording) == "-13.5 dBFS"
    assert heard(audio_file=recording, gain_db=6.0, highpass_hz=80.0, mains_hz=50) == "-7.5 dBFS"


def test_silence_and_what_is_very_quiet_are_said(tmp_path: Path) -> None:
    silent, quiet = tmp_path / "silent.wav", tmp_path / "quiet.wav"
    soundfile.write(silent, np.zeros(3 * SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(quiet, 1e-3 * tone(HZ, 3), SAMPLE_RATE, subtype="FLOAT")
    assert heard(audio_file=silent) == "digital silence: is it muted?"
    assert heard(audio_file=quiet) == "-73.5 dBFS (very quiet)"


@pytest.mark.sound
def test_check_opens_every_source_at_once_and_says_how_it_sounds(
    sound_server: SoundServer, recording: Path, tmp_path: Path
) -> None:
    config = configured(
        tmp_path,
        'name = "hall"\ndevice = "hall"',
        'name = "file"\naudio_file = "tone.wav"\ngain_db = 6\nhighpass_hz = 80\nmains_hz = 50',
        'name = "beyond"\ndevice = "hall.monitor"\nchannel = 3',
        'name = "room"\ndevice = "room:hall.monitor"',
        'name = "harp"\ndevice = "harp"',
    )
    done = detector("check", "--config", config)
    assert done.returncode == 4
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    silence = "2 channels at 16000 Hz, digital silence: is it muted?"
    assert lines["sources.hall:"] == f"ok     sources.hall: hall: {silence}"
    assert lines["sources.room:"] == f"ok     sources.room: room:hall.monitor: {silence}"
    conditioned = f"{recording}, gain +6 dB, nothing below 80 Hz, no hum of 50 Hz"
    assert lines["sources.file:"] == f"ok     sources.file: {conditioned}: -7.5 dBFS"
    assert "device 'hall.monitor' has 2 channels, not 3" in lines["sources.beyond:"]
    assert "there is no device 'harp'" in lines["sources.harp:"]
    done = detector("check", "--no-listen", "--config", config)
    assert "ok     sources.hall: hall\n" in done.stdout
    assert f"ok     sources.file: {conditioned}\n" in done.stdout


@pytest.mark.sound
def test_a_source_that_hangs_is_given_up_and_no_other_waits_for_it(
    sound_server: SoundServer, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.commands.listening_check.PATIENCE_S", 3.0)
    sources = [
        SourceSettings(name="hall", device="hall"),
        SourceSettings(name="file", audio_file=recording),
    ]
    sound_server.stop()
    began = time.monotonic()
    try:
        hanging, file = asyncio.run(hear_all(sources))
    finally:
        sound_server.cont()
    assert time.monotonic() - began < 3 + LISTEN_S + 2 < PATIENCE_S
    assert str(hanging) == "nothing comes of device 'hall'"
    assert file == "-13.5 dBFS"


def test_check_waits_for_a_camera_until_it_is_known_why_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detector.commands.listening_check.PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        said = heard(url=f"http://127.0.0.1:{port}/porch", timeout_s=1)
    assert "does not answer within 1 s: check host and port" in str(said)


def test_record_waits_for_who_writes_to_a_fifo_or_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hall.socket"
    settings = SourceSettings(
        name="hall", socket=f"unix:{path}", rate=SAMPLE_RATE, channels=1, sample_format="s16le"
    )
    monkeypatch.setattr("detector.commands.record.PATIENCE_S", 20.0)

    async def scenario() -> None:
        recording = asyncio.create_task(_record(settings, SAMPLE_RATE, tmp_path))
        async with asyncio.timeout(20):
            while not path.exists():  # noqa: ASYNC110 (another program makes it)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            _, writer = await asyncio.open_unix_connection(path)
            writer.write((tone(HZ, 2) * 32767).astype("<i2").tobytes())
            await recording
            writer.close()

    asyncio.run(scenario())
    [kept] = tmp_path.glob("hall-*.flac")
    samples, _ = soundfile.read(kept, dtype="float32")
    assert strongest_hz(samples) == pytest.approx(HZ, abs=5)


def test_record_says_in_the_end_that_nobody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.commands.record.PATIENCE_S", 1.5)
    settings = SourceSettings(name="hall", fifo=tmp_path / "hall")
    with pytest.raises(SourceError, match=r"nobody writes to .*hall"):
        asyncio.run(_record(settings, SAMPLE_RATE, tmp_path))


@pytest.mark.sound
def test_record_keeps_what_is_heard_and_says_that_it_takes_consent(
    sound_server: SoundServer, tmp_path: Path
) -> None:
    config = configured(tmp_path, 'name = "hall"\ndevice = "hall"\ngain_db = 6.0')
    options = ("--seconds", "3", "--out", str(tmp_path / "kept"), "--config", str(config))
    with subprocess.Popen(
        [sys.executable, "-m", "detector", "record", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as recording:
        assert recording.stdout
        path = Path(recording.stdout.readline().strip())
        sound_server.play_samples(tone(HZ, 1), SAMPLE_RATE)
        rest, said = recording.communicate(timeout=30)
    assert (recording.returncode, rest) == (0, "")
    assert "has to know and to agree" in said
    assert path.parent == tmp_path / "kept"
    assert path.name.startswith("hall-20")
    samples, rate = soundfile.read(path, dtype="float32")
    assert (len(samples), rate) == (3 * SAMPLE_RATE, SAMPLE_RATE)
    assert strongest_hz(samples) == pytest.approx(HZ, abs=5)
    assert np.abs(samples).max() == pytest.approx(0.6, abs=0.05)


def test_record_ends_with_the_recording_and_names_sources_that_there_are(
    recording: Path, tmp_path: Path
) -> None:
    config = configured(
        tmp_path,
        'name = "file"\naudio_file = "tone.wav"',
        'name = "gone"\naudio_file = "no.wav"',
    )
    options = ("--seconds", "60", "--out", tmp_path, "--config", config)
    which = detector("record", *options)
    assert which.returncode == 2
    assert "which one? there are file, gone" in which.stderr
    gone = detector("record", "--source", "gone", *options)
    assert gone.returncode == 2
    assert "no.wav" in gone.stderr
    done = detector("record", "--source", "file", *options)
    samples, _ = soundfile.read(done.stdout.strip(), dtype="float32")
    assert np.allclose(samples, tone(HZ, 4), atol=1e-4)

"""The commands as a user meets them: real processes, their output and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import soundfile as sf

from tests.bundles import tone_bundle

RATE = 16_000


def detector(*arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **changes},
    )


def tone(hz: float, duration_s: float, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate)) / rate)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose only model knows two tones."""
    tone_bundle(tmp_path / "tones")
    path = tmp_path / "config.toml"
    path.write_text('[models.tones]\nbundle = "./tones"\n')
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Silence with a low tone from 4 s to 6 s."""
    samples = np.zeros(10 * RATE)
    samples[4 * RATE : 6 * RATE] = tone(500, 2)
    path = tmp_path / "Kitchen door.wav"
    sf.write(path, samples, RATE)
    return path


def test_replay_tells_start_and_end_within_one_hop(config: Path, recording: Path) -> None:
    done = detector("replay", recording, "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    start, end = map(json.loads, done.stdout.splitlines())
    assert (start["type"], end["type"]) == ("start", "end")
    assert start["id"] == end["id"]
    assert start["source"] == "kitchen_door"
    assert start["label"] == "low"
    assert abs(seconds(end["onset"]) - 4) <= 0.5
    assert abs(seconds(end["offset"]) - 6) <= 0.5
    assert end["truncated"] is False
    assert [start["sequence"], end["sequence"]] == [1, 2]


def seconds(time: str) -> float:
    """Of an RFC 3339 time in the first minute of 1970."""
    prefix = "1970-01-01T00:00:"
    assert time.startswith(prefix)
    return float(time.removeprefix(prefix).removesuffix("Z"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e15])
def test_a_sample_that_is_no_sound_costs_its_moment_alone(
    config: Path, recording: Path, value: float
) -> None:
    samples, _ = sf.read(recording, dtype="float32")
    samples[2 * RATE] = value
    sf.write(recording.with_suffix(".wav"), samples, RATE, subtype="FLOAT")
    done = detector("replay", recording, "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    gap, _, end = map(json.loads, done.stdout.splitlines())
    assert (gap["reason"], gap["begin"]) == ("not_finite", "1970-01-01T00:00:02.000Z")
    assert gap["duration_s"] < 0.01
    assert end["type"] == "end"
    assert abs(seconds(end["onset"]) - 4) <= 0.5
    assert abs(seconds(end["offset"]) - 6) <= 0.5
    assert end["level_dbfs"] > -20
    assert "not finite" in done.stderr


def test_replay_is_the_same_byte_for_byte_every_time(config: Path, recording: Path) -> None:
    first = detector("replay", recording, recording, "--json", "--config", config)
    again = detector("replay", recording, recording, "--json", "--config", config)
    assert first.stdout == again.stdout
    assert {json.loads(line)["source"] for line in first.stdout.splitlines()} == {
        "kitchen_door",
        "kitchen_door__2",
    }


def test_replay_in_real_time_takes_that_time_and_tells_the_same(
    config: Path, tmp_path: Path
) -> None:
    path = tmp_path / "short.wav"
    sf.write(path, np.concatenate((np.zeros(RATE), tone(500, 2))), RATE)
    fast = detector("replay", path, "--json", "--config", config)
    began = time.monotonic()
    paced = detector("replay", path, "--json", "--config", config, "--speed", "1")
    assert time.monotonic() - began >= 3
    assert paced.stdout == fast.stdout != ""


def test_replay_counts_time_from_the_given_start(config: Path, recording: Path) -> None:
    done = detector(
        "replay", recording, "--json", "--config", config, "--start", "2026-11-22T12:00:00Z"
    )
    assert json.loads(done.stdout.splitlines()[0])["onset"].startswith("2026-11-22T12:00:0")


def test_replay_keeps_the_quiet_hours_if_it_knows_the_time(config: Path, recording: Path) -> None:
    quiet = '[[schedule]]\nfrom = "22:00"\nto = "07:00"\nquiet = true\n'
    config.write_text(f'time_zone = "UTC"\n{config.read_text()}{quiet}')
    told = {
        start: detector("replay", recording, "--json", "--config", config, *start).stdout
        for start in (
            (),
            ("--start", "2026-11-22T06:59:50Z"),
            ("--start", "2026-11-22T06:59:57Z"),  # the sound begins at 07:00:01
        )
    }
    assert [len(text.splitlines()) for text in told.values()] == [2, 0, 2]


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [(8_000, 1, "PCM_16"), (44_100, 2, "PCM_16"), (48_000, 1, "PCM_24"), (16_000, 6, "FLOAT")],
)
def test_replay_hears_the_same_whatever_the_format(
    config: Path, tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    samples = np.zeros((8 * rate, channels))
    samples[3 * rate : 5 * rate] = tone(500, 2, rate)[:, None]
    path = tmp_path / "sound.wav"
    sf.write(path, samples, rate, subtype)
    done = detector("replay", path, "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["label"] == "low"
    assert abs(seconds(end["onset"]) - 3) <= 0.5


def test_replay_reads_raw_samples_from_stdin(config: Path) -> None:
    samples = np.concatenate((np.zeros(2 * RATE), tone(3000, 2)))
    done = subprocess.run(
        [sys.executable, "-m", "detector", "replay", "-", "--json", "--config", str(config)],
        input=(samples * 32767).astype("<i2").tobytes(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    start = json.loads(done.stdout.splitlines()[0])
    assert (start["source"], start["label"]) == ("stdin", "high")


def write_empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("this is no sound at all, whatever the name says\n" * 20)


def test_a_recording_that_breaks_off_ends_what_had_begun(config: Path, tmp_path: Path) -> None:
    """What is missing is said, and so is the damage; the rest was heard."""
    path = tmp_path / "broken.flac"
    noise = 0.2 * np.random.default_rng(0).standard_normal(20 * RATE)
    noise[2 * RATE :] = 0.01 * noise[2 * RATE :]
    noise[2 * RATE :] += tone(500, 18)
    sf.write(path, noise, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    done = detector("replay", path, "--json", "--config", config)
    assert done.returncode == 2
    assert "broken.flac: is damaged or truncated: it cannot be decoded after" in done.stderr
    *events, last = map(json.loads, done.stdout.splitlines())
    gap, end = (last, events[-1]) if "reason" in last else (events[-1], last)
    start = next(event for event in events if event.get("type") == "start")
    assert (end["type"], end["id"], end["truncated"]) == ("end", start["id"], True)
    assert gap["reason"] == "undecodable"
    assert gap["end"] == "1970-01-01T00:00:20.000Z"
    assert end["offset"] <= gap["begin"]
    assert end["duration_s"] > 3


def write_truncated(path: Path) -> None:
    sf.write(path, np.zeros(RATE), RATE)
    path.write_bytes(path.read_bytes()[:9_000])


def write_no_samples(path: Path) -> None:
    sf.write(path, np.zeros(0), RATE)


def write_nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "write", [write_empty, write_text, write_truncated, write_no_samples, write_nothing]
)
def test_bad_audio_is_named_and_the_other_files_are_replayed(
    config: Path, recording: Path, tmp_path: Path, write: "object"
) -> None:
    assert callable(write)
    path = tmp_path / "bad.wav"
    write(path)
    done = detector("replay", path, recording, "--json", "--config", config)
    assert done.returncode == 2
    assert "bad.wav" in done.stderr
    assert "Traceback" not in done.stderr
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["start", "end"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nod = 'attic'", ["nod", "did you mean 'node'"]),
        ("[mqtt]\nport = '1883'", ["mqtt.port", "'1883'", "integer"]),
        (
            "[[sources]]\nname='a'\ndevice='x'\n[[sources]]\nname='a'\ndevice='y'",
            ["sources", "'a'"],
        ),
        (
            "[models.m]\nbundle='./nowhere'\n[[sources]]\nname='a'\ndevice='x'\nmodels=['n']",
            ["'n'"],
        ),
        (
            "[models.sounds]\nbundle='sounds'\nonly=['dogg']",
            ["models.sounds", "did you mean 'dog'"],
        ),
        ("not toml at all", ["not TOML"]),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_says_where(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    done = detector("run", "--config", path)
    assert done.returncode == 2
    for word in ["config.toml", *words]:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("bundle", "words"),
    [("./nowhere", ["nowhere", "no such folder"]), ("sound", ["'sound'", "sounds"])],
)
def test_a_missing_bundle_ends_with_3_and_is_named(
    tmp_path: Path, bundle: str, words: list[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[models.m]\nbundle = '{bundle}'\n")
    done = detector("run", "--config", path)
    assert done.returncode == 3
    for word in words:
        assert word in done.stderr


def test_a_tampered_bundle_ends_with_3_and_names_both_hashes(config: Path) -> None:
    model = config.parent / "tones" / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    done = detector("run", "--config", config)
    assert done.returncode == 3
    assert "onnx.sha256" in done.stderr
    assert str(model) in done.stderr


def test_a_gpu_that_is_demanded_and_absent_ends_with_3(config: Path) -> None:
    config.write_text(config.read_text() + "provider = 'cuda'\n")
    done = detector("run", "--config", config, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 3
    assert "provider = 'cuda'" in done.stderr


def test_a_source_whose_recording_is_missing_is_tried_again_and_another_is_heard(
    config: Path, recording: Path
) -> None:
    sources = "".join(
        f"[[sources]]\nname = '{name}'\naudio_file = '{file}'\n"
        for name, file in (("hall", "late.wav"), ("kitchen", recording))
    )
    config.write_text(
        config.read_text() + "[mqtt]\nenabled = false\n[console]\nenabled = true\n" + sources
    )
    command = [sys.executable, "-m", "detector", "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stderr is not None
        assert json.loads(service.stdout.readline())["source"] == "kitchen"
        shutil.copy(recording, config.parent / "late.wav")
        heard = next(line for line in map(json.loads, service.stdout) if line["source"] == "hall")
        assert heard["type"] == "start"
        service.send_signal(signal.SIGTERM)
        log = service.stderr.read()
        assert service.wait(20) == 0
    assert log.count("late.wav: cannot be read: No such file or directory") == 1


def test_help_comes_at_once() -> None:
    began = time.monotonic()
    assert "replay" in detector("--help").stdout
    assert time.monotonic() - began < 2


def test_wrong_usage_ends_with_2() -> None:
    assert detector("replay").returncode == 2
    assert detector("dance").returncode == 2


def test_check_tells_each_line_and_ends_with_4_where_one_is_wrong(config: Path) -> None:
    config.write_text(
        config.read_text() + "[mqtt]\nport = 1\n[[sources]]\nname = 'hall'\naudio_file = 'no.wav'\n"
    )
    done = detector("check", "--config", config)
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "wrong", "ok", "wrong"]
    assert "no.wav" in lines[2]
    assert "state_dir" in lines[3]
    assert "1" in lines[4]


def test_check_tells_of_labels_that_no_model_hears(config: Path) -> None:
    config.write_text(
        "[mqtt]\nenabled = false\n[[sources]]\nname = 'hall'\naudio_file = '/dev/null'\n"
        '[[schedule]]\nfrom = "22:00"\nto = "07:00"\nonly = ["lwo"]\n' + config.read_text()
    )
    done = detector("check", "--config", config)
    assert done.returncode == 4
    assert "schedule.0.only: no model hears 'lwo'; did you mean 'low'?" in done.stdout


def test_a_reader_that_goes_away_ends_replay_quietly(config: Path, recording: Path) -> None:
    command = (
        f"'{sys.executable}' -m detector replay '{recording}' '{recording}' --json "
        f"--config '{config}' | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_request_to_end_that_comes_at_a_bad_moment_is_heeded(number: int, code: int) -> None:
    program = f"""
        import signal, sys, time, typer, weakref
        from detector.cli import run_app

        app = typer.Typer()

        class Module:
            pass

        @app.command()
        def work():
            module = Module()
            lock = weakref.ref(module, lambda _: signal.raise_signal({int(number)}))
            del module  # what is raised in the callback is swallowed
            time.sleep(20)
            print("went on")

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        run_app(app, "work")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")

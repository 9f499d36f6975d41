"""`detector evaluate` and `detector tune` as a user meets them."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from detector.commands.evaluate import evaluate
from detector.commands.tune import tune_thresholds
from detector.errors import AudioFileError, ConfigError
from detector.records import SAMPLE_RATE, FloatArray
from tests.bundles import HIGH_HZ, LOW_HZ, tone_bundle
from tests.test_pipeline import scene, tone

HEADER = "filename,onset,offset,event_label\n"

Tone = tuple[float, float, float, float]
"""Hertz, onset, offset (seconds), loudness."""


def detector(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


class Site:
    """Recordings, a reference and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.audio = folder / "audio"
        self.audio.mkdir()
        self.reference = folder / "reference.csv"
        self.config = folder / "config.toml"
        tone_bundle(folder / "tones", outputs=("frames",), window_s=1.28, hop_s=0.2)
        self.config.write_text('[models.tones]\nbundle = "./tones"\n')

    def record(self, name: str, samples: FloatArray) -> None:
        soundfile.write(self.audio / name, samples, SAMPLE_RATE)

    def refer(self, *rows: str) -> None:
        self.reference.write_text(HEADER + "".join(f"{row}\n" for row in rows))

    @property
    def arguments(self) -> tuple[Path, Path, str, Path]:
        return self.audio, self.reference, "--config", self.config


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Half a minute in which two of three tones are in the reference."""
    site = Site(tmp_path)
    site.record("tones.wav", scene(20, (LOW_HZ, 3, 5), (LOW_HZ, 9, 10), (HIGH_HZ, 15, 15.5)))
    site.record("nothing.flac", scene(10))
    site.refer("tones.wav,3,5,low", "tones.wav,15,15.5,high")
    return site


def by_label(figures: dict[str, Any]) -> dict[str, Any]:
    return {one["label"]: one for one in figures["labels"]}


def test_evaluate_measures_what_the_models_hear(site: Site) -> None:
    done = detector("evaluate", *site.arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    figures = json.loads(done.stdout)
    low, high = by_label(figures)["low"], by_label(figures)["high"]
    assert figures["hours"] == pytest.approx(30 / 3600)
    assert (low["reference_events"], low["detected_events"], low["heard_events"]) == (1, 2, 1)
    assert (low["false_alarms"], low["false_alarms_per_hour"]) == (1, pytest.approx(120))
    assert (low["event_based"]["f1"], high["event_based"]["f1"]) == (pytest.approx(2 / 3), 1)
    assert figures["overall"]["event_based"]["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert figures["event_based_macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert high["psds1"] == 1
    assert low["psds1"] in (0, 1)  # a false alarm is more than 100 an hour here
    assert 0 < low["latency_s"] <= 0.4 + 0.02
    assert low["onset_error_s"] <= 0.045


def test_evaluate_shows_a_table_and_draws_a_recording(site: Site, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    done = detector("evaluate", *site.arguments, "--plot", picture, "--plot-file", "tones.wav")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    # label, events, heard, F1 event, F1 segment, PSDS1, false alarms, an hour, latency, onset
    assert rows["low"][1:4] == ["1", "1", "0.667"]
    assert rows["low"][6:8] == ["1", "120.0"]
    assert rows["all"][1:4] == ["2", "2", "0.800"]
    assert rows["mean"][3] == "0.833"
    assert min(_png_size(picture)) > 400


def _png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def run(command: Callable[..., None], site: Site, **options: Any) -> None:
    command(site.audio, site.reference, site.config, **options)


EVALUATE = {"in_json": True, "plot": None, "plot_file": None}


def test_labels_that_no_model_knows_are_told_and_ignored(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.refer("tones.wav,3,5,low", "tones.wav,15,16,owl")
    run(evaluate, site, **EVALUATE)
    told = capsys.readouterr()
    assert "no model is set to tell of owl: those events are ignored" in told.err
    assert set(by_label(json.loads(told.out))) == {"low", "high"}


def test_labels_that_are_not_enabled_do_not_count(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.config.write_text(site.config.read_text() + 'only = ["high"]\n')
    run(evaluate, site, **EVALUATE)
    told = capsys.readouterr()
    assert set(by_label(json.loads(told.out))) == {"high"}
    assert "no model is set to tell of low" in told.err


def test_patterns_count_as_labels_do(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = '[patterns.tone]\nkind = "group"\nlabels = ["low", "high"]\nmerge_gap_s = 0\n'
    site.config.write_text(site.config.read_text() + pattern)
    site.refer("tones.wav,3,5,tone", "tones.wav,9,10,tone", "tones.wav,15,15.5,tone")
    run(evaluate, site, **EVALUATE)
    told = by_label(json.loads(capsys.readouterr().out))["tone"]
    assert (told["event_based"]["f1"], told["false_alarms"], told["psds1"]) == (1, 0, None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["tones.wav,5,3,low"], r"reference\.csv: line 2: the offset 3 does not come after"),
        (["absent.wav,1,2,low"], r"audio: has no 'absent\.wav', which the reference names"),
        (["tones.wav,3,5,owl"], r"no model is set to tell of owl; it is set to high, low"),
        (["tones.wav,21,22,low"], r"reference\.csv: tones\.wav: low from 21\.0 s .* at 20\.000 s"),
    ],
)
@pytest.mark.parametrize(
    ("command", "options"),
    [(evaluate, EVALUATE), (tune_thresholds, {"false_alarms_per_hour": 1.0, "out": None})],
)
def test_what_is_wrong_with_the_reference_is_told(
    site: Site,
    command: Callable[..., None],
    options: dict[str, Any],
    rows: Sequence[str],
    message: str,
) -> None:
    site.refer(*rows)
    with pytest.raises(ConfigError, match=message):
        run(command, site, **options)


def test_a_mistake_ends_the_command_with_2_and_one_line(site: Site) -> None:
    site.reference.write_text("filename,onset,event_label\n")
    done = detector("evaluate", *site.arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"detector: {site.reference}: has no column offset")
    assert len(done.stderr.splitlines()) == 1


def test_a_recording_that_cannot_be_read_is_left_out_and_no_silence(site: Site) -> None:
    (site.audio / "broken.wav").write_bytes(b"RIFF")
    done = detector("evaluate", *site.arguments, "--json")
    assert done.returncode == 4
    assert "broken.wav" in done.stderr
    assert "left out: 1 that cannot be read" in done.stderr
    assert json.loads(done.stdout)["hours"] == pytest.approx(30 / 3600)
    tuned = detector("tune", *site.arguments, "--false-alarms-per-hour", "200")
    assert tuned.returncode == 4
    assert "onset_threshold" in tuned.stdout


def test_recordings_none_of_which_can_be_read_are_refused(site: Site) -> None:
    for name in ("tones.wav", "nothing.flac"):
        (site.audio / name).write_bytes(b"RIFF")
    with pytest.raises(AudioFileError, match=r"none of the 2 recordings can be read.*\.(wav|flac)"):
        run(evaluate, site, **EVALUATE)


def test_one_channel_is_evaluated(site: Site) -> None:
    left, right = scene(20, (LOW_HZ, 3, 5)), scene(20, (HIGH_HZ, 15, 15.5))
    site.record("tones.wav", np.stack([left, right], axis=1))
    done = detector("evaluate", *site.arguments, "--json", "--channel", "2")
    assert done.returncode == 4  # the other recording has one channel
    heard = by_label(json.loads(done.stdout))
    assert [name for name, one in heard.items() if one["detected_events"]] == ["high"]
    wrong = detector("evaluate", *site.arguments, "--channel", "0")
    assert wrong.returncode == 2
    assert "counted from 1" in wrong.stderr


def test_files_that_are_passed_over_are_told_by_their_suffix(site: Site) -> None:
    for name in ("notes.txt", "more.TXT", "score.mid", ".hidden.txt", "README"):
        (site.audio / name).touch()
    done = detector("evaluate", *site.arguments, "--json")
    assert done.returncode == 0
    assert done.stderr == (
        f"detector: {site.audio}: passed over, as no recordings: .mid (1), .txt (2), README (1)\n"
    )


def test_a_folder_without_recordings_is_told(site: Site) -> None:
    for path in site.audio.iterdir():
        path.unlink()
    site.refer()
    with pytest.raises(ConfigError, match="has no recordings"):
        run(evaluate, site, **EVALUATE)


def test_a_picture_of_a_recording_that_is_not_there_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recording 'noise\.wav'"):
        run(evaluate, site, in_json=True, plot=tmp_path / "a.png", plot_file="noise.wav")
    with pytest.raises(ConfigError, match="--plot says where"):
        run(evaluate, site, in_json=True, plot=None, plot_file="tones.wav")
    with pytest.raises(ConfigError, match=r"a\.xyz: cannot be written"):
        run(evaluate, site, in_json=True, plot=tmp_path / "a.xyz", plot_file=None)


class TestTune:
    """Two loud tones are true, two quieter ones are not: the model gives these 0.91 and 0.76."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        site = Site(tmp_path)
        samples = scene(20, (LOW_HZ, 3, 4), (LOW_HZ, 7, 8))
        for second, amplitude in ((11, 0.16), (15, 0.14)):
            at = slice(second * SAMPLE_RATE, (second + 1) * SAMPLE_RATE)
            samples[at] += tone(LOW_HZ, 1, amplitude)
        site.record("tones.wav", samples)
        site.refer("tones.wav,3,4,low", "tones.wav,7,8,low")
        return site

    def test_reaches_the_rate_wanted_when_evaluated_with_what_it_writes(
        self, site: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(evaluate, site, **EVALUATE)
        before = by_label(json.loads(capsys.readouterr().out))["low"]
        assert (before["false_alarms"], before["heard_events"]) == (2, 2)
        tuned = detector("tune", *site.arguments, "--false-alarms-per-hour", "180")
        assert (tuned.returncode, tuned.stderr) == (0, "")
        chosen = tomllib.loads(tuned.stdout)["models"]["tones"]["labels"]
        assert set(chosen) == {"low", "high"}
        assert 0.76 < chosen["low"]["onset_threshold"] < 0.92
        assert "# 2 of 2 events heard; 180.00 false alarms an hour" in tuned.stdout
        site.config.write_text(site.config.read_text() + tuned.stdout)
        run(evaluate, site, **EVALUATE)
        after = by_label(json.loads(capsys.readouterr().out))["low"]
        assert after["false_alarms_per_hour"] == pytest.approx(180)
        assert after["heard_events"] == 2

    def test_writes_to_a_file_and_says_what_so_little_sound_cannot_show(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "thresholds.toml"
        run(tune_thresholds, site, false_alarms_per_hour=1.0, out=out)
        told = capsys.readouterr()
        assert told.out == ""
        assert "0.01 h of recordings cannot show a rate of 1 false alarms an hour" in told.err
        assert "0.00 false alarms an hour" in out.read_text()
        with pytest.raises(ConfigError, match="cannot be written: No such file"):
            run(tune_thresholds, site, false_alarms_per_hour=1.0, out=tmp_path / "no" / "file")

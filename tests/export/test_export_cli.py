"""`detector-export` as its user meets it: real processes, exit codes, what they leave."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")


from detector.errors import BundleError, ConfigError
from detector.inference.bundle import load_bundle
from detector.records import FloatArray
from export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from export.checkpoints.layout import lay_out
from export.checkpoints.network import reference_logits
from export.convert import ExportOptions, export_checkpoint
from tests.export.checkpoints import extractor_of, save

pytestmark = pytest.mark.export

SHORT = ExportOptions(window_s=0.64, hop_s=0.32)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "export.cli", *map(str, arguments)]


def detector_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("cli") / "Tiny Tagger"
    return save(made, "wav2vec2", "clip")


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    return load_checkpoint(str(folder), "clip")


def test_a_checkpoint_becomes_a_bundle_that_the_detector_runs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "My tagger"
    done = detector_export(
        "model", folder, "--out", out, "--window", "1.28", "--hop", "0.64", "--version", "7",
        "--licence", "MIT", "--attribution", "by somebody",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "my-tagger@7" in done.stdout
    assert "5 labels, multiclass: dog, car_horn, wail_moan, dog_2, cat" in done.stdout
    assert "windows of 1.28 s, every 0.64 s" in done.stdout
    assert {path.name for path in out.iterdir()} == {"model.onnx", "bundle.json"}
    assert list(tmp_path.iterdir()) == [out]

    spec = load_bundle(str(out)).spec
    assert (spec.licence, spec.attribution) == ("MIT", "by somebody")
    assert (spec.window.samples, spec.window.hop_samples) == (20480, 10240)
    assert spec.source.checkpoint == "Tiny Tagger"

    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.random.default_rng(0).uniform(-0.5, 0.5, 48_000), 16_000)
    config = tmp_path / "config.toml"
    labels = "".join(
        f"[models.tagger.labels.{label.slug}]\nonset_threshold = 0.0\noffset_threshold = 0.0\n"
        for label in spec.labels
    )
    config.write_text(f'[models.tagger]\nbundle = "./My tagger"\n{labels}')
    heard = subprocess.run(
        [sys.executable, "-m", "detector", "replay", sound, "--json", "--config", config],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert heard.returncode == 0, heard.stderr
    events = [json.loads(line) for line in heard.stdout.splitlines()]
    assert {event["label"] for event in events} == {label.slug for label in spec.labels}
    assert {event["model"] for event in events} == {"my-tagger@7"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("model", "./none"), 2, "detector-export: ./none: no such folder"),
        (("ctc", "CHECKPOINT"), 3, "no classification layer"),
        (("model", "CHECKPOINT", "--precision", "fp8"), 2, "--precision"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_writes_nothing(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    given = [str(folder) if a == "CHECKPOINT" else a for a in arguments]
    done = detector_export(*given, "--out", tmp_path / "out" / "bundle")
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (ExportOptions(window_s=5.121), r"--window 5\.121: .* takes a multiple of 0\.02 s"),
        (ExportOptions(window_s=0.02), r"at least 0\.025 s"),
        (ExportOptions(hop_s=9), r"--hop 9: .* at most its window of 5\.12 s"),
        (ExportOptions(hop_s=0), r"--hop 0"),
        (ExportOptions(name="No Name"), "name = 'No Name'"),
        (ExportOptions(version="a b"), "version = 'a b'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        export_checkpoint(checkpoint, tmp_path / "new" / "tagger", options)
    assert not list(tmp_path.iterdir())


def test_help_needs_no_torch() -> None:
    probe = (
        "import sys; from typer.testing import CliRunner; from export.cli import app\n"
        "assert CliRunner().invoke(app, ['model', '--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'transformers', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """What an earlier export left, as far as anyone looks."""
    folder = tmp_path / "tagger"
    folder.mkdir()
    (folder / "bundle.json").write_text("of an earlier export")
    (folder / "left over").touch()
    return folder


def test_a_former_bundle_is_replaced_whole(checkpoint: Checkpoint, former: Path) -> None:
    export_checkpoint(checkpoint, former, SHORT)
    assert load_bundle(str(former)).spec.id == "tagger@1"
    assert {path.name for path in former.iterdir()} == {"model.onnx", "bundle.json"}
    assert list(former.parent.iterdir()) == [former]


def test_a_folder_that_holds_other_things_is_left_alone(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="other things in it"):
        export_checkpoint(checkpoint, tmp_path, SHORT)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_bundle_that_says_something_else_than_the_checkpoint_is_not_written(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(checkpoint: Checkpoint, sounds: FloatArray) -> FloatArray:
        return reference_logits(checkpoint, np.roll(sounds, 4000, axis=1) + np.float32(0.3))

    monkeypatch.setattr("export.convert.reference_logits", shifted)
    with pytest.raises(BundleError, match=r"tagger@1.* differ from the checkpoint's by 0\."):
        export_checkpoint(checkpoint, tmp_path / "tagger", SHORT)
    assert not list(tmp_path.iterdir())


def test_an_extractor_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = save(
        tmp_path / "other", "wav2vec2-bert", "clip", extractor=extractor_of("wav2vec2-bert")
    )
    extractor_of("wav2vec2-bert", num_mel_bins=40, feature_size=40).save_pretrained(other)
    with pytest.raises(BundleError, match="belong to different models"):
        export_checkpoint(load_checkpoint(str(other), "clip"), tmp_path / "tagger", SHORT)
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(("setting", "value"), [("max_length", 256), ("num_mel_bins", 64)])
def test_an_ast_extractor_of_another_size_is_refused(
    tmp_path: Path, setting: str, value: int
) -> None:
    kind = "audio-spectrogram-transformer"
    save(tmp_path, kind, "clip", extractor=extractor_of(kind, **{setting: value}))
    checkpoint = load_checkpoint(str(tmp_path), "clip")
    with pytest.raises(BundleError, match=f"{setting} = {value}, but config.json's {setting}"):
        lay_out(checkpoint)


def test_a_dictated_window_cannot_be_changed(tmp_path: Path) -> None:
    save(tmp_path, "whisper", "clip")
    checkpoint = load_checkpoint(str(tmp_path), "clip")
    assert lay_out(checkpoint).window.samples == 32_000
    with pytest.raises(ConfigError, match="takes windows of 2 s alone"):
        lay_out(checkpoint, window_s=5.12)


def interrupted(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_but_the_former_bundle(
    checkpoint: Checkpoint, former: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.convert.to_precision", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(checkpoint, former, SHORT)
    assert (former / "left over").exists()
    assert list(former.parent.iterdir()) == [former]


def test_a_missing_parent_is_made_only_for_a_whole_bundle(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "folder" / "tagger"
    with monkeypatch.context() as patch:
        patch.setattr("export.convert.to_precision", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export_checkpoint(checkpoint, out, SHORT)
    assert not list(tmp_path.iterdir())
    export_checkpoint(checkpoint, out, SHORT)
    assert load_bundle(str(out)).spec.name == "tagger"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_bundle_says_much_the_same(
    checkpoint: Checkpoint, tmp_path: Path, precision: Literal["fp16", "int8"]
) -> None:
    whole = export_checkpoint(checkpoint, tmp_path / "whole", SHORT)
    small = export_checkpoint(checkpoint, tmp_path / "small", replace(SHORT, precision=precision))
    assert small.onnx.precision == precision
    assert small.parity["fused_attention"] == (2 if precision == "fp16" else 0)
    assert whole.parity["max_probability_difference"] < 1e-4
    assert 0 < small.parity["max_probability_difference"] < 0.2
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < sizes[1]


def test_a_full_disk_is_told_and_leaves_the_former_bundle(
    checkpoint: Checkpoint, former: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the graph is larger
    try:
        with pytest.raises(BundleError, match=r"tagger: cannot be written: File too large"):
            export_checkpoint(checkpoint, former, SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (former / "left over").exists()
    assert list(former.parent.iterdir()) == [former]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_export_and_leaves_nothing(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "tagger"
    process = subprocess.Popen(
        command("model", folder, "--out", out, "--window", "5.12"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "exporting" in process.stderr.readline()
        while not list(tmp_path.iterdir()):  # until something is half written
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(60)
    # A shell says 130 of either; Python ends itself by the signal if code in a string was running.
    assert process.returncode in (128 + number, -number)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["torch", "transformers", "onnx"])
@pytest.mark.parametrize("arguments", [("model", "x", "--out", "y"), ("inspect", "sounds")])
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    package: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """A package that Python is forbidden to import stands in for one that is not installed."""
    without = f"import sys; sys.modules[{package!r}] = None; from export.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
    )
    if arguments[0] == "inspect" and package != "onnx":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 3
    assert done.stderr == (
        f"detector-export: the Python package {package!r} is missing; install it with "
        "pip install 'audio-event-detector[export]'\n"
    )

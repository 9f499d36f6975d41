"""A new layer on any base learns sounds from a few recordings, and the detector hears them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import onnx
import safetensors.torch
import torch
import transformers
from typer.testing import CliRunner

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import load_bundle
from detector.spec import BundleSpec
from export.cli import app
from export.heads.fit.freeze import unfreeze
from export.heads.graph.base import BaseOptions
from export.heads.make import make_head
from export.heads.options import HeadOptions
from tests.bundles import loudness_bundle
from tests.export import checkpoints
from tests.export.tones import HZ, small_base, tone, tone_folders, tone_table, write

pytestmark = pytest.mark.export

ROOT = Path(__file__).parents[2]


class Notes:
    """Keeps what is told, and ends the run where it is asked to."""

    def __init__(self, heard: int | None = None, epoch: int | None = None) -> None:
        self.notes: list[str] = []
        self.windows: list[int] = []
        self.epochs: list[int] = []
        self._heard, self._epoch = heard, epoch

    def note(self, text: str) -> None:
        self.notes.append(text)

    def windows_prepared(self, windows: int, total: int) -> None:
        self.windows.append(windows)
        assert windows <= total
        if self._heard is not None and windows >= self._heard:
            raise KeyboardInterrupt

    def epoch_fitted(self, epoch: int, epochs: int, loss: float) -> None:
        self.epochs.append(epoch)
        assert epoch <= epochs
        assert loss >= 0
        if epoch == self._epoch:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_base(tmp_path_factory.mktemp("base") / "small"))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_folders(tmp_path_factory.mktemp("tones"), each=8)


@pytest.fixture(scope="module")
def tones_and_background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_folders(tmp_path_factory.mktemp("tones"), each=8, background=4)


QUICK = HeadOptions(epochs=40, windows=6)


@pytest.fixture(scope="module")
def whole(base: str, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> BundleSpec:
    """What a run that is not disturbed makes of the tones."""
    return make(base, tones, tmp_path_factory.mktemp("whole") / "own")


def make(where: str, data: Path, out: Path, options: HeadOptions = QUICK) -> BundleSpec:
    spec = make_head(where, data, out, options, Notes())
    assert load_bundle(str(out)).spec == spec
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return spec


def replayed(bundle: Path, *recordings: Path) -> list[dict[str, Any]]:
    """The events that `detector replay` prints."""
    config = bundle.parent / "detector.toml"
    config.write_text(f'[models.own]\nbundle = "{bundle}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "detector", "replay", *recordings, "--json", "--config", config],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("pooled", ["attention", "mean", "last"])
def test_tones_are_told_apart_whatever_the_bundle_does_with_its_states(
    pooled: str, tones: Path, tmp_path: Path
) -> None:
    where = small_base(tmp_path / "base" / "small", pooled=pooled)
    spec = make(str(where), tones, tmp_path / "out" / "own")
    assert spec.decoding == "multiclass"
    assert [label.slug for label in spec.labels] == ["high", "low", "middle"]
    assert spec.labels[0].name == "High"
    assert spec.metrics["held_out"]["accuracy"] == 1
    assert spec.metrics["fit"]["windows"] == 6 * 18
    assert spec.metrics["recordings"]["low"] == {"fitted": 6, "held_out": 2}
    assert spec.metrics["fit"]["seed"] == 0
    assert spec.source.checkpoint == "small@1"
    assert spec.parity["max_probability_difference"] < 1e-5


def test_the_detector_hears_what_it_was_taught_and_nothing_else(
    base: str, tones_and_background: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "own"
    spec = make(base, tones_and_background, out, replace(QUICK, name="door", version="2"))
    assert (spec.id, spec.decoding) == ("door@2", "multilabel")
    assert spec.metrics["held_out"]["accuracy"] >= 0.9
    sounds = [write(tmp_path / f"{name}.wav", tone(hz, 1.5, 99)) for name, hz in HZ.items()]
    events = replayed(out, *sounds)
    assert {(e["source"], e["label"], e["model"]) for e in events} == {
        (name, name, "door@2") for name in HZ
    }


def test_one_label_suffices_where_there_is_a_background(base: str, tmp_path: Path) -> None:
    data = tone_folders(tmp_path / "data", labels=("low",), each=6, background=5)
    spec = make(base, data, tmp_path / "out" / "own")
    assert [label.slug for label in spec.labels] == ["low"]
    assert spec.metrics["held_out"]["labels"]["low"]["accuracy"] == 1


def test_frames_say_when_and_the_window_says_what(base: str, tmp_path: Path) -> None:
    table = tone_table(tmp_path / "data")
    out = tmp_path / "out" / "own"
    spec = make(
        base, table, out, HeadOptions(base=BaseOptions(frames=True), windows=20, epochs=200)
    )
    assert spec.outputs.clip is not None
    assert spec.outputs.frames is not None
    assert spec.outputs.frames.hop_samples == 1280
    assert spec.window.hop_samples % 1280 == 0
    for figures in spec.metrics["held_out"]["frames"].values():
        assert figures["recall"] > 0.8
        assert figures["precision"] > 0.7
    events = replayed(out, write(tmp_path / "x.wav", tone(HZ["low"], 1.0, 5)))
    assert max(events, key=lambda event: event["score"]["peak"])["label"] == "low"


def test_a_ctc_checkpoint_becomes_a_classifier_of_other_labels(tmp_path: Path, tones: Path) -> None:
    where = checkpoints.save(tmp_path / "base" / "ctc", "wav2vec2", "ctc")
    options = replace(QUICK, base=BaseOptions(window_s=1.28), epochs=200)
    data = tone_folders(tmp_path / "data", labels=("low", "high"), each=8)
    spec = make(str(where), data, tmp_path / "out" / "own", options)
    assert spec.decoding == "multiclass"
    assert spec.ctc is None
    assert spec.outputs.clip is not None
    assert (spec.source.architecture, spec.window.samples) == ("Wav2Vec2Model", 20_480)
    assert spec.metrics["held_out"]["accuracy"] >= 0.75
    assert spec.parity["max_probability_difference"] < 1e-3


def test_an_ast_gives_scores_of_window_and_frames(tmp_path: Path) -> None:
    kind = "audio-spectrogram-transformer"
    where = checkpoints.save(tmp_path / "base" / "ast", kind, "clip")
    options = HeadOptions(base=BaseOptions(frames=True), epochs=5, windows=4)
    spec = make(str(where), tone_table(tmp_path / "data", 4), tmp_path / "out" / "own", options)
    assert spec.outputs.clip is not None
    assert spec.outputs.frames is not None
    assert spec.outputs.frames.hop_samples == 1600  # AST's patches are 10 log-mel frames apart
    assert spec.window.samples == 128 * 160
    assert spec.metrics["fit"]["frozen_layers"] == "all"


def test_layers_that_are_not_frozen_are_fitted_too_and_go_on_as_well(tmp_path: Path) -> None:
    where = checkpoints.save(tmp_path / "base" / "w2v", "wav2vec2", "ctc")
    data = tone_folders(tmp_path / "data", labels=("low", "high"), each=2)
    options = HeadOptions(base=BaseOptions(window_s=0.64), epochs=2, windows=2, freeze=1)
    one, two = tmp_path / "one" / "own", tmp_path / "two" / "own"
    with pytest.raises(KeyboardInterrupt):
        make_head(str(where), data, one, options, Notes(epoch=1))
    tuned, again = (make_head(str(where), data, out, options, Notes()) for out in (one, two))
    assert tuned.metrics["fit"]["frozen_layers"] == 1
    assert again.onnx.sha256 == tuned.onnx.sha256
    before, after = (_weights(path) for path in (where / "model.safetensors", one / "model.onnx"))
    changed = {name for name, weights in before.items() if weights not in after.values()}
    assert any("layers.1." in name for name in changed)
    assert not any("layers.0." in name and "norm" in name for name in changed)


def _weights(file: Path) -> dict[str, bytes]:
    if file.suffix == ".onnx":
        return {t.name: t.raw_data for t in onnx.load(file).graph.initializer}
    return {name: t.numpy().tobytes() for name, t in safetensors.torch.load_file(file).items()}


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_comes_before_the_frozen_layers_is_frozen_too(frozen: int) -> None:
    encoder = transformers.AutoModel.from_config(checkpoints.config_of("wav2vec2"))
    unfreeze(encoder, frozen)
    fitted = {name for name, p in encoder.named_parameters() if p.requires_grad}
    layers = {name for name, _ in encoder.named_parameters() if "encoder.layers." in name}
    assert fitted == {name for name in layers if int(name.split(".")[2]) >= frozen}


@pytest.mark.parametrize("end", [{"heard": 40}, {"epoch": 3}])
def test_a_run_that_was_ended_goes_on_to_the_same_result(
    end: dict[str, int], base: str, tones: Path, whole: BundleSpec, tmp_path: Path
) -> None:
    out = tmp_path / "own"
    with pytest.raises(KeyboardInterrupt):
        make_head(base, tones, out, QUICK, Notes(**end))
    assert [path.name for path in out.parent.iterdir()] == [".own-work"]
    again = Notes()
    spec = make_head(base, tones, out, QUICK, again)
    assert any("goes on" in note for note in again.notes)
    assert again.epochs[0] == (4 if "epoch" in end else 1)
    assert spec.onnx == whole.onnx
    assert spec.model_dump(exclude={"created"}) == whole.model_dump(exclude={"created"})
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_other_recordings_or_options_begin_anew(base: str, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    with pytest.raises(KeyboardInterrupt):
        make_head(base, tones, out, QUICK, Notes(epoch=3))
    again = Notes()
    make_head(base, tones, out, replace(QUICK, seed=1), again)
    assert again.epochs[0] == 1


def test_a_killed_run_leaves_no_bundle_and_goes_on(
    base: str, tones: Path, whole: BundleSpec, tmp_path: Path
) -> None:
    out = tmp_path / "own"
    command = [
        sys.executable,
        "-m",
        "export.cli",
        "head",
        base,
        "--data",
        str(tones),
        "--out",
        str(out),
    ]
    state = tmp_path / ".own-work" / "fit.safetensors"
    command += ["--epochs", "40", "--windows", "6"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not state.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)  # a file has no way to say that it is there
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    again = Notes()
    spec = make_head(base, tones, out, QUICK, again)
    assert any("goes on" in note for note in again.notes)
    assert spec.onnx == whole.onnx


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    base: str, tones: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands in for the disk: writing fails in the same way."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n{FULL}"
    out = tmp_path / "own"
    done = subprocess.run(
        [sys.executable, "-c", limited, base, tones, out],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 3, done.stderr
    assert "own" in done.stdout
    assert "cannot be written" in done.stdout
    assert "make room" in done.stdout
    assert not out.exists()


FULL = """
import sys
from pathlib import Path
from detector.errors import DetectorError
from export.heads.make import make_head
from export.heads.graph.base import BaseOptions
from export.heads.options import HeadOptions
from tests.export.test_heads import Notes
base, data, out = sys.argv[1:]
try:
    make_head(base, Path(data), Path(out), HeadOptions(), Notes())
except DetectorError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_what_was_there_stays_where_a_run_fails(base: str, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    before = make_head(base, tones, out, QUICK, Notes())
    with pytest.raises(KeyboardInterrupt):
        make_head(base, tones, out, replace(QUICK, seed=5), Notes(epoch=2))
    assert load_bundle(str(out)).spec == before


def test_a_folder_with_other_things_in_it_is_not_replaced(
    base: str, tones: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="other things in it"):
        make_head(base, tones, tones, QUICK, Notes())
    with pytest.raises(ConfigError, match="is a file"):
        make_head(base, tones, write(tmp_path / "x.wav", tone(300, 1)), QUICK, Notes())


def test_a_base_without_a_last_linear_layer_is_refused(tones: Path, tmp_path: Path) -> None:
    plain = small_base(tmp_path / "plain", pooled="none")
    with pytest.raises(BundleError, match=r"model\.onnx: .*does not come from a linear layer"):
        make_head(str(plain), tones, tmp_path / "own", QUICK, Notes())
    loud = loudness_bundle(tmp_path / "loud")
    with pytest.raises(BundleError, match=r"model\.onnx: .*does not come from a linear layer"):
        make_head(str(loud), tones, tmp_path / "own", QUICK, Notes())
    assert not (tmp_path / "own").exists()
    assert not (tmp_path / ".own-work").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(QUICK, freeze=2), "--freeze 2: small@1 is a bundle"),
        (replace(QUICK, base=BaseOptions(window_s=2.0)), "--window: small@1 is a bundle"),
        (replace(QUICK, base=BaseOptions(precision="int8")), "--precision: small@1 is a bundle"),
        (replace(QUICK, base=BaseOptions(revision="main")), "--revision: small@1 is a bundle"),
        (replace(QUICK, base=BaseOptions(hop_s=0.123)), "--hop 0.123: .* a multiple of 0.01 s"),
        (replace(QUICK, base=BaseOptions(hop_s=9.0)), "--hop 9: .* at most its window of 2.56 s"),
        (replace(QUICK, name="No Name"), "name = 'No Name'"),
    ],
)
def test_what_a_bundle_cannot_do_is_said_at_once(
    options: HeadOptions, message: str, base: str, tones: Path, tmp_path: Path
) -> None:
    notes = Notes()
    with pytest.raises(ConfigError, match=message):
        make_head(base, tones, tmp_path / "own", options, notes)
    assert not notes.windows
    assert not list(tmp_path.iterdir())


def test_frames_need_states_in_time(tones: Path, tmp_path: Path) -> None:
    where = small_base(tmp_path / "base", pooled="last")
    with pytest.raises(ConfigError, match=r"--frames: .* one hidden state for the whole window"):
        make_head(
            str(where), tones, tmp_path / "own", HeadOptions(base=BaseOptions(frames=True)), Notes()
        )


def test_more_frozen_layers_than_there_are_is_refused(tones: Path, tmp_path: Path) -> None:
    where = checkpoints.save(tmp_path / "w2v", "wav2vec2", "ctc")
    with pytest.raises(ConfigError, match="--freeze 3: the encoder has 2 layers"):
        make_head(str(where), tones, tmp_path / "own", HeadOptions(freeze=3), Notes())
    assert [path.name for path in tmp_path.iterdir()] == ["w2v"]


def test_a_label_alone_is_refused(base: str, tmp_path: Path) -> None:
    data = tone_folders(tmp_path / "data", labels=("low",), each=4)
    with pytest.raises(ConfigError, match="one label, 'low', and nothing to tell it from"):
        make_head(base, data, tmp_path / "own", QUICK, Notes())
    with pytest.raises(ConfigError, match="one label"):
        make_head(base, data, tmp_path / "own", replace(QUICK, decoding="multilabel"), Notes())


def test_recordings_with_a_background_are_not_exclusive(
    base: str, tones_and_background: Path, tmp_path: Path
) -> None:
    options = replace(QUICK, decoding="multiclass")
    with pytest.raises(ConfigError, match="--decoding multiclass: not every recording"):
        make_head(base, tones_and_background, tmp_path / "own", options, Notes())


def test_a_base_that_does_not_exist_is_named(tones: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        make_head("nothing", tones, tmp_path / "own", QUICK, Notes())


def test_the_command_says_what_it_made_and_how_good_it_is(
    base: str, tones: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "own")
    arguments = [
        "head",
        base,
        "--data",
        str(tones),
        "--out",
        out,
        "--epochs",
        "40",
        "--freeze",
        "all",
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "own@1, a new layer on small@1" in done.stdout
    assert "2/2 right" in done.stdout
    assert "always hear one of its labels, in silence too" in done.stderr
    wrong = CliRunner().invoke(app, [*arguments[:-1], "some"])
    assert wrong.exit_code == 2
    assert "'all' or a number" in wrong.stderr

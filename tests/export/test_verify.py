"""`verify` tells a bundle that says what its checkpoint says from one that does not."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import onnx

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import Bundle, load_bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE
from export.bundle import describe_graph, write_bundle
from export.checkpoints.checkpoint import load_checkpoint
from export.cli import app
from export.commands.inspect import graph_facts
from export.convert import ExportOptions, export_checkpoint
from export.features.window import window_of
from export.graphs.precision import to_precision
from export.parity.agreement import Agreement, verdict
from export.parity.recordings import read_sounds
from export.parity.shifts import SHIFTS, most_moved, sensitivity, shifted
from tests.bundles import HIGH_HZ, LOW_HZ, loudness_bundle, tone_bundle
from tests.export.checkpoints import LABELS, save

pytestmark = pytest.mark.export

AST = "audio-spectrogram-transformer"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def result_of(*arguments: str | Path) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert not isinstance(done.exception, Exception), done.exception
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("ast"), AST, "clip")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("bundles") / "ast"
    export_checkpoint(load_checkpoint(str(checkpoint), "clip"), out, ExportOptions())
    return out


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings: stereo at 44.1 kHz, short, and in a folder below."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "recordings"
    (folder / "below").mkdir(parents=True)
    soundfile.write(folder / "a.wav", 0.1 * rng.standard_normal((88_200, 2)), 44_100)
    soundfile.write(folder / "b.flac", 0.1 * rng.standard_normal(4_000), SAMPLE_RATE)
    soundfile.write(folder / "below" / "c.ogg", 0.1 * rng.standard_normal(40_000), SAMPLE_RATE)
    (folder / "notes.txt").write_text("no recording")
    return folder


def in_precision(bundle: Path, out: Path, change: Callable[[Path], str]) -> Path:
    """The bundle with another graph, made of its own; `change` says of which precision."""
    old = load_bundle(str(bundle))
    graph = out.with_suffix(".onnx")
    graph.write_bytes(old.model_file.read_bytes())
    precision: Any = change(graph)
    spec = old.spec.model_copy(update={"onnx": describe_graph(graph, precision)})
    write_bundle(out, graph, spec, named_as_folder=False)
    return out


def test_bundle_agrees_with_its_checkpoint_on_recordings_and_noise_alone_and_in_batches(
    bundle: Path, checkpoint: Path, recordings: Path
) -> None:
    result = result_of("verify", bundle, "--checkpoint", checkpoint, "--audio", recordings)
    rows = result["parity"]
    assert [(r["sounds"], r["windows"], r["batch"]) for r in rows] == [
        ("recordings", 3, 1),
        ("recordings", 3, 5),
        ("noise and tones", 5, 1),
        ("noise and tones", 5, 5),
    ]
    assert all(0 < r["max_difference"] < 1e-4 and r["verdict"] == "agrees" for r in rows)
    assert all(r["mean_difference"] <= r["max_difference"] for r in rows)
    assert result["recordings"] == ["a.wav", "b.flac", "c.ogg"]
    assert result["limit"] == 1e-3


def test_exit_code_is_0_where_both_agree_and_4_where_they_differ(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert run("verify", bundle, "--checkpoint", checkpoint).exit_code == 0
    other = save(tmp_path / "other", AST, "clip", layer_norm_eps=0.1)
    done = run("verify", bundle, "--checkpoint", other)
    assert done.exit_code == 4
    assert "differs" in done.stdout


def test_checkpoint_with_other_labels_is_refused(bundle: Path, tmp_path: Path) -> None:
    names = [*LABELS[:-1], "Thunder"]
    other = save(tmp_path / "other", AST, "clip", id2label=dict(enumerate(names)))
    done = run("verify", bundle, "--checkpoint", other)
    assert isinstance(done.exception, BundleError)
    assert "labels.4.slug" in str(done.exception)
    assert "'thunder'" in str(done.exception)
    fewer = save(tmp_path / "fewer", AST, "clip", id2label=dict(enumerate(LABELS[:3])))
    with pytest.raises(BundleError, match="has 5; the checkpoint fewer has 3"):
        raise run("verify", bundle, "--checkpoint", fewer).exception or AssertionError


def test_damaged_bundle_is_named_with_exit_code_3(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in bundle.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    data = bytearray((damaged / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "model.onnx").write_bytes(data)
    for command in ("verify", "inspect"):
        error = run(command, damaged).exception
        assert isinstance(error, BundleError)
        assert error.exit_code == 3
        assert "onnx.sha256" in str(error)


def test_int8_is_reported_and_fp16_has_its_own_limit(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    def to(precision: Any) -> Callable[[Path], str]:
        def change(graph: Path) -> str:
            to_precision(graph, precision, layers=2)
            return str(precision)

        return change

    result = result_of(
        "verify", in_precision(bundle, tmp_path / "int8", to("int8")), "--checkpoint", checkpoint
    )
    assert {row["verdict"] for row in result["parity"]} == {"reported"}
    assert all(1e-3 < row["max_difference"] < 0.1 for row in result["parity"])
    half = in_precision(bundle, tmp_path / "fp16", to("fp16"))
    result = result_of("verify", half, "--checkpoint", checkpoint)
    assert {row["verdict"] for row in result["parity"]} == {"agrees"}
    assert result["limit"] == 2e-3
    assert graph_facts(load_bundle(str(half)))["fused_attention"] == 2


def test_not_a_number_is_no_agreement() -> None:
    found = Agreement("noise", 5, 1, 0.5, 0.1, 1.0)
    assert verdict(found, 0.4) == "differs"
    assert verdict(found, 0.5) == "agrees"
    assert verdict(found, math.inf) == "reported"
    assert verdict(replace(found, max_difference=math.nan), math.inf) == "differs"


def test_bundle_of_frames_agrees_with_its_checkpoint_and_has_no_spectrogram_to_shift(
    tmp_path: Path,
) -> None:
    checkpoint = save(tmp_path / "checkpoint", "wav2vec2", "frames")
    loaded = load_checkpoint(str(checkpoint), "frames")
    export_checkpoint(loaded, tmp_path / "frames", ExportOptions(window_s=1.28))
    result = result_of("verify", tmp_path / "frames", "--checkpoint", checkpoint)
    assert {row["verdict"] for row in result["parity"]} == {"agrees"}
    assert result["shifts"] is None


def test_a_head_of_ones_own_has_no_checkpoint_to_be_compared_with(
    checkpoint: Path, tmp_path: Path
) -> None:
    both = tone_bundle(tmp_path / "both", outputs=("clip", "frames"))
    error = run("verify", both, "--checkpoint", checkpoint).exception
    assert isinstance(error, ConfigError)
    assert "detector-export head" in str(error)


def test_shifting_moves_the_content_and_repeats_the_edge() -> None:
    frames = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(shifted(frames, 0), frames)
    np.testing.assert_array_equal(shifted(frames, 2)[0], [0, 0, 0, 1, 2, 3])
    np.testing.assert_array_equal(shifted(frames, -2)[1], [8, 9, 10, 11, 11, 11])


def test_scores_move_further_the_further_the_sound_is_moved(tmp_path: Path) -> None:
    """The label "low" stands for one narrow band: moved out of it, the tone is no longer heard."""
    bundle = load_bundle(str(tone_bundle(tmp_path / "tones")))
    times = np.arange(bundle.spec.window.samples) / SAMPLE_RATE
    low, high = (
        window_of((0.2 * np.sin(2 * np.pi * hz * times)).astype(np.float32), bundle.spec)
        for hz in (LOW_HZ, HIGH_HZ)
    )
    found = {s.bins: s for s in sensitivity(Session(bundle, "cpu"), [low], (0, 1, 4, 12))}
    assert found[0].max == 0
    assert found[0].labels == (0, 0)
    assert found[1].labels[0] < 0.1
    assert found[12].labels[0] > 0.9
    assert found[12].mean == pytest.approx(np.mean(found[12].labels))
    assert found[12].max == pytest.approx(max(found[12].labels))
    assert most_moved(list(found.values()), 1) == [0]
    other = sensitivity(Session(bundle, "cpu"), [high], (-30,))
    assert most_moved(other, 2) == [1, 0]


def test_table_of_shifts_has_every_shift_and_the_labels_that_move_most(bundle: Path) -> None:
    shifts = result_of("verify", bundle)["shifts"]
    assert list(map(int, shifts["all"])) == list(SHIFTS)
    assert all(0 < of["mean"] <= of["max"] for of in shifts["all"].values())
    assert len(shifts["labels"]) == 5
    averages = [np.mean(list(of.values())) for of in shifts["labels"].values()]
    assert averages == sorted(averages, reverse=True)
    shown = run("verify", bundle).stdout
    assert "+4" in shown
    assert next(iter(shifts["labels"])) in shown


def test_recordings_become_windows_of_equal_length_from_all_over_the_folder(
    recordings: Path,
) -> None:
    names, sounds = read_sounds(recordings, 5, 16_000)
    assert names == ["a.wav", "b.flac", "c.ogg"]
    assert sounds.shape == (3, 16_000)
    assert sounds.dtype == np.float32
    np.testing.assert_array_equal(sounds[1, :4_000], sounds[1, 4_000:8_000])
    assert read_sounds(recordings, 2, 100)[0] == ["a.wav", "b.flac"]
    (recordings / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no recordings"):
        read_sounds(recordings / "empty", 5, 100)


def test_inspection_counts_what_is_in_the_graph(bundle: Path, tmp_path: Path) -> None:
    facts = graph_facts(load_bundle(str(bundle)))
    graph = onnx.load(bundle / "model.onnx").graph
    assert sum(facts["operators"].values()) == len(graph.node)
    assert facts["operators"]["Softmax"] == 2
    assert facts["bytes"] == (bundle / "model.onnx").stat().st_size
    assert (facts["fused_attention"], facts["quantised"]) == (0, 0)
    small = graph_facts(load_bundle(str(loudness_bundle(tmp_path / "loudness"))))
    assert small["parameters"] == 3  # floor, level and gain; the shape of frames is none


def test_inspection_says_what_the_bundle_says(bundle: Path) -> None:
    shown = run("inspect", bundle).stdout
    for expected in ("ast@1", "wail_moan", "128", "fp32", "opset 18", "max_probability_difference"):
        assert expected in shown
    result = result_of("inspect", bundle)
    assert result["bundle"] == json.loads((bundle / "bundle.json").read_text())
    assert result["graph"]["operators"]["LayerNormalization"] == 6


def test_built_in_bundle_is_found_by_its_name_and_a_folder_without_a_slash(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "sounds@" in run("inspect", "sounds").stdout
    monkeypatch.chdir(bundle.parent)
    assert "ast@1" in run("inspect", bundle.name).stdout


def test_long_label_lists_are_cut_short_unless_all_are_asked_for(bundle: Path) -> None:
    short, whole = run("inspect", "sounds").stdout, run("inspect", "sounds", "--all").stdout
    assert "more: --all shows them" in short
    last = Bundle(bundle, load_bundle("sounds").spec).spec.labels[-1].slug
    assert last in whole
    assert last not in short

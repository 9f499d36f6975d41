"""Every architecture, through export and detector, says what Hugging Face's own code says."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import torch

from detector.inference.bundle import Bundle, load_bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE, FloatArray
from export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from export.checkpoints.families import FAMILIES
from export.checkpoints.layout import lay_out
from export.checkpoints.network import Encoder
from export.convert import ExportOptions, export_checkpoint
from export.features.window import window_of
from export.parity.scores import activate
from tests.export.checkpoints import CONFIGS, Task, config_of, extractor_of, save
from tests.recordings import held_out_clips, read

pytestmark = [
    pytest.mark.export,
    # PyTorch says once how it computes LASR's even convolutions.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]

TOLERANCE: Final = 1e-4
WINDOW_S: Final = 1.28
"""Where the architecture does not dictate it."""


@dataclass(frozen=True)
class Case:
    kind: str
    task: Task
    changes: tuple[tuple[str, Any], ...] = ()
    """To its configuration."""
    extractor: tuple[tuple[str, Any], ...] = ()
    """To its feature extractor."""

    def __str__(self) -> str:
        return "-".join([self.kind, self.task, *(name for name, _ in self.changes)])


CASES: Final = (
    Case("audio-spectrogram-transformer", "clip"),
    Case(
        "audio-spectrogram-transformer",
        "clip",
        (("num_mel_bins", 64), ("problem_type", "multi_label_classification")),
        (("num_mel_bins", 64), ("do_normalize", False)),
    ),
    Case("data2vec-audio", "frames"),
    Case("hubert", "clip"),
    Case("sew", "ctc"),
    Case("sew-d", "clip"),
    Case("unispeech", "ctc"),
    Case("unispeech-sat", "frames"),
    Case("wav2vec2", "clip"),
    Case(
        "wav2vec2",
        "frames",
        (
            ("feat_extract_norm", "layer"),
            ("do_stable_layer_norm", True),
            ("use_weighted_layer_sum", True),
            ("problem_type", "multi_label_classification"),
        ),
        (("do_normalize", False), ("return_attention_mask", True)),
    ),
    Case("wav2vec2", "ctc", (("add_adapter", True),)),
    Case("wav2vec2-bert", "clip"),
    Case("wav2vec2-bert", "ctc"),
    Case("wav2vec2-conformer", "clip", (("position_embeddings_type", "rotary"),)),
    Case("wavlm", "clip"),
    Case("whisper", "clip"),
    Case("parakeet_ctc", "ctc"),
    Case("lasr_ctc", "ctc"),
)


@dataclass(frozen=True)
class Export:
    checkpoint: Checkpoint
    extractor: Any
    bundle: Bundle
    session: Session

    @property
    def samples(self) -> int:
        return self.bundle.spec.window.samples

    def detect(self, sounds: FloatArray) -> FloatArray:
        """Probabilities as the detector sees them."""
        scores = self.session.score([window_of(sound, self.bundle.spec) for sound in sounds])
        return np.asarray([s.frames if s.clip is None else s.clip for s in scores], np.float32)

    def expect(self, sounds: FloatArray) -> FloatArray:
        """Probabilities as anyone computes them with the model's own extractor."""
        inputs = self.extractor(list(sounds), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            logits = self.checkpoint.model(**inputs).logits.numpy()
        return activate(
            logits, "sigmoid" if self.checkpoint.decoding == "multilabel" else "softmax"
        )


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Export]:
    """Each checkpoint is made and exported once."""

    @cache
    def made(case: Case) -> Export:
        folder: Path = tmp_path_factory.mktemp(case.kind)
        extractor = extractor_of(case.kind, **dict(case.extractor))
        save(folder / "made", case.kind, case.task, extractor=extractor, **dict(case.changes))
        checkpoint = load_checkpoint(str(folder / "made"), case.task)
        window_s = None if checkpoint.family.window else WINDOW_S
        export_checkpoint(checkpoint, folder / "bundle", ExportOptions(window_s=window_s))
        bundle = load_bundle(str(folder / "bundle"))
        return Export(checkpoint, extractor, bundle, Session(bundle, "cpu"))

    return made


@pytest.fixture(scope="session")
def recordings() -> FloatArray:
    """(5, 2 s) of sounds as unlike as can be; synthetic ones where there are no recordings."""
    length = 2 * SAMPLE_RATE
    names = ("dog", "rain", "clock_alarm", "engine", "mouse_click")
    clips = held_out_clips()
    if clips:
        return np.stack([_loudest(read(clips[name][0]), length) for name in names])
    rng = np.random.default_rng(7)
    time = np.arange(length) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * hz * time) * np.exp(-time * hz / 500) for hz in (90, 440, 2500)]
    noises = [rng.standard_normal(length) * level for level in (0.003, 0.2)]
    return np.asarray([*tones, *noises], np.float32)


def _loudest(sound: FloatArray, length: int) -> FloatArray:
    """The stretch around the loudest sample."""
    start = int(np.clip(np.abs(sound).argmax() - length // 3, 0, len(sound) - length))
    return sound[start : start + length]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bundle_says_what_the_checkpoint_says_of_recordings(
    export: Callable[[Case], Export], recordings: FloatArray, case: Case
) -> None:
    made = export(case)
    sounds = recordings[:, : made.samples]
    found = made.detect(sounds)
    expected = made.expect(sounds)
    if expected.ndim == 3:  # a frame that is padding alone is answered by Hugging Face too
        assert 0 <= expected.shape[1] - found.shape[1] <= 1
        expected = expected[:, : found.shape[1]]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(made.detect(sounds[:1]), found[:1], atol=TOLERANCE, rtol=0)
    assert np.ptp(found, axis=0).max() > 0.02, "all sounds have the same scores"


def test_every_architecture_is_in_the_matrix() -> None:
    assert {case.kind for case in CASES} == set(FAMILIES) == set(CONFIGS)


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[8], CASES[15]], ids=str)
def test_a_sound_shorter_than_the_window_is_padded_as_the_extractor_pads_it(
    export: Callable[[Case], Export], recordings: FloatArray, case: Case
) -> None:
    made = export(case)
    short = recordings[:, : made.samples // 2]
    options: dict[str, Any] = {}
    if case.kind == "wav2vec2":  # with a mask, its extractor normalises what was heard alone
        options = {"padding": "max_length", "return_attention_mask": True}
        options["max_length"] = made.samples
    inputs = made.extractor(list(short), sampling_rate=SAMPLE_RATE, return_tensors="pt", **options)
    with torch.no_grad():
        logits = made.checkpoint.model(inputs[made.checkpoint.family.keyword]).logits.numpy()
    expected = activate(logits, "sigmoid" if case is CASES[1] else "softmax")
    np.testing.assert_allclose(made.detect(short), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["wav2vec2-bert", "parakeet_ctc"])
def test_padding_takes_no_part_in_a_windows_statistics(kind: str, recordings: FloatArray) -> None:
    extractor = extractor_of(kind)
    features = FAMILIES[kind].features(extractor)
    heard = features.step * 55
    short = recordings[0, :heard]
    (expected,) = extractor(short, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features
    padded = torch.zeros(1, 2 * heard)
    padded[0, :heard] = torch.from_numpy(short)
    (found,) = features.prelude()(padded).numpy()
    count = len(expected) - (kind == "parakeet_ctc")
    np.testing.assert_allclose(found[:count], expected[:count], atol=1e-3)
    assert not found[count:].any()


@pytest.mark.parametrize("kind", ["wav2vec2-bert", "parakeet_ctc", "whisper", "lasr_ctc"])
@pytest.mark.parametrize("sound", ["silence", "offset", "tone", "loud"])
def test_front_ends_in_the_graph_agree_with_the_extractor_on_extreme_sounds(
    kind: str, sound: str
) -> None:
    features = FAMILIES[kind].features(extractor_of(kind))
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sounds = {
        "silence": 0 * time,
        "offset": 0.2 + 1e-3 * np.random.default_rng(0).standard_normal(len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * (100 * time + 1700 * time**2)),
        "loud": 20 * np.random.default_rng(1).standard_normal(len(time)),
    }
    samples = np.asarray(sounds[sound], np.float32)[None]
    found = features.prelude()(torch.from_numpy(samples))
    # Parakeet's extractor works in single precision and divides by a deviation that may be none.
    tolerance = 0.2 if kind == "parakeet_ctc" else 2e-3
    torch.testing.assert_close(found, features.reference(samples), atol=tolerance, rtol=0)


@pytest.mark.parametrize("case", [CASES[8], CASES[0]], ids=str)
def test_parity_is_measured_and_told(export: Callable[[Case], Export], case: Case) -> None:
    parity = export(case).bundle.spec.parity
    assert 0 <= parity["max_probability_difference"] <= 1e-4
    assert parity["batches"] == [1, 5]
    assert "transformers" in parity["reference"]


@pytest.mark.parametrize(
    ("kind", "hop", "offset"),
    [
        ("wav2vec2", 320, 40),  # sees 400 samples: the middle 320 of them
        ("data2vec-audio", 320, 40),
        ("sew", 320, 40),
        ("audio-spectrogram-transformer", 1600, 600),  # 16 frames of 25 ms, 10 ms apart: 2800
        ("wav2vec2-bert", 320, 120),  # two such frames: 560
        ("whisper", 320, 0),  # centred on its first sample: half a frame would lie before
        ("parakeet_ctc", 1280, 0),
        ("lasr_ctc", 640, 840),
    ],
)
def test_frames_lie_where_the_middle_of_what_they_see_lies(
    kind: str, hop: int, offset: int
) -> None:
    family = FAMILIES[kind]
    timing = family.timing(family.features(extractor_of(kind)), config_of(kind))
    assert (timing.hop_samples, timing.offset_samples) == (hop, offset)


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_encoders_have_a_state_for_each_frame(kind: str, tmp_path: Path) -> None:
    task: Task = "ctc" if kind.endswith("_ctc") else "clip"
    checkpoint = load_checkpoint(str(save(tmp_path / "made", kind, task)), "encoder")
    layout = lay_out(checkpoint)
    values = torch.randn(2, *layout.shape)
    with torch.no_grad():
        hidden = Encoder(checkpoint).eval()(values)
    timing, samples = layout.timing, layout.window.samples
    assert hidden.shape[0] == 2
    assert hidden.shape[2] == 32
    end = timing.offset_samples + hidden.shape[1] * timing.hop_samples
    assert abs(samples - end) <= timing.span_samples
    assert not torch.allclose(hidden[0], hidden[1])


def test_patches_are_pooled_over_frequency_in_the_order_of_time(tmp_path: Path) -> None:
    folder = save(tmp_path / "made", "audio-spectrogram-transformer", "clip")
    checkpoint = load_checkpoint(str(folder), "encoder")
    pool, config = checkpoint.family.pool, checkpoint.config
    assert pool is not None
    patches = checkpoint.model.embeddings.patch_embeddings
    quiet, loud = torch.zeros(2, 1, 128, 128)
    loud[:, 50:60] = 1.0  # in time
    with torch.no_grad():
        moved = patches(loud) - patches(quiet)
    tokens = torch.cat([torch.zeros(1, 2, moved.shape[2]), moved], dim=1)
    changed = pool(tokens, config).abs().amax(dim=2)[0] > 1e-6
    assert [i for i, is_ in enumerate(changed) if is_] == [4, 5]  # frames 40..56 and 50..66

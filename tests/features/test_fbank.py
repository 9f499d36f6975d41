"""Front ends of the kind `fbank`: Kaldi's numbers, and those of AST's extractor."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from detector.features.fbank import LogMel
from detector.features.mel_filters import mel_filters
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank
from tests.features.ragged import noise
from tests.recordings import held_out_clips, needs_recordings, read

AST = Fbank()
AUDIO = noise(1.5)
SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def silence() -> FloatArray:
    return np.zeros(SAMPLE_RATE, np.float32)


def full_scale_noise() -> FloatArray:
    return np.random.default_rng(3).uniform(-1, 1, SAMPLE_RATE).astype(np.float32)


def square_wave() -> FloatArray:
    return np.sign(np.sin(2 * np.pi * 440 * SECOND)).astype(np.float32)


def tone_beside_an_offset() -> FloatArray:
    return (0.7 + 0.001 * np.sin(2 * np.pi * 1000 * SECOND)).astype(np.float32)


def pure_offset() -> FloatArray:
    return np.full(SAMPLE_RATE, 0.25, np.float32)


def click() -> FloatArray:
    samples = silence()
    samples[2000] = 1.0
    return samples


def one_frame() -> FloatArray:
    return AUDIO[:400]


SIGNALS = [
    silence,
    full_scale_noise,
    square_wave,
    tone_beside_an_offset,
    pure_offset,
    click,
    one_frame,
]
RECORDED = ["dog", "rain", "glass_breaking", "church_bells"]

knows_the_empty_bin = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero")
signals = pytest.mark.parametrize("signal", SIGNALS, ids=lambda f: f.__name__)


def log_mel(samples: FloatArray, settings: Fbank = AST) -> FloatArray:
    return LogMel(settings, SAMPLE_RATE).push(samples)


def kaldi(samples: FloatArray, mel_bins: int = 128) -> np.ndarray:
    """Kaldi's recipe, frame by frame and in its own order (feat/feature-window.cc,
    feature-fbank.cc, mel-computations.cc), in double precision and with a plain DFT; then AST's
    normalisation.

    Returns:
        (t, mel_bins) float64.
    """
    n = np.arange(400)
    hanning = np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in n])
    dft = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512)

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1.0 + hz / 700.0)

    low, high = mel(20.0), mel(8000.0)
    width = (high - low) / (mel_bins + 1)
    frames = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400].astype(np.float64)
        frame = frame - frame.mean()
        emphasised = frame.copy()
        for i in range(399, 0, -1):
            emphasised[i] -= 0.97 * emphasised[i - 1]
        emphasised[0] -= 0.97 * emphasised[0]
        power = np.abs(dft @ (emphasised * hanning)) ** 2
        row = []
        for bin_ in range(mel_bins):
            left = low + bin_ * width
            centre, right = left + width, left + 2 * width
            energy = 0.0
            for line in range(256):
                at = mel(line * 16000 / 512)
                if left < at < right:
                    up, down = (at - left) / (centre - left), (right - at) / (right - centre)
                    energy += (up if at <= centre else down) * power[line]
            row.append(math.log(max(energy, 1.1920928955078125e-07)))
        frames.append(row)
    return (np.array(frames) + 4.2677393) / (2 * 4.5689974)


@signals
def test_agrees_with_kaldis_recipe(signal: Callable[[], FloatArray]) -> None:
    samples = signal()[:4000]
    ours = log_mel(samples)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, kaldi(samples), rtol=0, atol=1e-5)


@needs_recordings
@pytest.mark.recordings
@pytest.mark.parametrize("category", RECORDED)
def test_agrees_with_kaldis_recipe_on_recordings(category: str) -> None:
    samples = read(held_out_clips()[category][0])
    loudest = max(0, int(np.abs(samples).argmax()) - 2000)
    part = samples[loudest : loudest + 5000]
    np.testing.assert_allclose(log_mel(part), kaldi(part), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def extract() -> Callable[[FloatArray], FloatArray]:
    """Hugging Face's own extractor, without its padding."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'export'")
    pytest.importorskip("torch", reason="needs the extra 'export'")

    def run(samples: FloatArray) -> FloatArray:
        frames = AST.frames_in(len(samples))
        extractor = transformers.ASTFeatureExtractor(max_length=frames)
        features = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
        return np.asarray(features["input_values"][0])

    return run


@pytest.mark.export
@knows_the_empty_bin
@signals
def test_agrees_with_the_extractor_of_ast(
    signal: Callable[[], FloatArray], extract: Callable[[FloatArray], FloatArray]
) -> None:
    np.testing.assert_allclose(log_mel(signal()), extract(signal()), rtol=0, atol=1e-4)


@pytest.mark.export
@knows_the_empty_bin
@needs_recordings
@pytest.mark.recordings
@pytest.mark.parametrize("category", RECORDED)
def test_agrees_with_the_extractor_of_ast_on_recordings(
    category: str, extract: Callable[[FloatArray], FloatArray]
) -> None:
    samples = read(held_out_clips()[category][0])
    np.testing.assert_allclose(log_mel(samples), extract(samples), rtol=0, atol=1e-4)


def test_ten_seconds_are_1022_frames() -> None:
    assert AST.frames_in(163_840) == 1022
    assert log_mel(np.zeros(163_840, np.float32)).shape == (1022, 128)


def test_bin_without_a_line_of_the_spectrum_reads_the_floor() -> None:
    empty = np.flatnonzero(~mel_filters(AST, SAMPLE_RATE).any(axis=0))
    assert len(empty) == 1
    floor = (math.log(AST.log_floor) - AST.mean) / (2 * AST.std)
    np.testing.assert_allclose(log_mel(full_scale_noise())[:, empty], floor, rtol=0, atol=1e-6)
    others = np.delete(log_mel(full_scale_noise()), empty, axis=1)
    assert others.max(axis=0).min() > floor + 0.5


def test_silence_and_a_constant_offset_read_the_floor_everywhere() -> None:
    floor = np.float32((math.log(AST.log_floor) - AST.mean) / (2 * AST.std))
    np.testing.assert_array_equal(log_mel(silence()), floor)
    np.testing.assert_array_equal(log_mel(pure_offset()), floor)


def test_padding_is_what_the_extractor_makes_of_a_missing_frame() -> None:
    assert math.isclose(AST.padding, 4.2677393 / (2 * 4.5689974))

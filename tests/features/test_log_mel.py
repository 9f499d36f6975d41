"""Front ends of the kind `log_mel`: the numbers of librosa and of YAMNet's own front end."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from detector.features.fbank import LogMel
from detector.features.mel_filters import mel_filters
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import LogMelSpec
from export.audioset.front_end import FRONT_END
from tests.features.ragged import noise
from tests.recordings import held_out_clips, needs_recordings, read
from tests.yamnet import FILE, needs_yamnet

AUDIO = noise(1.0, seed=5)
SLANEY = LogMelSpec(mel_scale="slaney", area_normalised=True)


def log_mel(samples: FloatArray, spec: LogMelSpec) -> FloatArray:
    return LogMel(spec, SAMPLE_RATE).push(samples)


def formulas(samples: FloatArray, spec: LogMelSpec) -> np.ndarray:
    """Frame by frame, line by line, in double precision and with a plain DFT.

    Returns:
        (t, mel_bins) float64.
    """

    def mel(hz: float) -> float:
        if spec.mel_scale == "htk":
            return 2595 * math.log10(1 + hz / 700)
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)

    def hertz(mels: float) -> float:
        if spec.mel_scale == "htk":
            return 700.0 * (10 ** (mels / 2595) - 1)
        return mels * 200 / 3 if mels < 15 else 1000 * 6.4 ** ((mels - 15) / 27)

    size, lines = spec.frame_samples, spec.fft_size // 2 + 1
    a0 = {"hann": 0.5, "hamming": 0.54}[spec.taper]
    period = size if spec.periodic else size - 1
    taper = a0 - (1 - a0) * np.cos(2 * np.pi * np.arange(size) / period)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(lines), np.arange(size)) / spec.fft_size)
    low, high = mel(spec.low_hz), mel(spec.high_hz)
    edges = [low + i * (high - low) / (spec.mel_bins + 1) for i in range(spec.mel_bins + 2)]
    filters = np.zeros((spec.mel_bins, lines))
    for i in range(spec.mel_bins):
        in_hz = [hertz(edge) for edge in edges[i : i + 3]]
        left, centre, right = edges[i : i + 3] if spec.slopes == "mel" else in_hz
        for line in range(lines):
            hz = line * SAMPLE_RATE / spec.fft_size
            at = mel(hz) if spec.slopes == "mel" else hz
            if left < at < right:
                up, down = (at - left) / (centre - left), (right - at) / (right - centre)
                filters[i, line] = up if at <= centre else down
        if spec.area_normalised:
            filters[i] *= 2 / (in_hz[2] - in_hz[0])
    rows = []
    for start in range(0, len(samples) - size + 1, spec.shift_samples):
        magnitude = np.abs(dft @ (samples[start : start + size].astype(np.float64) * taper))
        energy = filters @ (magnitude if spec.spectrum == "magnitude" else magnitude**2)
        energy = np.maximum(energy + spec.log_offset, spec.log_floor)
        tens = {"magnitude": 20, "power": 10}[spec.spectrum] if spec.log == "decibel" else 1
        rows.append(np.log(energy) if spec.log == "natural" else tens * np.log10(energy))
    return (np.array(rows) - spec.mean) / spec.std


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("slopes", ["mel", "hz"])
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"spectrum": "magnitude", "log": "decibel", "area_normalised": True},
        {"taper": "hamming", "log": "log10", "mean": -3.5, "std": 2.5},
        {"periodic": False, "log_offset": 0.01, "log_floor": 0.05, "high_hz": 7000.0},
        {"frame_samples": 512, "spectrum": "magnitude", "shift_samples": 512, "low_hz": 0.0},
    ],
    ids=lambda changes: "-".join(changes) or "default",
)
def test_agrees_with_the_formulas(scale: str, slopes: str, rest: dict[str, Any]) -> None:
    spec = LogMelSpec(**{"mel_scale": scale, "slopes": slopes, "mel_bins": 40, **rest})
    samples = AUDIO[:4000]
    expected = formulas(samples, spec)
    unit = 1e-5 * (10 if spec.log == "decibel" else 1)
    np.testing.assert_allclose(log_mel(samples, spec), expected, rtol=0, atol=unit)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", [None, "slaney"])
def test_filters_are_those_of_librosa(*, htk: bool, norm: str | None) -> None:
    librosa = pytest.importorskip("librosa", reason="needs the extra 'evaluate'")
    spec = LogMelSpec(
        mel_bins=64, low_hz=50.0, mel_scale="htk" if htk else "slaney", area_normalised=bool(norm)
    )
    theirs = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=512, n_mels=64, fmin=50.0, htk=htk, norm=norm, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filters(spec, SAMPLE_RATE), theirs.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_decibels_are_those_of_librosa(power: float) -> None:
    librosa = pytest.importorskip("librosa", reason="needs the extra 'evaluate'")
    spec = SLANEY.model_copy(
        update={
            "spectrum": "magnitude" if power == 1 else "power",
            "log": "decibel",
            "mel_bins": 40,
            "high_hz": 7600.0,
            "frame_samples": 512,  # a shorter frame librosa puts in the middle of the longer one
        }
    )
    theirs = librosa.feature.melspectrogram(
        y=AUDIO, sr=SAMPLE_RATE, n_fft=512, hop_length=160, n_mels=40, fmin=20.0, fmax=7600.0,
        center=False, power=power,
    )  # fmt: skip
    to_decibel = librosa.amplitude_to_db if power == 1 else librosa.power_to_db
    expected = to_decibel(theirs, amin=1e-10, top_db=None)
    np.testing.assert_allclose(log_mel(AUDIO, spec), expected.T, rtol=0, atol=2e-3)


@pytest.fixture(scope="module")
def yamnets_own() -> Any:
    """YAMNet's front end as the graph of its file computes it: (15600,) to (96, 64)."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    interpreter = litert.Interpreter(
        model_path=str(FILE),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    put = interpreter.get_input_details()[0]["index"]
    [log_mels] = [
        tensor["index"]
        for tensor in interpreter.get_tensor_details()
        if tensor["name"] == "log_mel_spectrogram"
    ]

    def run(samples: FloatArray) -> Any:
        interpreter.set_tensor(put, samples)
        interpreter.invoke()
        return interpreter.get_tensor(log_mels)

    return run


@needs_yamnet
@pytest.mark.parametrize("level", [0.0, 1e-4, 0.1, 1.0])
def test_agrees_with_yamnets_own_front_end(level: float, yamnets_own: Any) -> None:
    samples: FloatArray = (level * AUDIO[:15_600]).astype(np.float32)
    ours = log_mel(samples, FRONT_END)
    assert ours.shape == (96, 64)
    np.testing.assert_allclose(ours, yamnets_own(samples), rtol=0, atol=1e-3)


@needs_yamnet
@needs_recordings
@pytest.mark.recordings
@pytest.mark.parametrize("category", ["dog", "rain", "glass_breaking", "church_bells"])
def test_agrees_with_yamnets_own_front_end_on_recordings(category: str, yamnets_own: Any) -> None:
    samples = read(held_out_clips()[category][0])
    loudest = min(max(0, int(np.abs(samples).argmax()) - 8000), len(samples) - 15_600)
    part = samples[loudest : loudest + 15_600]
    np.testing.assert_allclose(log_mel(part, FRONT_END), yamnets_own(part), rtol=0, atol=1e-3)


@pytest.mark.parametrize("spec", [FRONT_END, SLANEY, LogMelSpec(log="decibel", mean=-30, std=8)])
def test_padding_is_what_silence_reads(spec: LogMelSpec) -> None:
    silence = log_mel(np.zeros(4000, np.float32), spec)
    np.testing.assert_allclose(silence, spec.padding, rtol=0, atol=1e-5)


def test_a_logarithm_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="silence has no logarithm"):
        LogMelSpec(log_offset=0.0, log_floor=0.0)

"""What every kind of log-mel front end keeps: the same frames however the audio arrives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.features.fbank import LogMel
from detector.features.windows import WindowRequest, windows_of
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank, LogMelSpec, WindowSpec
from export.audioset.front_end import FRONT_END
from tests.features.ragged import SIZES, blocks, cut, evenly, noise, sizes

KINDS = {
    "fbank": Fbank(),
    "yamnet": FRONT_END,
    "librosa": LogMelSpec(mel_scale="slaney", area_normalised=True, log="decibel", mean=-40, std=9),
    "speech": LogMelSpec(taper="hamming", periodic=False, mel_bins=80, shift_samples=155),
}
AUDIO = noise(1.5)

kinds = pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)


def log_mel(samples: FloatArray, spec: Fbank | LogMelSpec) -> FloatArray:
    return LogMel(spec, SAMPLE_RATE).push(samples)


@kinds
@given(lengths=sizes)
@settings(max_examples=40)
def test_any_chunking_gives_the_same_bits(spec: Fbank | LogMelSpec, lengths: list[int]) -> None:
    stream = LogMel(spec, SAMPLE_RATE)
    parts = [stream.push(part) for part in cut(AUDIO, lengths)]
    np.testing.assert_array_equal(np.concatenate(parts), log_mel(AUDIO, spec))


@kinds
@pytest.mark.parametrize("length", [size for size in SIZES if size])
def test_equal_blocks_of_any_length_give_the_same_bits(
    spec: Fbank | LogMelSpec, length: int
) -> None:
    stream = LogMel(spec, SAMPLE_RATE)
    audio = AUDIO[:6000]
    parts = [stream.push(part) for part in cut(audio, evenly(length))]
    np.testing.assert_array_equal(np.concatenate(parts), log_mel(audio, spec))


@given(
    frame=st.integers(20, 1200),
    shift=st.integers(20, 1200),
    bins=st.integers(1, 90),
    lengths=sizes,
    kind=st.sampled_from(list(KINDS.values())),
)
@settings(max_examples=40)
def test_any_chunking_gives_the_same_bits_with_other_settings(
    frame: int, shift: int, bins: int, lengths: list[int], kind: Fbank | LogMelSpec
) -> None:
    sizes_ = {"frame_samples": frame, "shift_samples": min(frame, shift)}
    other = kind.model_copy(update={**sizes_, "fft_size": 1200, "mel_bins": bins})
    audio = AUDIO[:12_000]
    stream = LogMel(other, SAMPLE_RATE)
    parts = [stream.push(part) for part in cut(audio, lengths)]
    np.testing.assert_array_equal(np.concatenate(parts), log_mel(audio, other))


@kinds
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_frame_comes_when_its_last_sample_does(spec: Fbank | LogMelSpec, frames: int) -> None:
    enough = spec.frame_samples + (frames - 1) * spec.shift_samples
    for samples, expected in ((enough - 1, frames - 1), (enough, frames), (0, 0)):
        assert log_mel(AUDIO[:samples], spec).shape == (expected, spec.mel_bins)
        assert spec.frames_in(samples) == expected


@kinds
def test_reset_forgets_the_unfinished_frame(spec: Fbank | LogMelSpec) -> None:
    stream = LogMel(spec, SAMPLE_RATE)
    stream.push(AUDIO[5000:5777])
    stream.reset()
    np.testing.assert_array_equal(stream.push(AUDIO), log_mel(AUDIO, spec))


@kinds
def test_pushing_does_not_change_the_samples_nor_keep_them(spec: Fbank | LogMelSpec) -> None:
    samples = AUDIO[:1000].copy()
    stream = LogMel(spec, SAMPLE_RATE)
    first = stream.push(samples)
    np.testing.assert_array_equal(samples, AUDIO[:1000])
    samples[:] = 0
    rest = stream.push(AUDIO[1000:])
    np.testing.assert_array_equal(np.concatenate([first, rest]), log_mel(AUDIO, spec))


@kinds
def test_a_window_holds_the_streams_frames_and_then_padding(spec: Fbank | LogMelSpec) -> None:
    hop = 20 * spec.shift_samples
    window = WindowSpec(samples=3 * hop, hop_samples=hop)
    rows, bins = spec.input_shape(window.samples)
    whole = log_mel(AUDIO, spec)
    found = list(windows_of(WindowRequest(spec, window, rows + 2, trailing=False), blocks(AUDIO)))
    assert len(found) > 5
    for one in found:
        begin, end = one.first_sample // spec.shift_samples, spec.frames_in(one.end_sample)
        expected = np.full((rows + 2, bins), spec.padding, np.float32)
        expected[: end - begin] = whole[begin:end]
        np.testing.assert_array_equal(one.data, expected)

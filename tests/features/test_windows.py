"""Sliding windows of several models over one stream."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.features.fbank import LogMel
from detector.features.waveform import prepare
from detector.features.windows import Windower, WindowRequest
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Window
from detector.spec import Fbank, Waveform, WindowSpec
from tests.features.ragged import blocks, evenly, noise, sizes

RAW = Waveform(normalise="none")
NORMALISED = Waveform(normalise="zero_mean_unit_variance")


def request(
    frontend: Fbank | Waveform, samples: int, hop: int, *, trailing: bool = True, pad: int = 0
) -> WindowRequest:
    rows = frontend.frames_in(samples) if isinstance(frontend, Fbank) else samples
    return WindowRequest(
        frontend, WindowSpec(samples=samples, hop_samples=hop), rows + pad, trailing
    )


TAGGER = request(Fbank(), 20_480, 2560, pad=2)
SMALL_TAGGER = request(Fbank(mel_bins=40, mean=0.0, std=0.5), 8000, 8000)
FRAMES = request(NORMALISED, 16_000, 3333, trailing=False)
MODELS = (TAGGER, FRAMES, SMALL_TAGGER)
AUDIO = noise(3.3)

Found = tuple[int, int, int, int, float, bytes]


def windows(
    requests: Sequence[WindowRequest], audio: Iterable[AudioBlock]
) -> list[tuple[int, Window]]:
    """All windows of a recording, the last ones included."""
    windower = Windower(requests)
    found = [item for block in audio for item in windower.push(block)]
    return found + list(windower.flush())


def every_field(found: Iterable[tuple[int, Window]]) -> list[Found]:
    return [
        (index, w.first_sample, w.end_sample, w.new_samples, w.power, w.data.tobytes())
        for index, w in found
    ]


def spans(found: Iterable[tuple[int, Window]]) -> list[tuple[int, int, int]]:
    return [(w.first_sample, w.end_sample, w.new_samples) for _, w in found]


WHOLE = every_field(windows(MODELS, blocks(AUDIO)))


@given(lengths=sizes)
@settings(max_examples=40)
def test_any_chunking_gives_the_same_windows(lengths: list[int]) -> None:
    assert every_field(windows(MODELS, blocks(AUDIO, lengths))) == WHOLE


def test_blocks_of_one_sample_give_the_same_windows() -> None:
    audio = AUDIO[:12_000]
    whole = every_field(windows(MODELS, blocks(audio)))
    assert every_field(windows(MODELS, blocks(audio, evenly(1)))) == whole
    assert len(whole) > 8


def test_a_model_sees_the_same_with_and_without_others() -> None:
    for index, model in enumerate(MODELS):
        alone = [found[1:] for found in every_field(windows([model], blocks(AUDIO)))]
        assert alone == [found[1:] for found in WHOLE if found[0] == index]


@pytest.mark.parametrize("model", MODELS)
def test_first_answer_comes_after_one_hop(model: WindowRequest) -> None:
    windower = Windower([model])
    hop = model.window.hop_samples
    assert list(windower.push(AudioBlock(0, AUDIO[: hop - 1]))) == []
    [(_, window)] = windower.push(AudioBlock(hop - 1, AUDIO[hop - 1 : hop]))
    assert (window.first_sample, window.end_sample, window.new_samples) == (0, hop, hop)


def test_windows_end_at_every_multiple_of_the_hop() -> None:
    windower = Windower([FRAMES])
    found = list(windower.push(AudioBlock(0, AUDIO[:20_000])))
    ends = [window.end_sample for _, window in found]
    assert ends == [3333, 6666, 9999, 13_332, 16_665, 19_998]
    assert [window.first_sample for _, window in found] == [max(0, e - 16_000) for e in ends]


def test_windows_of_all_models_come_in_the_order_of_their_ends() -> None:
    windower = Windower(MODELS)
    found = list(windower.push(AudioBlock(0, AUDIO)))
    ends = [window.end_sample for _, window in found]
    assert ends == sorted(ends)
    assert {index for index, _ in found} == {0, 1, 2}


@given(
    samples=st.integers(0, 40_000),
    shifts=st.integers(1, 30),
    more=st.integers(0, 60),
    lengths=sizes,
)
@settings(max_examples=40)
def test_every_sample_is_new_in_exactly_one_window(
    samples: int, shifts: int, more: int, lengths: list[int]
) -> None:
    """Whatever the hop: one shorter than a frame of log-mel waits for its first frame."""
    hop = 160 * shifts
    for model in (request(Fbank(), hop + 480 + 160 * more, hop), request(RAW, hop + more, hop)):
        found = windows([model], blocks(noise(2.5)[:samples], lengths))
        heard = [(w.end_sample - w.new_samples, w.end_sample) for _, w in found if w.new_samples]
        least = 400 if isinstance(model.frontend, Fbank) else 1
        assert bool(heard) == (samples >= least)
        if heard:
            assert (heard[0][0], heard[-1][1]) == (0, samples)
            assert all(before[1] == after[0] for before, after in pairwise(heard))


def test_a_window_holds_the_frames_of_its_samples_and_padding_after_them() -> None:
    for index, window in windows([TAGGER, SMALL_TAGGER], blocks(AUDIO)):
        model = (TAGGER, SMALL_TAGGER)[index]
        assert isinstance(model.frontend, Fbank)
        stream = LogMel(model.frontend, SAMPLE_RATE)
        frames = stream.push(AUDIO[window.first_sample : window.end_sample])
        assert window.data.shape == (model.rows, model.frontend.mel_bins)
        np.testing.assert_array_equal(window.data[: len(frames)], frames)
        np.testing.assert_array_equal(
            window.data[len(frames) :], np.float32(model.frontend.padding)
        )


def test_a_waveform_window_holds_its_samples_and_silence_after_them() -> None:
    model = request(RAW, 16_000, 4000)
    for _, window in windows([model], blocks(AUDIO)):
        heard = AUDIO[window.first_sample : window.end_sample]
        np.testing.assert_array_equal(window.data[: len(heard)], heard)
        assert not window.data[len(heard) :].any()


def test_power_is_the_mean_square_of_the_new_samples() -> None:
    for _, window in windows(MODELS, blocks(AUDIO)):
        new = AUDIO[window.end_sample - window.new_samples : window.end_sample]
        expected = np.square(new.astype(np.float64)).mean() if len(new) else 0.0
        assert window.power == pytest.approx(expected, rel=1e-12)


def test_windows_are_copies_that_later_audio_does_not_change() -> None:
    windower = Windower(MODELS)
    found = list(windower.push(AudioBlock(0, AUDIO)))
    before = [window.data.copy() for _, window in found]
    list(windower.push(AudioBlock(len(AUDIO), noise(5, seed=9))))
    for (_, window), data in zip(found, before, strict=True):
        np.testing.assert_array_equal(window.data, data)


@pytest.mark.parametrize("first_sample", [-1, 1, 99])
def test_a_block_that_does_not_follow_is_refused(first_sample: int) -> None:
    windower = Windower([TAGGER])
    list(windower.push(AudioBlock(0, AUDIO[:50])))
    with pytest.raises(ValueError, match=f"begins at sample {first_sample}, expected 50"):
        list(windower.push(AudioBlock(first_sample, AUDIO)))


@pytest.mark.parametrize("restart", [16_001, 10**12 + 7])
def test_after_a_gap_everything_begins_anew_at_its_own_index(restart: int) -> None:
    windower = Windower(MODELS)
    list(windower.push(AudioBlock(0, noise(1.0, seed=5))))
    list(windower.flush())
    windower.restart(restart)
    assert windower.end_sample == restart
    found = [w for block in blocks(AUDIO, [977], restart) for w in windower.push(block)]
    found += windower.flush()
    moved = [(i, f - restart, e - restart, *more) for i, f, e, *more in every_field(found)]
    assert moved == WHOLE


class TestFlush:
    def test_shows_the_tail_then_lets_the_trailing_edge_pass(self) -> None:
        windower = Windower([request(RAW, 16_000, 4000)])
        list(windower.push(AudioBlock(0, AUDIO[:18_500])))
        assert spans(windower.flush()) == [
            (2500, 18_500, 2500),
            (6500, 18_500, 0),
            (10_500, 18_500, 0),
            (14_500, 18_500, 0),
        ]

    def test_ends_with_a_window_of_one_hop_whatever_the_length(self) -> None:
        """Else a sound that ended less than two hops before would seem to go on."""
        windower = Windower([request(RAW, 10_000, 4000)])
        list(windower.push(AudioBlock(0, AUDIO[:16_000])))
        assert spans(windower.flush()) == [(10_000, 16_000, 0), (12_000, 16_000, 0)]

    def test_begins_where_a_frame_does(self) -> None:
        windower = Windower([request(Fbank(), 16_000, 4000)])
        list(windower.push(AudioBlock(0, AUDIO[:18_500])))
        assert spans(windower.flush()) == [
            (2560, 18_500, 2500),
            (6560, 18_500, 0),
            (10_560, 18_500, 0),
            (14_560, 18_500, 0),
        ]

    def test_shows_only_the_tail_to_a_model_that_scores_frames(self) -> None:
        windower = Windower([request(RAW, 16_000, 4000, trailing=False)])
        list(windower.push(AudioBlock(0, AUDIO[:18_500])))
        assert spans(windower.flush()) == [(2500, 18_500, 2500)]

    def test_shows_nothing_twice(self) -> None:
        windower = Windower([request(RAW, 16_000, 4000, trailing=False)])
        list(windower.push(AudioBlock(0, AUDIO[:20_000])))
        assert list(windower.flush()) == []

    def test_answers_for_sound_shorter_than_a_hop(self) -> None:
        for model in MODELS:
            [(_, window)] = windows([model], blocks(AUDIO[:1000]))
            assert (window.first_sample, window.end_sample) == (0, 1000)
            assert window.new_samples == 1000

    def test_has_nothing_to_show_of_nothing(self) -> None:
        assert list(Windower(MODELS).flush()) == []

    def test_works_with_a_hop_shorter_than_a_frame(self) -> None:
        found = spans(windows([request(Fbank(), 1600, 160)], blocks(AUDIO[:4000])))
        assert found[0] == (0, 480, 480)
        assert all(end - first >= 400 for first, end, _ in found)


@pytest.mark.export
@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero")
@pytest.mark.parametrize("end", [8000, 80_000, 163_840, 200_000])
def test_padding_is_that_of_the_extractor_of_ast(end: int) -> None:
    """At a beginning, when the window is full, and in the middle of a stream."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'export'")
    pytest.importorskip("torch", reason="needs the extra 'export'")
    audio = noise(13, seed=2)
    windower = Windower([request(Fbank(), 163_840, 8000, pad=2)])
    found = [w for _, w in windower.push(AudioBlock(0, audio[:end]))]
    found += [w for _, w in windower.flush() if w.new_samples]
    samples = audio[found[-1].first_sample : end]
    assert len(samples) == min(end, 163_840)
    theirs = transformers.ASTFeatureExtractor()(
        samples, sampling_rate=SAMPLE_RATE, return_tensors="np"
    )["input_values"][0]
    assert found[-1].data.shape == theirs.shape == (1024, 128)
    np.testing.assert_allclose(found[-1].data, theirs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[-1].data[-2:], theirs[-2:], rtol=0, atol=1e-7)


@pytest.mark.export
@pytest.mark.parametrize("heard", [1, 1000, 15_999, 16_000])
@pytest.mark.parametrize(("frontend", "normalise"), [(RAW, False), (NORMALISED, True)])
def test_waveforms_are_those_of_the_extractor_of_wav2vec2(
    heard: int, frontend: Waveform, *, normalise: bool
) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'export'")
    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalise, return_attention_mask=True
    )
    samples: FloatArray = np.asarray(AUDIO[:heard] + 0.1, np.float32)
    theirs = extractor(
        samples,
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        max_length=16_000,
        return_tensors="np",
    )["input_values"][0]
    ours = prepare(samples, frontend, 16_000)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("heard", [100, 16_000])
def test_normalised_samples_have_mean_zero_and_variance_one(heard: int) -> None:
    """Those that were heard: padding takes no part in it."""
    samples: FloatArray = np.asarray(0.01 * AUDIO[:heard] + 0.3, np.float32)
    window = prepare(samples, NORMALISED, 16_000)
    expected = (samples - samples.mean(dtype=np.float64)) / np.sqrt(
        samples.var(dtype=np.float64) + 1e-7
    )
    np.testing.assert_allclose(window[:heard], expected, rtol=0, atol=1e-3)
    assert not window[heard:].any()


def test_silence_stays_finite_when_it_is_normalised() -> None:
    assert not prepare(np.zeros(500, np.float32), NORMALISED, 800).any()

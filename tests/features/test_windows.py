"""Sliding windows of several models over one stream."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.features.fbank import LogMel
from detector.features.waveform import prepare
from detector.features.windows import (
    MOST_AT_ONCE,
    MOST_BEHIND,
    Stretch,
    WindowCursor,
    WindowRequest,
    pieces,
    windows_of,
)
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
ODD_SHIFT = request(Fbank(shift_samples=130), 13_000, 1950)
FRAMES = request(NORMALISED, 16_000, 3333, trailing=False)
MODELS = (TAGGER, FRAMES, SMALL_TAGGER)
AUDIO = noise(3.3)

Found = tuple[int, int, int, int, float, bytes]


class Listening:
    """Several models over one stretch of sound, each asked whenever something was pushed."""

    def __init__(self, *requests: WindowRequest, first_sample: int = 0) -> None:
        self.stretch = Stretch(first_sample, requests)
        self.cursors = [WindowCursor(request, self.stretch) for request in requests]

    def push(self, samples: FloatArray) -> list[tuple[int, Window]]:
        found = []
        for piece in pieces(samples):
            self.stretch.push(piece)
            found += self.due()
        return found

    def end(self) -> list[tuple[int, Window]]:
        self.stretch.ended = True
        return self.due()

    def due(self) -> list[tuple[int, Window]]:
        """All that is complete, in the order of the ends."""
        found = []
        for index, cursor in enumerate(self.cursors):
            while window := cursor.next():
                found.append((index, window))
        return sorted(found, key=lambda item: item[1].end_sample)


def windows(
    requests: Sequence[WindowRequest], audio: Iterable[AudioBlock]
) -> list[tuple[int, Window]]:
    """All windows of a recording, the last ones included."""
    listening = Listening(*requests)
    found = [item for block in audio for item in listening.push(block.samples)]
    return found + listening.end()


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
    listening = Listening(model)
    hop = model.window.hop_samples
    assert listening.push(AUDIO[: hop - 1]) == []
    [(_, window)] = listening.push(AUDIO[hop - 1 : hop])
    assert (window.first_sample, window.end_sample, window.new_samples) == (0, hop, hop)


def test_windows_end_at_every_multiple_of_the_hop() -> None:
    found = Listening(FRAMES).push(AUDIO[:20_000])
    ends = [window.end_sample for _, window in found]
    assert ends == [3333, 6666, 9999, 13_332, 16_665, 19_998]
    assert [window.first_sample for _, window in found] == [max(0, e - 16_000) for e in ends]


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


@pytest.mark.parametrize("models", [MODELS, [TAGGER], [SMALL_TAGGER, TAGGER], [ODD_SHIFT]])
def test_power_is_the_mean_square_of_the_new_samples(models: Sequence[WindowRequest]) -> None:
    for _, window in windows(models, blocks(AUDIO)):
        new = AUDIO[window.end_sample - window.new_samples : window.end_sample]
        expected = np.square(new.astype(np.float64)).mean() if len(new) else 0.0
        assert window.power == pytest.approx(expected, rel=1e-12)


def test_windows_are_copies_that_later_audio_does_not_change() -> None:
    listening = Listening(*MODELS)
    found = listening.push(AUDIO)
    before = [window.data.copy() for _, window in found]
    listening.push(noise(5, seed=9))
    for (_, window), data in zip(found, before, strict=True):
        np.testing.assert_array_equal(window.data, data)


def test_a_stretch_counts_from_its_own_first_sample() -> None:
    first_sample = 10**12 + 7
    listening = Listening(*MODELS, first_sample=first_sample)
    found = [*listening.push(AUDIO), *listening.end()]
    assert listening.stretch.end_sample == first_sample + len(AUDIO)
    moved = [
        (i, f - first_sample, e - first_sample, *more) for i, f, e, *more in every_field(found)
    ]
    assert sorted(moved) == sorted(WHOLE)


@pytest.mark.parametrize("model", MODELS)
def test_the_windows_of_a_recording_are_those_of_the_stream(model: WindowRequest) -> None:
    found = [(0, window) for window in windows_of(model, blocks(AUDIO))]
    assert every_field(found) == every_field(windows([model], blocks(AUDIO)))


class TestLateModels:
    """A model that is not ready for its windows loses none, as far as is promised."""

    @pytest.mark.parametrize("model", MODELS)
    def test_windows_wait_in_the_features(self, model: WindowRequest) -> None:
        late = Listening(model)
        hop = model.window.hop_samples
        audio = noise(9, seed=4)
        ends = 0
        for begin in range(0, len(audio), MOST_AT_ONCE):
            while late.cursors[0].behind > MOST_BEHIND:
                window = late.cursors[0].next()
                assert window is not None
                ends += hop
                assert window.end_sample == ends
                expected = windows([model], blocks(audio[:ends]))
                assert window.data.tobytes() == expected[ends // hop - 1][1].data.tobytes()
            late.stretch.push(audio[begin : begin + MOST_AT_ONCE])
        assert ends > 5 * hop or hop > SAMPLE_RATE

    def test_after_a_window_that_was_left_out_the_next_shows_its_sound_as_new(self) -> None:
        listening = Listening(request(RAW, 16_000, 4000))
        listening.stretch.push(AUDIO[:16_000])
        cursor = listening.cursors[0]
        assert cursor.skip()
        assert cursor.skip()
        window = cursor.next()
        assert window is not None
        assert (window.first_sample, window.end_sample, window.new_samples) == (0, 12_000, 12_000)
        power = np.square(AUDIO[:12_000].astype(np.float64)).mean()
        assert window.power == pytest.approx(power, rel=1e-12)

    def test_nothing_is_new_in_a_window_that_it_does_not_show(self) -> None:
        """However much was left out: else a sound would seem to begin before its window."""
        listening = Listening(request(RAW, 8000, 4000))
        cursor = listening.cursors[0]
        listening.stretch.push(AUDIO[:16_000])
        assert cursor.next()
        for _ in range(2):
            assert cursor.skip()
        listening.stretch.push(AUDIO[16_000:20_000])
        assert cursor.skip()
        window = cursor.next()
        assert window is not None
        assert (window.first_sample, window.end_sample, window.new_samples) == (
            12_000,
            20_000,
            8000,
        )

    def test_there_is_nothing_to_leave_out_where_nothing_is_complete(self) -> None:
        listening = Listening(request(RAW, 8000, 4000))
        listening.stretch.push(AUDIO[:3999])
        assert not listening.cursors[0].skip()
        assert listening.cursors[0].left == 3999

    def test_what_is_left_at_an_end_can_be_left_out(self) -> None:
        listening = Listening(request(RAW, 16_000, 4000))
        listening.push(AUDIO[:18_500])
        listening.stretch.ended = True
        count = 0
        while listening.cursors[0].skip():
            count += 1
        assert (count, listening.cursors[0].next(), listening.cursors[0].left) == (4, None, 0)


class TestEnd:
    def test_shows_the_tail_then_lets_the_trailing_edge_pass(self) -> None:
        listening = Listening(request(RAW, 16_000, 4000))
        listening.push(AUDIO[:18_500])
        assert spans(listening.end()) == [
            (2500, 18_500, 2500),
            (6500, 18_500, 0),
            (10_500, 18_500, 0),
            (14_500, 18_500, 0),
        ]

    def test_ends_with_a_window_of_one_hop_whatever_the_length(self) -> None:
        """Else a sound that ended less than two hops before would seem to go on."""
        listening = Listening(request(RAW, 10_000, 4000))
        listening.push(AUDIO[:16_000])
        assert spans(listening.end()) == [(10_000, 16_000, 0), (12_000, 16_000, 0)]

    def test_begins_where_a_frame_does(self) -> None:
        listening = Listening(request(Fbank(), 16_000, 4000))
        listening.push(AUDIO[:18_500])
        assert spans(listening.end()) == [
            (2560, 18_500, 2500),
            (6560, 18_500, 0),
            (10_560, 18_500, 0),
            (14_560, 18_500, 0),
        ]

    def test_shows_only_the_tail_to_a_model_that_scores_frames(self) -> None:
        listening = Listening(request(RAW, 16_000, 4000, trailing=False))
        listening.push(AUDIO[:18_500])
        assert spans(listening.end()) == [(2500, 18_500, 2500)]

    def test_shows_nothing_twice(self) -> None:
        listening = Listening(request(RAW, 16_000, 4000, trailing=False))
        listening.push(AUDIO[:20_000])
        assert listening.end() == []

    def test_answers_for_sound_shorter_than_a_hop(self) -> None:
        for model in MODELS:
            [(_, window)] = windows([model], blocks(AUDIO[:1000]))
            assert (window.first_sample, window.end_sample) == (0, 1000)
            assert window.new_samples == 1000

    def test_has_nothing_to_show_of_nothing(self) -> None:
        assert Listening(*MODELS).end() == []

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
    model = request(Fbank(), 163_840, 8000, pad=2)
    found = [w for w in windows_of(model, blocks(audio[:end])) if w.new_samples]
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

"""Words from the frames of a CTC model, whatever the windows are like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.events.scores.steps import FrameSteps
from detector.events.segments.ctc import CtcDecoder, context_samples
from detector.records import SAMPLE_RATE, Event, FloatArray, Scores
from detector.settings.models import LabelSettings, ModelSettings
from detector.spec import (
    BundleSpec,
    Ctc,
    FramesOutput,
    Input,
    Label,
    Onnx,
    Origin,
    Outputs,
    Waveform,
    WindowSpec,
)
from tests.events.scores import Tracked

FRAME = 320
TOKENS = ("", "|", "a", "b", "é", "▁n", "o")
BLANK, DELIMITER, A, B, E_ACUTE, N, OH = range(len(TOKENS))
OUTPUT = FramesOutput(name="frames", activation="softmax", hop_samples=FRAME, offset_samples=0)


def bundle(*, delimiter: bool = True, tokens: tuple[str, ...] = TOKENS) -> BundleSpec:
    return BundleSpec(
        name="speller",
        version="1",
        created="",
        licence="",
        attribution="",
        source=Origin(checkpoint="", architecture=""),
        onnx=Onnx(sha256="0" * 64, opset=18, precision="fp32"),
        frontend=Waveform(normalise="none"),
        window=WindowSpec(samples=16_000, hop_samples=FRAME),
        input=Input(name="input", shape=("batch", 16_000)),
        outputs=Outputs(frames=OUTPUT),
        decoding="ctc",
        ctc=Ctc(blank="t0", word_delimiter="t1" if delimiter else None),
        labels=tuple(
            Label(slug=f"t{i}", name=token or "blank", enabled=i > 1 or (i == 1 and not delimiter))
            for i, token in enumerate(tokens)
        ),
    )


def posteriors(tokens: list[int], confidence: float = 0.9) -> FloatArray:
    """(frames, tokens): each frame sure of one token."""
    rest = (1 - confidence) / (len(TOKENS) - 1)
    frames = np.full((len(tokens), len(TOKENS)), rest, np.float32)
    frames[np.arange(len(tokens)), tokens] = confidence
    return frames


def decode(
    frames: FloatArray,
    window: int | None = None,
    hop: int | None = None,
    settings: ModelSettings | None = None,
    spec: BundleSpec | None = None,
) -> list[Event]:
    """Show the frames in windows of `window` frames, and end."""
    spec = spec or bundle()
    assert spec.ctc is not None
    window, hop = window or len(frames), hop or len(frames)
    steps = FrameSteps(OUTPUT, hop * FRAME)
    decoder = Tracked(CtcDecoder(spec, spec.ctc, settings or ModelSettings(bundle="x")), steps)
    events: list[Event] = []
    seen = 0
    for end in [*range(hop, len(frames), hop), len(frames)]:
        first = max(0, end - window)
        events += decoder.push(
            Scores(
                first_sample=first * FRAME,
                end_sample=end * FRAME,
                new_samples=(end - seen) * FRAME,
                power=0.01,
                clip=None,
                frames=frames[first:end],
            )
        )
        seen = end
    return events + decoder.cut(len(frames) * FRAME)


def words(events: list[Event]) -> list[str]:
    return [event.name for event in events if event.type == "end"]


def test_repetitions_are_one_token_unless_a_blank_parts_them() -> None:
    frames = posteriors([A, A, BLANK, A, B, B, DELIMITER, BLANK, B, DELIMITER])
    assert words(decode(frames)) == ["aab", "b"]


def test_a_word_begins_with_its_first_token_and_ends_with_its_last() -> None:
    events = decode(posteriors([BLANK] * 5 + [A, A, BLANK, B, BLANK, DELIMITER] + [BLANK] * 4))
    start, end = events
    assert (start.type, end.type) == ("start", "end")
    assert start.onset_sample == end.onset_sample == 5 * FRAME
    assert (start.offset_sample, end.offset_sample) == (None, 9 * FRAME)
    assert end.mean == pytest.approx(0.9)
    assert end.level_dbfs == pytest.approx(-20)
    assert end.truncated is False


def test_a_second_of_silence_ends_a_word_without_a_delimiter() -> None:
    silence = [BLANK] * 51
    assert words(decode(posteriors([A, *silence, B, *silence]))) == ["a", "b"]
    assert words(decode(posteriors([A, *silence[:20], B, *silence]))) == ["ab"]


def test_a_word_that_is_being_spoken_at_a_cut_is_truncated() -> None:
    *_, end = decode(posteriors([BLANK, A, B, B]))
    assert (end.name, end.truncated) == ("ab", True)


def test_a_word_is_decoded_from_frames_with_a_second_around_them() -> None:
    said = posteriors([BLANK] * 75 + [A, A, A, B, B, B, DELIMITER] + [BLANK] * 100)
    nothing = posteriors([BLANK] * len(said))
    spec, window, hop = bundle(), 4 * 50, 25
    assert spec.ctc is not None
    steps = FrameSteps(OUTPUT, hop * FRAME, context_samples(window * FRAME))
    decoder = Tracked(CtcDecoder(spec, spec.ctc, ModelSettings(bundle="x")), steps)
    told_at = {}
    for end in range(hop, len(said) + 1, hop):
        # What has less than 0.6 s after it is not recognised yet.
        sure = max(0, end - 30)
        frames = np.concatenate((said[:sure], nothing[sure:end]))
        scores = Scores(0, end * FRAME, hop * FRAME, 0.01, None, frames)
        told_at.update(dict.fromkeys(words(decoder.push(scores)), end))
    assert told_at == {"ab": 150}


def test_the_context_of_a_frame_is_a_quarter_of_a_short_window() -> None:
    assert context_samples(64_000) == context_samples(160_000) == SAMPLE_RATE
    assert context_samples(16_000) == 4000


@pytest.mark.parametrize("babble", [[A], [A, B]], ids=["one token held", "ever new tokens"])
def test_what_never_ends_is_cut_again_and_again(babble: list[int]) -> None:
    frames = posteriors(babble * (3000 // len(babble)))  # a minute
    ends = [e for e in decode(frames, window=50, hop=25) if e.type == "end"]
    assert [e.truncated for e in ends] == [True] * 3
    assert [e.onset_sample for e in ends] == [0, 1000 * FRAME, 2000 * FRAME]
    assert [e.offset_sample for e in ends] == [1000 * FRAME, 2000 * FRAME, 3000 * FRAME]
    assert max(len(e.name) for e in ends) <= 1000


def test_tokens_that_begin_a_word_need_no_delimiter() -> None:
    frames = posteriors([N, OH, BLANK, N, OH, OH, BLANK])
    assert words(decode(frames, spec=bundle(delimiter=False))) == ["no", "no"]


def test_without_words_each_token_is_an_event() -> None:
    tokens = ("", "x", "a", "b", "c", "d", "e")
    frames = posteriors([2, 2, BLANK, 3, BLANK, 3])
    assert words(decode(frames, spec=bundle(delimiter=False, tokens=tokens))) == ["a", "b", "b"]


def test_a_label_is_the_word_as_a_slug() -> None:
    events = decode(posteriors([E_ACUTE, A, DELIMITER]))
    assert [(e.label, e.name) for e in events] == [("ea", "éa")] * 2


def test_only_the_words_that_are_asked_for_become_events() -> None:
    frames = posteriors([A, DELIMITER, B, DELIMITER, A, B, DELIMITER])
    only = ModelSettings(bundle="x", only=("b", "ab"))
    assert words(decode(frames, settings=only)) == ["b", "ab"]
    off = ModelSettings(bundle="x", labels={"b": LabelSettings(enabled=False)})
    assert words(decode(frames, settings=off)) == ["a", "ab"]


def test_an_unsure_word_is_no_event_unless_its_threshold_allows_it() -> None:
    frames = posteriors([A, DELIMITER], confidence=0.4)
    assert words(decode(frames)) == []
    lower = ModelSettings(bundle="x", labels={"a": LabelSettings(onset_threshold=0.3)})
    assert words(decode(frames, settings=lower)) == ["a"]


@given(
    tokens=st.lists(st.sampled_from(range(len(TOKENS))), min_size=1, max_size=150),
    window=st.integers(10, 60),
    hop=st.integers(1, 10),
)
def test_windows_neither_split_nor_double_a_word(tokens: list[int], window: int, hop: int) -> None:
    frames = posteriors(tokens)
    assert told(decode(frames, window, hop)) == told(decode(frames))


def told(events: list[Event]) -> list[tuple[str, str, int, int | None, float, bool]]:
    return [
        (e.type, e.name, e.onset_sample, e.offset_sample, round(e.mean, 4), e.truncated)
        for e in events
    ]

"""The frame classifier times, the tagger confirms: within a window, and between two models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detector.errors import ConfigError
from detector.events.scores.fusion import RULES, Confirmation, Rule, decide, decider_of, gate
from detector.events.scores.steps import FrameSteps
from detector.records import Cut, FloatArray, Scores
from detector.settings.models import LabelSettings, ModelSettings
from detector.spec import BundleSpec, FramesOutput
from tests.events.scores import segmenter, times

FRAME = 100
OWN_LABELS = ("dog", "bell", "rain")
TAGGER_LABELS = ("rain", "siren", "dog")
"""In another order, with one more and without the bell."""

scores_of = st.floats(0, 1, width=32)
each_rule = pytest.mark.parametrize("rule", RULES)


def spec(labels: tuple[str, ...], *outputs: str, ctc: bool = False) -> BundleSpec:
    described = {
        "clip": {"name": "clip", "activation": "none"},
        "frames": {
            "name": "frames",
            "activation": "none",
            "hop_samples": FRAME,
            "offset_samples": 0,
        },
    }
    return BundleSpec.model_validate(
        {
            "name": "model",
            "version": "1",
            "created": "",
            "licence": "",
            "attribution": "",
            "source": {"checkpoint": "", "architecture": ""},
            "onnx": {"sha256": "0" * 64, "opset": 17, "precision": "fp32"},
            "frontend": {"kind": "waveform", "normalise": "none"},
            "window": {"samples": 1000, "hop_samples": 200},
            "input": {"name": "input", "shape": ["batch", 1000]},
            "outputs": {output: described[output] for output in outputs},
            "decoding": "ctc" if ctc else "multilabel",
            "ctc": {"blank": labels[0]} if ctc else None,
            "labels": [{"slug": slug, "name": slug} for slug in labels],
        }
    )


def said(
    first: int, end: int, *, clip: FloatArray | None = None, frames: FloatArray | None = None
) -> Scores:
    return Scores(first, end, end - first, 1.0, clip, frames)


def f32(*values: float) -> FloatArray:
    return np.array(values, np.float32)


class TestRules:
    @each_rule
    def test_what_both_are_sure_of_stays_high(self, rule: Rule) -> None:
        fused = RULES[rule](f32(0.9)[:, None], f32(0.8))
        assert fused.dtype == np.float32
        assert 0.8 <= fused[0, 0] <= 0.9 + 1e-6

    @each_rule
    def test_what_the_clip_does_not_hear_is_suppressed(self, rule: Rule) -> None:
        assert RULES[rule](f32(0.95)[:, None], f32(0.02))[0, 0] < 0.2

    @each_rule
    def test_what_no_frame_hears_is_not_raised_far_by_the_clip(self, rule: Rule) -> None:
        assert RULES[rule](f32(0.02)[:, None], f32(0.95))[0, 0] < 0.2

    @each_rule
    @given(values=st.data())
    @settings(max_examples=60)
    def test_scores_stay_scores_and_a_higher_one_never_lowers_the_result(
        self, rule: Rule, values: st.DataObject
    ) -> None:
        matrix = arrays.arrays(np.float32, (4, 3), elements=scores_of)
        vector = arrays.arrays(np.float32, 3, elements=scores_of)
        frames, clip = values.draw(matrix), values.draw(vector)
        fused = RULES[rule](frames, clip)
        assert fused.shape == (4, 3)
        assert (fused >= 0).all()
        assert (fused <= np.maximum(frames, clip) + 1e-6).all()
        more = np.maximum(clip, values.draw(vector))
        assert (RULES[rule](frames, more) >= fused - 1e-6).all()
        assert (RULES[rule](np.maximum(frames, values.draw(matrix)), clip) >= fused - 1e-6).all()

    def test_a_gate_is_open_from_the_score_that_is_enough(self) -> None:
        frames = f32(0.6, 0.6, 0.6)[None]
        np.testing.assert_allclose(
            gate(frames, f32(0.1, 0.2, 0.9), f32(0.2, 0.2, 0.2))[0], [0.3, 0.6, 0.6]
        )


class TestDecide:
    BOTH = said(0, 300, clip=f32(0.1, 0.8), frames=np.full((3, 2), 0.9, np.float32))

    def test_clip_or_frames_leave_the_other_out(self) -> None:
        clip, frames = decide(self.BOTH, "clip"), decide(self.BOTH, "frames")
        assert clip.frames is None
        assert clip.clip is self.BOTH.clip
        assert frames.clip is None
        assert frames.frames is self.BOTH.frames

    @each_rule
    def test_both_are_frames_that_the_clip_confirms(self, rule: Rule) -> None:
        fused = decide(self.BOTH, "both", rule)
        assert self.BOTH.frames is not None
        assert self.BOTH.clip is not None
        assert fused.clip is None
        np.testing.assert_array_equal(fused.frames, RULES[rule](self.BOTH.frames, self.BOTH.clip))
        assert (fused.first_sample, fused.end_sample) == (0, 300)

    @pytest.mark.parametrize(
        ("clip", "expected"), [(0.9, [(400, 700)]), (0.05, [])], ids=["confirmed", "not"]
    )
    def test_edges_come_from_frames_and_the_clip_says_whether(
        self, clip: float, expected: list[tuple[int, int]]
    ) -> None:
        heard = f32(0, 0, 0, 0, 0.9, 0.9, 0.9, 0, 0, 0)[:, None]
        steps = FrameSteps(
            FramesOutput(name="f", activation="none", hop_samples=FRAME, offset_samples=0), 1000
        )
        machine = segmenter(steps)
        fused = decide(said(0, 1000, clip=f32(clip), frames=heard), "both")
        assert times(machine.push(fused) + machine.cut(1000)) == expected


class TestDecider:
    @pytest.mark.parametrize(
        ("outputs", "asked", "expected"),
        [
            (("clip",), None, "clip"),
            (("frames",), None, "frames"),
            (("clip", "frames"), None, "both"),
            (("clip",), "clip", "clip"),
            (("clip", "frames"), "clip", "clip"),
            (("clip", "frames"), "frames", "frames"),
            (("clip", "frames"), "both", "both"),
        ],
    )
    def test_is_what_was_asked_for_or_all_there_is(
        self, outputs: tuple[str, ...], asked: str | None, expected: str
    ) -> None:
        settings = ModelSettings.model_validate({"bundle": "b", "decided_by": asked})
        assert decider_of(spec(("dog",), *outputs), settings) == expected

    @pytest.mark.parametrize(
        ("has", "asked"), [("clip", "frames"), ("clip", "both"), ("frames", "clip")]
    )
    def test_that_the_bundle_does_not_have_is_refused(self, has: str, asked: str) -> None:
        settings = ModelSettings.model_validate({"bundle": "b", "decided_by": asked})
        with pytest.raises(ConfigError, match=f"decided_by = '{asked}': model@1 .* '{has}'"):
            decider_of(spec(("dog",), has), settings)

    def test_of_words_is_frames(self) -> None:
        words = spec(("blank", "a"), "clip", "frames", ctc=True)
        assert decider_of(words, ModelSettings(bundle="b")) == "frames"
        with pytest.raises(ConfigError, match="decided_by = 'clip': model@1 spells words"):
            decider_of(words, ModelSettings(bundle="b", decided_by="clip"))


OWN = spec(OWN_LABELS, "frames")
TAGGER = spec(TAGGER_LABELS, "clip")


def confirmation(tagger_settings: ModelSettings | None = None) -> Confirmation:
    settings = tagger_settings or ModelSettings(bundle="tagger")
    return Confirmation(OWN, OWN.window, TAGGER, settings, TAGGER.window)


def own(first: int, end: int, score: float = 0.8) -> Scores:
    return said(first, end, frames=np.full(((end - first) // FRAME, 3), score, np.float32))


def tagged(first: int, end: int, dog: float = 0.0, rain: float = 0.0) -> Scores:
    return said(first, end, clip=f32(rain, 0.9, dog))


def frames_of(answer: Scores | Cut) -> list[list[float]]:
    assert isinstance(answer, Scores)
    assert answer.frames is not None
    return [[round(float(x), 6) for x in row] for row in answer.frames]


class TestConfirmation:
    def test_each_label_is_confirmed_by_its_namesake_and_what_has_none_passes(self) -> None:
        machine = confirmation()
        machine.confirm(tagged(0, 200, dog=0.7, rain=0.25))
        [answer] = machine.push(own(0, 200))
        assert frames_of(answer) == [[0.8, 0.8, 0.4]] * 2  # dog, bell, rain

    def test_thresholds_of_the_tagger_say_what_is_enough(self) -> None:
        labels = {
            "dog": LabelSettings(onset_threshold=0.8),
            "rain": LabelSettings(onset_threshold=0.0),
        }
        machine = confirmation(ModelSettings(bundle="tagger", labels=labels))
        machine.confirm(tagged(0, 200, dog=0.4, rain=0.001))
        [answer] = machine.push(own(0, 100))
        assert frames_of(answer) == [[0.4, 0.8, 0.8]]

    def test_an_answer_waits_until_the_tagger_has_heard_as_far(self) -> None:
        machine = confirmation()
        assert machine.push(own(0, 300)) == []
        assert machine.confirm(tagged(0, 200, dog=1)) == []
        [answer] = machine.confirm(tagged(0, 400))
        assert frames_of(answer)[0][0] == pytest.approx(0.8)

    def test_frames_are_confirmed_by_the_windows_that_show_them(self) -> None:
        machine = confirmation()
        machine.push(own(0, 400))
        for window in (tagged(0, 200, dog=0.25), tagged(0, 300, dog=0), tagged(200, 400, dog=0.5)):
            answers = machine.confirm(window)
        assert [dog for dog, *_ in frames_of(answers[0])] == [0.4, 0.4, 0.8, 0.8]

    def test_windows_after_the_first_that_reaches_as_far_do_not_count(self) -> None:
        """Else what is said would depend on how far ahead the tagger happens to be."""
        machine = confirmation()
        for window in (tagged(0, 200), tagged(0, 400, dog=1)):
            machine.confirm(window)
        [answer] = machine.push(own(0, 200))
        assert frames_of(answer) == [[0, 0.8, 0]] * 2

    def test_a_last_frame_that_is_padding_in_part_is_confirmed_as_well(self) -> None:
        machine = confirmation()
        machine.confirm(tagged(0, 150, dog=0.25))
        scores = said(0, 150, frames=np.full((2, 3), 0.8, np.float32))
        [answer] = machine.push(scores)
        assert [dog for dog, *_ in frames_of(answer)] == [0.4, 0.4]

    def test_a_cut_of_the_tagger_releases_what_waits_up_to_it(self) -> None:
        machine = confirmation()
        machine.push(own(0, 200))
        machine.push(own(100, 300))
        machine.push(Cut(300))
        machine.push(own(500, 600))  # behind a gap
        machine.confirm(tagged(0, 200))
        released = machine.confirm(Cut(300))
        assert [answer.end_sample for answer in released] == [300, 300]
        assert isinstance(released[1], Cut)
        assert [answer.end_sample for answer in machine.confirm(tagged(500, 700, dog=1))] == [600]

    def test_what_no_window_of_the_tagger_shows_passes_unchanged(self) -> None:
        machine = confirmation()
        machine.push(own(0, 200))
        [answer] = machine.confirm(tagged(100, 700))  # those before it were skipped
        assert frames_of(answer) == [[0.8, 0.8, 0.8], [0, 0.8, 0]]

    def test_a_cut_at_the_front_does_not_wait(self) -> None:
        assert confirmation().push(Cut(300)) == [Cut(300)]

    def test_a_tagger_that_hangs_is_not_waited_for(self) -> None:
        machine = confirmation()
        released = []
        ends = range(200, 200 + 200 * 10_000, 200)
        for end in ends:
            released += machine.push(own(end - 200, end))
        assert 0 < len(ends) - len(released) <= 60 * 16_000 // 200 + 2
        assert frames_of(released[0]) == [[0.8] * 3] * 2
        assert [answer.end_sample for answer in released] == list(ends)[: len(released)]

    def test_a_frame_classifier_that_hangs_leaves_nothing_to_pile_up(self) -> None:
        machine = confirmation()
        for end in range(200, 200 * 20_000, 200):
            machine.confirm(tagged(max(0, end - 1000), end))
        assert len(machine._tagger_windows) < 11_000

    @pytest.mark.parametrize(
        ("own_spec", "tagger_spec", "told"),
        [
            (spec(("dog",), "clip"), TAGGER, "no labels with frames"),
            (spec(("dog", "b"), "frames", ctc=True), TAGGER, "no labels with frames"),
            (OWN, spec(("dog",), "frames"), "no clip output"),
            (OWN, spec(("cat",), "clip"), "no label of model@1"),
        ],
    )
    def test_models_that_do_not_fit_are_refused(
        self, own_spec: BundleSpec, tagger_spec: BundleSpec, told: str
    ) -> None:
        with pytest.raises(ConfigError, match=told):
            Confirmation(
                own_spec,
                own_spec.window,
                tagger_spec,
                ModelSettings(bundle="b"),
                tagger_spec.window,
            )

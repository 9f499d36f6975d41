"""Which labels become events: the bundle's word, then the user's."""

from pathlib import Path

import pytest

from detector.errors import ConfigError
from detector.events.segments.label_rules import label_rules
from detector.inference.bundle import load_bundle
from detector.settings.models import LabelSettings, ModelSettings
from detector.spec import BundleSpec, Ctc, Label
from tests.bundles import tone_bundle


@pytest.fixture
def spec(tmp_path: Path) -> BundleSpec:
    """The labels low, high, and hidden, which is not enabled."""
    spec = load_bundle(str(tone_bundle(tmp_path / "tones"))).spec
    low, high = spec.labels
    labels = (
        low.model_copy(update={"min_duration_s": 0.25, "merge_gap_s": 1.5}),
        high.model_copy(update={"onset_threshold": 0.8, "offset_threshold": 0.6}),
        Label(slug="hidden", name="Hidden", enabled=False),
    )
    return spec.model_copy(update={"labels": labels})


def settings(only: tuple[str, ...] | None = None, **labels: LabelSettings) -> ModelSettings:
    return ModelSettings(bundle="tones", only=only, labels=labels)


def slugs(spec: BundleSpec, model: ModelSettings) -> list[str]:
    return [rule.slug for rule in label_rules(spec, model)]


def test_a_bundle_is_taken_at_its_word(spec: BundleSpec) -> None:
    low, high = label_rules(spec, settings())
    assert (low.index, low.slug, low.name) == (0, "low", "Low tone")
    assert (low.onset_threshold, low.offset_threshold) == (0.5, 0.3)
    assert (low.min_samples, low.merge_samples) == (4000, 24_000)
    assert (high.index, high.onset_threshold, high.offset_threshold) == (1, 0.8, 0.6)


def test_the_configuration_changes_what_it_names_and_nothing_else(spec: BundleSpec) -> None:
    changed = settings(high=LabelSettings(onset_threshold=0.9, merge_gap_s=2.0))
    low, high = label_rules(spec, changed)
    assert low == label_rules(spec, settings())[0]
    assert (high.onset_threshold, high.offset_threshold) == (0.9, 0.6)
    assert (high.min_samples, high.merge_samples) == (0, 32_000)


def test_labels_are_enabled_and_disabled(spec: BundleSpec) -> None:
    assert slugs(spec, settings()) == ["low", "high"]
    assert slugs(spec, settings(hidden=LabelSettings(enabled=True))) == ["low", "high", "hidden"]
    assert slugs(spec, settings(low=LabelSettings(enabled=False))) == ["high"]
    assert slugs(spec, settings(low=LabelSettings(onset_threshold=0.9))) == ["low", "high"]


def test_only_names_all_that_become_events(spec: BundleSpec) -> None:
    assert slugs(spec, settings(("high",))) == ["high"]
    assert slugs(spec, settings(("hidden",))) == ["hidden"]
    assert slugs(spec, settings(())) == []
    assert [rule.index for rule in label_rules(spec, settings(("hidden", "high")))] == [1, 2]


def test_what_is_said_of_one_label_outranks_only(spec: BundleSpec) -> None:
    explicit = LabelSettings(enabled=True)
    assert slugs(spec, settings(("high",), low=explicit)) == ["low", "high"]
    assert slugs(spec, settings(("high",), high=LabelSettings(enabled=False))) == []


def test_a_misspelt_label_is_answered_with_a_suggestion(spec: BundleSpec) -> None:
    with pytest.raises(ConfigError, match=r"labels: tones@1 .*'hihg'; did you mean 'high'\?"):
        label_rules(spec, settings(hihg=LabelSettings()))
    with pytest.raises(ConfigError, match=r"only: tones@1 .*'lwo'; did you mean 'low'\?"):
        label_rules(spec, settings(("lwo",)))


def test_an_unknown_label_is_answered_with_those_there_are(spec: BundleSpec) -> None:
    with pytest.raises(ConfigError, match=r"'zebra', only low, high, hidden"):
        label_rules(spec, settings(("zebra",)))


def test_of_many_labels_an_error_lists_some(spec: BundleSpec) -> None:
    many = tuple(Label(slug=f"label_{i}", name="x") for i in range(521))
    with pytest.raises(ConfigError, match=r"'zebra', only label_0, .*label_99 and 421 more$"):
        label_rules(spec.model_copy(update={"labels": many}), settings(("zebra",)))


def test_a_label_may_be_called_by_an_alias(spec: BundleSpec) -> None:
    low, *others = spec.labels
    aliased = low.model_copy(update={"aliases": ("bass", "rumble")})
    spec = spec.model_copy(update={"labels": (aliased, *others)})
    assert slugs(spec, settings(("rumble", "low", "bass"))) == ["low"]
    [rule] = label_rules(spec, settings(("bass",), rumble=LabelSettings(onset_threshold=0.7)))
    assert (rule.slug, rule.onset_threshold) == ("low", 0.7)
    with pytest.raises(ConfigError, match=r"'rumbel'; did you mean 'rumble'\?"):
        label_rules(spec, settings(("rumbel",)))


def test_settings_of_one_label_under_two_names_are_refused(spec: BundleSpec) -> None:
    low, *others = spec.labels
    aliased = low.model_copy(update={"aliases": ("bass",)})
    spec = spec.model_copy(update={"labels": (aliased, *others)})
    with pytest.raises(ConfigError, match=r"labels\.low: low has a table already"):
        label_rules(spec, settings(bass=LabelSettings(), low=LabelSettings()))


def test_thresholds_that_contradict_the_bundles_are_refused(spec: BundleSpec) -> None:
    with pytest.raises(
        ConfigError, match=r"labels\.high: offset_threshold 0\.6 is above onset_threshold 0\.4"
    ) as raised:
        label_rules(spec, settings(high=LabelSettings(onset_threshold=0.4)))
    assert raised.value.exit_code == 2
    both = LabelSettings(onset_threshold=0.4, offset_threshold=0.2)
    assert label_rules(spec, settings(high=both))[1].onset_threshold == 0.4


def test_thresholds_of_labels_that_are_not_heard_are_not_asked(spec: BundleSpec) -> None:
    silenced = LabelSettings(enabled=False, onset_threshold=0.1)
    assert slugs(spec, settings(high=silenced)) == ["low"]


def test_the_blank_of_ctc_is_no_event(spec: BundleSpec) -> None:
    ctc = spec.model_copy(update={"ctc": Ctc(blank="high"), "decoding": "ctc"})
    assert slugs(ctc, settings()) == ["low"]

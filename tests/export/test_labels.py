"""Whatever a checkpoint calls its labels, a bundle's slugs are unique and say the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="export needs torch")

from detector.errors import BundleError
from detector.spec import Label
from export.audioset.ontology import ontology
from export.checkpoints.labels import are_of_audioset, class_labels, token_labels

pytestmark = pytest.mark.export


def slugs(*names: str) -> list[str]:
    return [label.slug for label in class_labels(names)]


def test_names_become_slugs_and_stay_readable() -> None:
    labels = class_labels(["Wail, moan", "Café/bar + grill", "LABEL_0", "dog"])
    assert [label.slug for label in labels] == ["wail_moan", "cafe_bar_grill", "label_0", "dog"]
    assert [label.name for label in labels] == ["Wail, moan", "Café/bar + grill", "LABEL_0", "dog"]


def test_a_name_without_letters_is_called_by_its_place() -> None:
    assert slugs("", "Dog", "+/#", "犬", "\x00") == [
        "label_0",
        "dog",
        "label_2",
        "label_3",
        "label_4",
    ]


def test_of_equal_slugs_the_first_keeps_it_and_the_others_are_numbered() -> None:
    assert slugs("Dog", "dog!", "DOG") == ["dog", "dog_2", "dog_3"]


def test_a_number_that_another_label_bears_is_passed_over() -> None:
    assert slugs("dog", "Dog", "dog 2") == ["dog", "dog_3", "dog_2"]
    assert slugs("", "label 0") == ["label_0", "label_0_2"]


def test_what_no_topic_can_hold_is_neither_in_slug_nor_in_name() -> None:
    (label,) = class_labels(["siren\x00 +#/\n\tfar \u202e away"])
    assert label.slug == "siren_far_away"
    assert label.name == "siren +#/ far away"


def test_a_name_of_70_kilobytes_is_cut_and_still_its_own() -> None:
    one, other = class_labels(["x" * 70_000 + "a", "x" * 70_000 + "b"])
    assert one.slug != other.slug
    assert one.slug.startswith("x" * 55 + "_")
    assert len(one.slug) == 64
    assert len(one.name) == 200


@given(st.lists(st.text(max_size=80), min_size=1, max_size=30))
def test_any_names_make_valid_labels_the_same_every_time(names: list[str]) -> None:
    labels = class_labels(names)
    assert len({label.slug for label in labels}) == len(names)
    assert all(re.fullmatch("[a-z0-9_]{1,64}", label.slug) for label in labels)
    assert labels == class_labels(names)


def test_no_labels_at_all_are_refused() -> None:
    with pytest.raises(BundleError, match="id2label"):
        class_labels([])


def test_audioset_names_bear_their_machine_ids() -> None:
    labels = class_labels(["Dog", "Male speech, man speaking", "Vacuum cleaner", "My parrot"])
    assert [label.mid for label in labels] == ["/m/0bt9lr", "/m/05zppz", "/m/0d31p", None]
    assert not are_of_audioset(labels)


def test_audioset_is_known_by_its_names() -> None:
    names = [kind.name for kind in ontology().values()]
    assert len(names) == 632
    assert are_of_audioset(class_labels(names))
    assert are_of_audioset(class_labels([*names[:600], *("other",) * 32]))
    assert not are_of_audioset(class_labels([*names[:300], *("other",) * 332]))
    assert not are_of_audioset(class_labels(names[:50]))


def test_tokens_are_named_by_what_they_are() -> None:
    tokens = ("<pad>", "<s>", "</s>", "[UNK]", "|", "'", "A", "s", "S", "ü", "▁the", "<", " ")
    labels, ctc = token_labels(tokens, "<pad>", "|")
    assert [label.slug for label in labels] == [
        "special_pad",
        "special_s",
        "special_end_s",
        "special_unk",
        "token_vertical_line",
        "token_apostrophe",
        "token_a",
        "token_s",
        "token_s_2",
        "token_latin_small_letter_u_with_diaeresis",
        "token_lower_one_eighth_block_the",
        "token_less_than_sign",
        "token_space",
    ]
    assert (ctc.blank, ctc.word_delimiter) == ("special_pad", "token_vertical_line")


def test_tokens_keep_their_text_and_only_text_is_enabled() -> None:
    labels, _ = token_labels(("<pad>", "</s>", "|", "'", "A"), "<pad>", "|")
    assert [label.name for label in labels] == ["<pad>", "</s>", "|", "'", "A"]
    assert [label.enabled for label in labels] == [False, False, False, True, True]


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=30, unique=True))
def test_any_vocabulary_makes_valid_labels(tokens: list[str]) -> None:
    labels, ctc = token_labels(tokens, tokens[0], None)
    assert len({label.slug for label in labels}) == len(tokens)
    assert isinstance(labels[0], Label)
    assert ctc.blank == labels[0].slug


@pytest.mark.parametrize(("blank", "delimiter"), [("<pad>", None), ("A", "|")])
def test_a_blank_or_delimiter_that_is_no_token_is_refused(
    blank: str, delimiter: str | None
) -> None:
    with pytest.raises(BundleError, match="vocabulary has no token"):
        token_labels(("A", "B"), blank, delimiter)

"""A checkpoint's label names as the labels of a bundle: unique slugs, readable names, AudioSet ids.

How a name becomes a slug, the same way every time:

1. accents are dropped, letters made small, all else becomes `_`: "Wail, moan" is `wail_moan`;
2. a name of which nothing is left is called by its place: `label_3`;
3. more than 64 characters are cut to 55 and `_` and eight digits of the name's SHA-256;
4. of labels that share a slug, the first in the checkpoint's order keeps it; the others get `_2`,
   `_3`, …, passing over what another label is called already.
"""

import re
import unicodedata
from collections.abc import Sequence

from detector.errors import BundleError
from detector.slugs import LONGEST, slugify
from detector.spec import Ctc, Label
from export.audioset.ontology import mids

_LONGEST_NAME = 200
_AUDIOSET_SHARE = 0.9
"""Share of names that must be AudioSet's for a label set to count as AudioSet's."""
_FEWEST_AUDIOSET = 100
_SPECIAL = re.compile(r"^[<\[](?P<end>/?)(?P<name>\w+)[>\]]$")
"""How tokenizers write tokens that stand for no text: <pad>, </s>, [UNK]."""


def class_labels(names: Sequence[str]) -> tuple[Label, ...]:
    """The labels of a classifier, in the order of its outputs.

    Raises:
        BundleError: there is none.
    """
    if not names:
        raise BundleError("config.json: id2label is empty; a classifier needs labels")
    slugs = _unique([slugify(name) or f"label_{i}" for i, name in enumerate(names)])
    return tuple(
        Label(slug=slug, name=_readable(name) or slug, mid=mids().get(slugify(name)))
        for slug, name in zip(slugs, names, strict=True)
    )


def token_labels(
    tokens: Sequence[str], blank: str, word_delimiter: str | None
) -> tuple[tuple[Label, ...], Ctc]:
    """The tokens of a CTC vocabulary, in the order of the model's outputs.

    `A` is called `token_a`, `'` `token_apostrophe` (characters that no slug can hold go by their
    Unicode name), `<pad>` `special_pad` and `</s>` `special_end_s`. A label's name is its token's
    text. The blank and other special tokens are not enabled.

    Raises:
        BundleError: `blank` or `word_delimiter` is not a token.
    """
    for role, token in (("blank", blank), ("word delimiter", word_delimiter)):
        if token is not None and token not in tokens:
            raise BundleError(f"the vocabulary has no token {token!r}, which is to be its {role}")
    slugs = _unique([_token_slug(token) for token in tokens])
    labels = tuple(
        Label(
            slug=slug,
            name=_readable(token) or slug,
            enabled=token not in (blank, word_delimiter) and not _SPECIAL.match(token),
        )
        for slug, token in zip(slugs, tokens, strict=True)
    )
    slug_of = dict(zip(tokens, slugs, strict=True))
    delimiter = None if word_delimiter is None else slug_of[word_delimiter]
    return labels, Ctc(blank=slug_of[blank], word_delimiter=delimiter)


def are_of_audioset(labels: Sequence[Label]) -> bool:
    """Whether these are AudioSet's labels, of which several are heard at a time."""
    known = sum(label.mid is not None for label in labels)
    return known >= max(_FEWEST_AUDIOSET, _AUDIOSET_SHARE * len(labels))


def _unique(slugs: Sequence[str]) -> list[str]:
    taken = set(slugs)
    seen: set[str] = set()
    unique = []
    for slug in slugs:
        chosen, number = slug, 2
        while chosen in seen or (chosen != slug and chosen in taken):
            suffix = f"_{number}"
            chosen, number = slug[: LONGEST - len(suffix)] + suffix, number + 1
        seen.add(chosen)
        unique.append(chosen)
    return unique


def _readable(text: str) -> str:
    """`text` without what cannot be seen, on one line and of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def _token_slug(token: str) -> str:
    if special := _SPECIAL.match(token):
        return slugify(f"special {'end ' if special['end'] else ''}{special['name']}")
    parts = re.findall(r"[A-Za-z0-9]+|.", token, re.DOTALL)
    words = [part if part.isascii() and part.isalnum() else _spelt(part) for part in parts]
    return slugify(" ".join(["token", *words]))


def _spelt(character: str) -> str:
    return unicodedata.name(character, f"u {ord(character):x}")

"""What the person who fits a head decides."""

from dataclasses import dataclass, field
from typing import Literal

from export.heads.graph.base import BaseOptions


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What the person decides."""

    name: str | None = None
    """The folder's name, if None."""
    version: str = "1"
    base: BaseOptions = field(default_factory=BaseOptions)
    freeze: int | None = None
    """How many of the encoder's layers stay as they are; None for the whole encoder."""
    pool: Literal["mean", "attention"] | None = None
    """The window's answer is of the mean of its hidden states, or weighted by each label; None
    for what the base's own head does."""
    decoding: Literal["multilabel", "multiclass"] | None = None
    """What the recordings say, if None."""
    epochs: int | None = None
    """At most; EPOCHS if None."""
    windows: int = 12
    """Composed of each recording, or each window's length of a long one."""
    held_out: float = 0.2
    """Share of the recordings."""
    seed: int = 0
    licence: str | None = None
    attribution: str | None = None

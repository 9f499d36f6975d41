"""The models that listen, and what is changed of their labels."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from detector.errors import ConfigError
from detector.settings.base import Settings, beside
from detector.settings.live import LIVE
from detector.spec import Label, Score, Slug


class LabelSettings(Settings):
    """What the configuration changes of a label of a bundle."""

    enabled: bool | None = None
    onset_threshold: Score | None = None
    offset_threshold: Score | None = None
    min_duration_s: float | None = Field(None, ge=0)
    merge_gap_s: float | None = Field(None, ge=0)


class ModelSettings(Settings):
    bundle: str = Field(min_length=1)
    """The name of a built-in bundle, or the path of a folder (with a slash in it)."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """cuda: fail if there is no GPU; auto: use one if there is one, and say which."""
    threads: int = Field(1, ge=1, le=64)
    max_batch: int | None = Field(None, ge=1, le=64)
    """How many windows, of different sources, are scored at once; what pays on the CPU or the GPU
    if absent."""
    max_delay_s: float = Field(0.0, ge=0, le=1)
    """How long a window may wait for those of other sources, to be scored with them. At 0 those
    are scored together that have come while the model was busy."""
    hop_s: float | None = Field(None, gt=0)
    """Seconds between windows; the bundle's own if absent."""
    update_interval_s: Annotated[float, LIVE] = Field(10.0, gt=0)
    """How often a segment that goes on is reported."""
    smoothing_windows: int = Field(1, ge=1, le=99)
    """Length of the median filter over the scores of windows (of frames, if the model scores
    frames); 1 is none, else odd."""
    decided_by: Literal["clip", "frames", "both"] | None = None
    """Which scores of the model become events: of its whole window (clip), of its frames, or both:
    frames say when, and the clip of the window that they are in confirms what. All that the bundle
    has if absent."""
    confirmed_by: Slug | None = None
    """The name of another model, a tagger: this one says when, by its frames, and a label of the
    same slug counts in full only where the other's score of it reaches the other's own onset
    threshold, and less in proportion below. Labels that the other does not have are not confirmed
    and count as they are. Events come up to one hop of the other later. It must listen to every
    source that this one listens to, and makes events of its own unless `only = []`."""
    cascade_from: Slug | None = None
    """The name of another, cheaper model: this one scores a window only where the other heard
    something in it, or the level gives cause. Elsewhere it is taken to have heard nothing. It must
    listen to every source that this one listens to."""
    cascade_threshold: Score = 0.1
    """What any label of that model must score to give cause."""
    cascade_level_dbfs: float | None = Field(None, ge=-120, le=0)
    """A level of a hop that gives cause, too; or alone, without `cascade_from`."""
    only: Annotated[tuple[Slug, ...] | None, LIVE] = None
    """The labels that become events; the bundle's enabled ones if absent."""
    labels: Annotated[dict[Slug, LabelSettings], LIVE] = Field(default_factory=dict)

    def by_slug(self, labels: Iterable[Label]) -> Self:
        """The same, with each of the bundle's labels called by its slug and by no alias.

        Raises:
            ConfigError: one label is called by two names.
        """
        slugs = {alias: label.slug for label in labels for alias in label.aliases}
        changed: dict[str, LabelSettings] = {}
        for name, own in self.labels.items():
            slug = slugs.get(name, name)
            if slug in changed:
                raise ConfigError(f"labels.{name}: {slug} has a table already; merge the two")
            changed[slug] = own
        only = self.only
        if only is not None:
            only = tuple(dict.fromkeys(slugs.get(name, name) for name in only))
        return self.model_copy(update={"only": only, "labels": changed})

    @field_validator("smoothing_windows")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("bundle", mode="before")
    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and "/" in value:
            return str(beside(value, info).absolute())  # ./name must not become a plain name
        return value

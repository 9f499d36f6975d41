"""A model with the settings that it runs under."""

from dataclasses import dataclass
from functools import cached_property

from detector.events.scores.fusion import Decider, decider_of
from detector.events.segments.label_rules import LabelRule, label_rules
from detector.features.windows import WindowRequest
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec, WindowSpec, hop_in_samples


@dataclass(frozen=True)  # without slots, which would leave no room for what is cached
class ConfiguredModel:
    """A model with the settings that it runs under."""

    name: str
    """What the configuration calls it."""
    spec: BundleSpec
    settings: ModelSettings

    @property
    def window(self) -> WindowSpec:
        """The bundle's window with the configured hop.

        Raises:
            ConfigError: if the model cannot work with that hop.
        """
        window = self.spec.window
        if self.settings.hop_s is None:
            return window
        hop_s, step = self.settings.hop_s, self.spec.frontend.hop_multiple
        hop = hop_in_samples(hop_s, step, window.samples, f"hop_s = {hop_s}: {self.spec.id}")
        return window.model_copy(update={"hop_samples": hop})

    @property
    def decider(self) -> Decider:
        """Which of the bundle's outputs become events.

        Raises:
            ConfigError: if the bundle does not have what the configuration asks for.
        """
        return decider_of(self.spec, self.settings)

    @property
    def window_request(self) -> WindowRequest:
        """What it wants to see."""
        return WindowRequest(
            frontend=self.spec.frontend,
            window=self.window,
            rows=int(self.spec.input.shape[1]),
            trailing=self.decider == "clip",
        )

    @cached_property
    def label_rules(self) -> tuple[LabelRule, ...]:
        """Which labels become events, and how: made once, however many sources it listens to.

        Raises:
            ConfigError: for a label that the bundle does not have, or thresholds that contradict.
        """
        return tuple(label_rules(self.spec, self.settings))

    @property
    def labels(self) -> list[str]:
        """The slugs that become events; of a CTC model, the words that were asked for.

        Raises:
            ConfigError: naming the label.
        """
        if self.spec.ctc:
            return list(self.settings.only or ())
        return [rule.slug for rule in self.label_rules]

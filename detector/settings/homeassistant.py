"""Home Assistant's MQTT discovery."""

from typing import Annotated

from detector.settings.base import Settings, TopicPath
from detector.settings.live import LIVE
from detector.spec import Slug


class HomeAssistantSettings(Settings):
    enabled: bool = False
    """Tell Home Assistant, by MQTT discovery, what there is to see."""
    discovery_prefix: TopicPath = "homeassistant"
    """As Home Assistant's MQTT integration has it."""
    labels: Annotated[tuple[Slug, ...] | None, LIVE] = None
    """The labels that get a binary sensor for each source; all that can be heard if absent, up to
    a bound."""

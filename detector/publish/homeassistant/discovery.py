"""Home Assistant finds a node by MQTT device discovery: one device, with its entities.

Home Assistant's own words stand in home-assistant.io/integrations/mqtt and, as the schema that a
payload must pass, in its source: homeassistant/components/mqtt (schemas.py, and a file for each
kind of entity). A component that is no longer there is removed by naming it with nothing but its
`platform`, so what an earlier run has published is read back from the broker, which retains it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import structlog

from detector.publish import topics
from detector.publish.mqtt.client import MqttClient
from detector.publish.mqtt.connection import Received
from detector.records import SourceStatus
from detector.settings.homeassistant import HomeAssistantSettings
from detector.settings.mqtt import MqttSettings
from detector.slugs import slugify

log = structlog.get_logger()

Component = dict[str, Any]

MOST_LABELS: Final = 60
"""Binary sensors a source. A payload of more would be large, and a list of more is no help."""
OTHER: Final = "other"
"""The event type of labels that have no type of their own."""

_HEARING: Final = ("listening", "silent", "clipping")
"""LabelStates in which a source's entities are available."""


Labels = Mapping[str, Mapping[str, str]]
"""By source: the names of the labels that it can report, by slug."""


def device_id(prefix: str, node: str) -> str:
    """What Home Assistant knows the node by, for good."""
    return f"{slugify(prefix)}_{node}"


def discovery_topic(settings: HomeAssistantSettings, prefix: str, node: str) -> str:
    return f"{settings.discovery_prefix}/device/{device_id(prefix, node)}/config"


def components(
    settings: HomeAssistantSettings,
    mqtt: MqttSettings,
    node: str,
    sources: Labels,
) -> dict[str, Component]:
    """The entities of a node, by ids that stay the same as long as their source and label do."""
    found: dict[str, Component] = {}
    for source, labels in sources.items():
        found |= _of_source(mqtt, node, source, _chosen(settings, source, labels))
    # Source and label are slugs and hold no "-": no two ids can be equal.
    device = device_id(mqtt.prefix, node)
    for name, component in found.items():
        component["unique_id"] = f"{device}-{name}"
        entity = name.replace("-label-", "_").replace("-", "_")
        component["default_entity_id"] = f"{component['platform']}.{node}_{entity}"
    return found


def payload(
    mqtt: MqttSettings,
    node: str,
    version: str,
    parts: Mapping[str, Component],
    gone: Mapping[str, Component],
) -> str:
    """The discovery message.

    Args:
        mqtt: for the topics.
        node: the device.
        version: of the detector.
        parts: what there is.
        gone: what is to be removed.
    """
    message = {
        "device": {
            "identifiers": [device_id(mqtt.prefix, node)],
            "name": node,
            "manufacturer": "detector",
            "model": "Audio event detector",
            "sw_version": version,
        },
        "origin": {"name": "detector", "sw_version": version},
        "availability": [_available(topics.node_status(mqtt.prefix, node))],
        "qos": 1,
        "components": {**gone, **parts},
    }
    return json.dumps(message, ensure_ascii=False)


def removed(before: bytes, parts: Mapping[str, Component]) -> dict[str, Component]:
    """The components of an earlier message that there are no more, as they are to be removed."""
    try:
        earlier = json.loads(before)["components"]
        return {
            name: {"platform": component["platform"]}
            for name, component in earlier.items()
            if len(component) > 1 and name not in parts
        }
    except (ValueError, KeyError, TypeError, AttributeError):  # not of ours
        return {}


class HomeAssistant:
    """Keeps the discovery message of this node up to date with the broker."""

    def __init__(
        self,
        settings: HomeAssistantSettings,
        mqtt: MqttSettings,
        node: str,
        version: str,
        client: MqttClient,
    ) -> None:
        self._version = version
        self._settings, self._mqtt, self._node, self._client = settings, mqtt, node, client
        self._parts: dict[str, Component] = {}
        self._gone: dict[str, Component] = {}

    @property
    def topic(self) -> str:
        return discovery_topic(self._settings, self._mqtt.prefix, self._node)

    def start(self, sources: Labels) -> None:
        """Tell what there is, whenever Home Assistant or the broker may have forgotten it."""
        self._client.subscribe(f"{self._settings.discovery_prefix}/status", self._on_birth)
        self._client.subscribe(self.topic, self._on_earlier_payload)
        self.update(self._settings, sources)

    def update(self, settings: HomeAssistantSettings, sources: Labels) -> None:
        """There are other sources or labels now."""
        self._settings = settings
        before, self._parts = self._parts, components(settings, self._mqtt, self._node, sources)
        for name, component in before.items():
            if name not in self._parts:
                self._gone[name] = {"platform": component["platform"]}
        self._gone = {name: c for name, c in self._gone.items() if name not in self._parts}
        self._publish()

    def _publish(self, *, again: bool = False) -> None:
        message = payload(self._mqtt, self._node, self._version, self._parts, self._gone)
        self._client.retain(self.topic, message, again=again)

    def _on_birth(self, message: Received) -> None:
        if message.payload == b"online" and not message.retained:
            log.debug("home assistant has started")
            self._publish(again=True)

    def _on_earlier_payload(self, message: Received) -> None:
        """What the broker held when we came: an earlier run may have published more."""
        if not message.retained:
            return
        gone = removed(message.payload, self._parts)
        if not gone.keys() <= self._gone.keys():
            log.info("removed from home assistant", components=sorted(gone))
            self._gone |= gone
            self._publish()


def _of_source(
    mqtt: MqttSettings,
    node: str,
    name: str,
    labels: Mapping[str, str],
) -> dict[str, Component]:
    place = mqtt.prefix, node, name
    here = {
        "availability": [_available(topics.node_status(mqtt.prefix, node)), _hears(*place)],
        "availability_mode": "all",
    }
    found: dict[str, Component] = {
        f"{name}-sound": {
            "platform": "event",
            "name": f"{name} sound",
            "icon": "mdi:ear-hearing",
            "state_topic": topics.event(*place, "+"),
            "event_types": [*labels, OTHER],
            "value_template": _event_template(list(labels)),
            "qos": 1,
        },
        f"{name}-status": {
            "platform": "sensor",
            "name": f"{name} status",
            "icon": "mdi:microphone",
            "state_topic": topics.source_status(*place),
            "device_class": "enum",
            "options": list(get_args(SourceStatus)),
            "entity_category": "diagnostic",
            "qos": 1,
        },
    }
    if mqtt.level_interval_s:
        found[f"{name}-level"] = here | {
            "platform": "sensor",
            "name": f"{name} level",
            "icon": "mdi:volume-high",
            "state_topic": topics.level(*place),
            "unit_of_measurement": "dBFS",
            "state_class": "measurement",
            "suggested_display_precision": 0,
        }
    if mqtt.commands:
        found[f"{name}-mute"] = {
            "platform": "switch",
            "name": f"{name} mute",
            "icon": "mdi:microphone-off",
            "state_topic": topics.muted(*place),
            "command_topic": topics.command(mqtt.prefix, node, "mute"),
            "payload_on": json.dumps({"source": name}),
            "payload_off": json.dumps({"source": name, "muted": False}),
            "state_on": "ON",
            "state_off": "OFF",
            "qos": 1,
        }
    for label, called in labels.items():
        found[f"{name}-label-{label}"] = here | {
            "platform": "binary_sensor",
            "name": f"{name} {called}",
            "device_class": "sound",
            "state_topic": topics.state(*place, label),
            "qos": 1,
        }
    return found


def _chosen(
    settings: HomeAssistantSettings, source: str, labels: Mapping[str, str]
) -> dict[str, str]:
    """The labels that get entities of their own."""
    chosen = {
        label: name
        for label, name in labels.items()
        if settings.labels is None or label in settings.labels
    }
    if len(chosen) > MOST_LABELS:
        log.warning(
            "home assistant gets only some of the labels: choose them with homeassistant.labels",
            source=source, labels=len(chosen), most=MOST_LABELS,
        )  # fmt: skip
    return dict(list(chosen.items())[:MOST_LABELS])


def _available(topic: str) -> Component:
    return {"topic": topic}  # online and offline are Home Assistant's own words


def _hears(prefix: str, node: str, source: str) -> Component:
    """A source that is stalled or offline says nothing of what there is to hear."""
    return {
        "topic": topics.source_status(prefix, node, source),
        "value_template": f"{{{{ 'online' if value in {json.dumps(_HEARING)} else 'offline' }}}}",
    }


def _event_template(labels: Sequence[str]) -> str:
    """Home Assistant's `event` wants `event_type` in the payload: the label of what begins.

    Updates and ends give nothing, which it passes over: those who want them have the binary
    sensors. The other fields of the event become the entity's attributes.
    """
    kind = f"value_json.label if value_json.label in {json.dumps(labels)} else '{OTHER}'"
    return (
        "{% if value_json.type == 'start' %}"
        f"{{{{ dict(value_json, event_type={kind}) | to_json }}}}"
        "{% endif %}"
    )

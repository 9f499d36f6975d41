"""A real Home Assistant, run by the Python that it is installed for, and what it makes of us.

Only its MQTT integration is set up, without its web interface. It connects to the broker on
127.0.0.1 whose port is the first argument, and to each line on stdin it answers with a JSON line:

    states            {entity id: [state, attributes]}
    turn_on ENTITY    switches it; {}
    quit              ends
"""

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

from homeassistant import bootstrap, config_entries, loader
from homeassistant.const import __version__
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import entity_registry
from homeassistant.setup import async_setup_component


async def start(port: int, folder: str) -> HomeAssistant:
    await asyncio.to_thread(Path(folder, "configuration.yaml").touch)
    hass = HomeAssistant(folder)
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    hass.config.skip_pip = True
    await bootstrap.async_load_base_functionality(hass)
    await async_setup_component(hass, "homeassistant", {})
    # The MQTT integration needs them for what is not asked of it here.
    hass.config.components |= {"http", "file_upload"}
    hass.set_state(CoreState.running)
    entry = config_entries.ConfigEntry(
        data={"broker": "127.0.0.1", "port": port, "protocol": "5"},
        discovery_keys=MappingProxyType({}),
        domain="mqtt",
        minor_version=2,
        options={"discovery": True},
        source="user",
        subentries_data=None,
        title="MQTT",
        unique_id=None,
        version=1,
    )
    await hass.config_entries.async_add(entry)
    return hass


def states(hass: HomeAssistant) -> dict[str, object]:
    registered = entity_registry.async_get(hass).entities.values()
    return {
        state.entity_id: [state.state, dict(state.attributes)]
        for state in hass.states.async_all()
        if any(entry.entity_id == state.entity_id for entry in registered)
    }


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()


async def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        hass = await start(int(sys.argv[1]), folder)
        say({"version": __version__})
        while True:
            line = (await asyncio.to_thread(sys.stdin.readline)).split()
            answer: dict[str, object] = {}
            if not line or line[0] == "quit":
                break
            if line[0] == "states":
                answer = states(hass)
            else:
                await hass.services.async_call(
                    "switch", line[0], {"entity_id": line[1]}, blocking=True
                )
            say(answer)
        await hass.async_stop(force=True)


asyncio.run(main())

"""Sound devices, by names that stay the same over reboots and replugging.

PortAudio calls an ALSA device `USB Audio: - (hw:1,0)`, and the number of the card depends on the
order of plugging. Here the card's own id stands in its place: `USB Audio: - (hw:Device,0)`. Two
equal cards get their ids in the order of plugging as well, so they are told apart by the port
that they are plugged into: `USB Audio: - (hw:usb-0000:00:14.0-1.2,0)`. The sources of a sound
server have names of their own, and so has ALSA for each way to a card (`alsa_names.py`).

PortAudio looks for devices once, when it is initialised, so a process that lives long asks a
short-lived one: `python -m detector.capture.devices.query`.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from detector.capture.devices.alsa_names import card_id, card_port, define, names_of_cards
from detector.capture.devices.sound_server import list_sources
from detector.errors import SourceError, UnknownDeviceError

_CARD = re.compile(r"\(hw:(\d+),(\d+)\)")

_SERVERS = ("pulse", "pipewire")
"""What ALSA calls the sound server."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can record."""

    name: str
    """What to write in a configuration."""
    index: int
    """PortAudio's number, good until it is initialised again."""
    channels: int
    """How many it has at most."""
    default_rate: int
    """Hertz."""
    is_default: bool = False
    port: str | None = None
    """The name with the port in it, for a card; it is understood as well as the name."""
    server_source: bool = False
    """A source of the sound server; the index is that of ALSA's way to the server."""
    description: str | None = None
    """What the sound server says of it, for people."""


def stable_names(names: Sequence[str], root: Path = Path("/")) -> list[tuple[str, str | None]]:
    """Put what does not change in place of the cards' numbers.

    Args:
        names: as PortAudio gives them.
        root: where `proc` and `sys` are.

    Returns:
        For each name (the stable name, the name with the port or None).
    """
    cards = {int(found[1]) for name in names if (found := _CARD.search(name))}
    ids = {card: card_id(card, root) for card in cards}
    ports = {card: card_port(card, root) for card in cards}
    # The text before the number is the card's and the device's name: equal cards, equal text.
    equal = Counter(_CARD.sub(r"(\2)", name) for name in names)

    def stable(name: str) -> tuple[str, str | None]:
        found = _CARD.search(name)
        if found is None:
            return name, None
        card, port = int(found[1]), ports[int(found[1])]
        by_port = _CARD.sub(f"(hw:{port},{found[2]})", name) if port else None
        if by_port and equal[_CARD.sub(r"(\2)", name)] > 1:
            return by_port, by_port
        by_id = ids[card]
        return (_CARD.sub(f"(hw:{by_id},{found[2]})", name) if by_id else name), by_port

    return [stable(name) for name in names]


def list_devices(asked: Sequence[str] = ()) -> list[Device]:
    """The devices that can record, as PortAudio found them when this process initialised it.

    Args:
        asked: names of ALSA's to look for as well, if PortAudio was not initialised before.

    Raises:
        SourceError: PortAudio does not work here.
    """
    defined = define(asked)
    try:
        import sounddevice  # noqa: PLC0415 (initialises PortAudio)

        found = sounddevice.query_devices()
        default = sounddevice.default.device[0]
    except Exception as error:  # noqa: BLE001 (it fails while its own class of error is imported)
        raise SourceError(f"PortAudio does not work: {error}") from None
    names = stable_names([device["name"] for device in found])
    return [
        Device(
            name=defined.get(device["name"], name),
            index=device["index"],
            channels=device["max_input_channels"],
            default_rate=round(device["default_samplerate"]),
            is_default=device["index"] == default,
            port=port,
        )
        for device, (name, port) in zip(found, names, strict=True)
        if device["max_input_channels"] > 0
    ]


def find_device(name: str) -> Device:
    """The device that is called `name`. This process has not initialised PortAudio before.

    Raises:
        SourceError: PortAudio does not work here.
        UnknownDeviceError: no device, or more than one, is called so.
    """
    devices = list_devices([name])
    try:
        return match(name, devices)
    except UnknownDeviceError:  # only then is the server asked, which takes a moment
        return match(name, [*devices, *_sources_of_server(devices)])


def _sources_of_server(devices: Sequence[Device]) -> Iterator[Device]:
    """Each source of the sound server, if ALSA leads to it."""
    ways = (device for name in _SERVERS for device in devices if device.name == name)
    if (way := next(ways, None)) is not None:
        for source in list_sources():
            yield Device(
                name=source.name,
                index=way.index,
                channels=source.channels,
                default_rate=source.rate,
                server_source=True,
                description=source.description,
            )


def query_devices(asked: Sequence[str] = (), timeout_s: float = 10.0) -> list[Device]:
    """The devices that can record now, found by a process of its own.

    Args:
        asked: names of ALSA's to look for as well.
        timeout_s: how long that may take.

    Raises:
        SourceError: PortAudio does not work, or does not answer in time.
    """
    command = [sys.executable, "-m", "detector.capture.devices.query", "--json", *asked]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise SourceError(f"the sound system did not answer within {timeout_s:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise SourceError(lines[-1] if lines else "the sound devices could not be listed")
    return [Device(**device) for device in json.loads(done.stdout)]


def match(name: str, devices: Iterable[Device]) -> Device:
    """The device that is called `name`.

    Args:
        name: a device's name, a part of it that only one has (in any case), or `default`.
        devices: those that there are.

    Raises:
        UnknownDeviceError: no device, or more than one, is called so.
    """
    devices = list(devices)
    if name == "default":
        chosen = [device for device in devices if device.is_default]
    else:
        parts = [
            d for d in devices if any(name.lower() in n.lower() for n in (d.name, d.port) if n)
        ]
        chosen = (
            [d for d in devices if name in (d.name, d.port)]
            or [d for d in parts if not d.server_source]
            or parts
        )
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(repr(device.name) for device in chosen)
        raise UnknownDeviceError(
            f"device {name!r} may be any of {names}; write more of the name that is meant"
        )
    if not devices:
        raise UnknownDeviceError(
            f"device {name!r}: no sound device can record here; is one plugged in, and may this "
            "user open it (group audio)?"
        )
    names = ", ".join(repr(device.name) for device in devices)
    what = "there is no default device" if name == "default" else f"there is no device {name!r}"
    raise UnknownDeviceError(f"{what}; there are {names}")


def main(arguments: Sequence[str]) -> int:
    try:
        devices = list_devices([*names_of_cards(), *(a for a in arguments if a != "--json")])
        devices += _sources_of_server(devices)
    except SourceError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return SourceError.exit_code
    if "--json" in arguments:
        print(json.dumps([asdict(device) for device in devices]))  # noqa: T201
    else:
        for device in devices:
            print(device.name)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

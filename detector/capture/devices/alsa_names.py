"""ALSA's names that PortAudio does not list: plughw:Device,0, dsnoop:1,0, those of asound.conf.

PortAudio opens what ALSA's configuration defines. So a name that is asked for is defined there, in
the environment of this process alone, before PortAudio looks.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_][\w.-]*:[^\s\"'{}\\;]+")
_CARD: Final = re.compile(r"(?<=[:,=])usb-[\w:.]+-[\d.]+(?=,|$)")
_CAPTURE: Final = re.compile(r"^(\d+)-(\d+):.*\bcapture\b", re.MULTILINE)
_DEFINED: Final = "detector_{}"
_CONFIG: Final = "/usr/share/alsa/alsa.conf"
_USB_PORT: Final = re.compile(r"\d+-(\d+(?:\.\d+)*)")


def is_alsa_name(name: str) -> bool:
    """Whether that may be a name with an argument, as ALSA has them."""
    return _NAME.fullmatch(name) is not None


def define(names: Iterable[str], root: Path = Path("/")) -> dict[str, str]:
    """Make PortAudio, which this process has not initialised yet, find ALSA's names.

    Args:
        names: those that are wanted; what is none of ALSA's is passed over.
        root: where `proc` and `sys` are.

    Returns:
        By what PortAudio calls it, each name.
    """
    wanted = [name for name in dict.fromkeys(names) if is_alsa_name(name)]
    defined = {_DEFINED.format(number): name for number, name in enumerate(wanted)}
    if defined:
        numbers = {port: card for card in _cards(root) if (port := usb_port(card, root))}
        file = os.memfd_create("asound")  # open as long as this process is
        for pcm, name in defined.items():
            known = _CARD.sub(lambda found: str(numbers.get(found[0], found[0])), name)
            os.write(file, f'pcm.{pcm} {{ type empty slave.pcm "{known}" }}\n'.encode())
        before = os.environ.get("ALSA_CONFIG_PATH", _CONFIG)
        os.environ["ALSA_CONFIG_PATH"] = f"{before}:/proc/self/fd/{file}"
    return defined


def names_of_cards(root: Path = Path("/")) -> list[str]:
    """What ALSA calls each device that records, when it converts (plughw) and shares it (dsnoop).

    Named by the card's own id, or by its port if an equal card is there too.
    """
    try:
        devices = _CAPTURE.findall((root / "proc/asound/pcm").read_text())
    except OSError:
        return []
    ids = {int(card): card_id(int(card), root) or str(int(card)) for card, _ in devices}
    equal = Counter(re.sub(r"_\d+$", "", name) for name in ids.values())
    names = []
    for card, device in ((int(card), int(device)) for card, device in devices):
        twin = equal[re.sub(r"_\d+$", "", ids[card])] > 1
        name = (usb_port(card, root) if twin else None) or ids[card]
        names += [f"{way}:{name},{device}" for way in ("plughw", "dsnoop")]
    return names


def card_id(card: int, root: Path) -> str | None:
    """What the card calls itself."""
    try:
        return (root / f"proc/asound/card{card}/id").read_text().strip() or None
    except OSError:
        return None


def card_port(card: int, root: Path) -> str | None:
    """Where the card is plugged in, as the kernel's usb_make_path() writes it, or its bus id."""
    link = root / f"sys/class/sound/card{card}/device"
    return usb_port(card, root) or (link.resolve().name if link.exists() else None)


def usb_port(card: int, root: Path) -> str | None:
    """Where a USB card is plugged in; None of another one."""
    path = (root / f"sys/class/sound/card{card}/device").resolve()
    # .../0000:00:14.0/usb1/1-1/1-1.2/1-1.2:1.0: the number of the bus (usb1, 1-) may change.
    for above, below in zip(path.parts, path.parts[1:], strict=False):
        if re.fullmatch(r"usb\d+", below) and (port := _USB_PORT.match(path.name)):
            return f"usb-{above}-{port[1]}"
    return None


def _cards(root: Path) -> list[int]:
    return sorted(int(path.name[4:]) for path in (root / "sys/class/sound").glob("card[0-9]*"))

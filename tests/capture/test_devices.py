import os
from dataclasses import replace
from pathlib import Path

import pytest

from detector.capture.devices.alsa_names import define, is_alsa_name, names_of_cards
from detector.capture.devices.query import Device, match, query_devices, stable_names
from detector.capture.devices.sound_server import list_sources
from detector.errors import ConfigError, UnknownDeviceError
from tests.sound import SoundServer

USB = "sys/devices/pci0000:00/0000:00:14.0/usb{bus}/{bus}-1/{bus}-1.{port}/{bus}-1.{port}:1.0"


def plug(root: Path, number: int, card_id: str, device: str) -> None:
    """Make what the kernel shows of a sound card."""
    (root / f"proc/asound/card{number}").mkdir(parents=True)
    (root / f"proc/asound/card{number}/id").write_text(card_id + "\n")
    (root / device).mkdir(parents=True)
    card = root / f"sys/class/sound/card{number}"
    card.mkdir(parents=True)
    (card / "device").symlink_to(root / device)


def test_the_number_of_a_card_gives_way_to_its_id(tmp_path: Path) -> None:
    plug(tmp_path, 1, "Device", USB.format(bus=1, port=2))
    names = stable_names(["USB Audio: - (hw:1,0)", "default"], tmp_path)
    assert names == [
        ("USB Audio: - (hw:Device,0)", "USB Audio: - (hw:usb-0000:00:14.0-1.2,0)"),
        ("default", None),
    ]


def test_a_name_stays_when_the_card_gets_another_number(tmp_path: Path) -> None:
    plug(tmp_path / "a", 1, "Device", USB.format(bus=1, port=2))
    plug(tmp_path / "b", 3, "Device", USB.format(bus=2, port=2))
    assert stable_names(["Mic (hw:1,0)"], tmp_path / "a") == stable_names(
        ["Mic (hw:3,0)"], tmp_path / "b"
    )


def test_two_equal_cards_are_told_apart_by_their_ports(tmp_path: Path) -> None:
    names = ["Mic: - (hw:1,0)", "Mic: - (hw:2,0)"]
    plug(tmp_path / "a", 1, "Device", USB.format(bus=1, port=2))
    plug(tmp_path / "a", 2, "Device_1", USB.format(bus=1, port=3))
    plug(tmp_path / "b", 1, "Device", USB.format(bus=1, port=3))
    plug(tmp_path / "b", 2, "Device_1", USB.format(bus=1, port=2))
    one_order = [name for name, _ in stable_names(names, tmp_path / "a")]
    other_order = [name for name, _ in stable_names(names, tmp_path / "b")]
    assert one_order == [
        "Mic: - (hw:usb-0000:00:14.0-1.2,0)",
        "Mic: - (hw:usb-0000:00:14.0-1.3,0)",
    ]
    assert other_order == one_order[::-1]


def test_a_card_that_is_not_on_usb_is_named_by_its_bus(tmp_path: Path) -> None:
    for number, card_id in ((0, "PCH"), (1, "PCH_1")):
        plug(tmp_path, number, card_id, f"sys/devices/pci0000:00/0000:00:1f.{number}")
    names = stable_names(["Analog (hw:0,0)", "Analog (hw:1,0)"], tmp_path)
    assert [name for name, _ in names] == [
        "Analog (hw:0000:00:1f.0,0)",
        "Analog (hw:0000:00:1f.1,0)",
    ]


def test_two_devices_of_one_card_are_not_two_cards(tmp_path: Path) -> None:
    plug(tmp_path, 1, "Device", USB.format(bus=1, port=2))
    names = stable_names(["USB Audio (hw:1,0)", "USB Audio (hw:1,1)"], tmp_path)
    assert [name for name, _ in names] == ["USB Audio (hw:Device,0)", "USB Audio (hw:Device,1)"]


def test_a_card_of_which_nothing_is_known_keeps_its_number(tmp_path: Path) -> None:
    assert stable_names(["USB Audio (hw:4,0)"], tmp_path) == [("USB Audio (hw:4,0)", None)]


def device(name: str, *, is_default: bool = False, port: str | None = None) -> Device:
    return Device(name, 0, 1, 48_000, is_default, port)


DEVICES = [
    device("USB Audio: - (hw:Device,0)", port="USB Audio: - (hw:usb-0000:00:14.0-1.2,0)"),
    device("Webcam: Microphone (hw:Cam,0)"),
    device("pulse", is_default=True),
    device("pulse echo"),
]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("USB Audio: - (hw:Device,0)", 0),
        ("USB Audio: - (hw:usb-0000:00:14.0-1.2,0)", 0),
        ("usb-0000:00:14.0-1.2", 0),
        ("webCAM", 1),
        ("pulse", 2),
        ("default", 2),
        ("echo", 3),
    ],
)
def test_a_device_is_found_by_its_name_or_a_part_of_it(name: str, index: int) -> None:
    assert match(name, DEVICES) is DEVICES[index]


def test_a_part_that_two_have_is_refused_with_their_names() -> None:
    with pytest.raises(UnknownDeviceError, match="'puls' may be any of") as raised:
        match("puls", DEVICES)
    assert "'pulse', 'pulse echo'" in str(raised.value)
    assert "Webcam" not in str(raised.value)


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownDeviceError, match="there is no device 'harp'") as raised:
        match("harp", DEVICES)
    assert all(repr(device.name) in str(raised.value) for device in DEVICES)
    assert isinstance(raised.value, ConfigError)


def test_no_default_and_no_devices_are_said() -> None:
    with pytest.raises(UnknownDeviceError, match="no default device"):
        match("default", DEVICES[:2])
    with pytest.raises(UnknownDeviceError, match="no sound device can record here"):
        match("default", [])


@pytest.mark.sound
def test_devices_are_found_without_touching_this_process(sound_server: SoundServer) -> None:
    devices = query_devices()
    assert {"hall", "default"} <= {device.name for device in devices}
    assert match("default", devices).is_default
    sound_server.kill()
    assert "hall" not in {device.name for device in query_devices()}


@pytest.mark.sound
def test_the_sources_of_a_sound_server_are_listed_by_name(sound_server: SoundServer) -> None:
    sound_server.load_second_source("porch", rate=44_100, channels=1)
    found = {device.name: device for device in query_devices() if device.server_source}
    assert found.keys() == {"hall.monitor", "porch.monitor"}
    porch = found["porch.monitor"]
    assert (porch.channels, porch.default_rate) == (1, 44_100)
    assert porch.description == "Monitor of porch"
    sound_server.kill()
    assert list_sources() == []


@pytest.mark.sound
def test_a_name_of_alsa_that_is_asked_for_is_found(sound_server: SoundServer) -> None:
    assert "room:hall.monitor" in {device.name for device in query_devices(["room:hall.monitor"])}
    assert "nowhere:1" not in {device.name for device in query_devices(["nowhere:1"])}


@pytest.mark.parametrize(
    "name", ["plughw:1,0", "dsnoop:CARD=Device,DEV=0", "hw:usb-0000:00:14.0-1,0"]
)
def test_names_of_alsa_are_told_from_others(name: str) -> None:
    assert is_alsa_name(name)
    assert not is_alsa_name(f"USB Audio: - ({name})")
    assert not is_alsa_name(name + '" }')
    assert not is_alsa_name("default")


def plug_pcm(root: Path, *lines: str) -> None:
    (root / "proc/asound/pcm").write_text("".join(line + "\n" for line in lines))


def test_each_card_that_records_has_its_names_of_alsa(tmp_path: Path) -> None:
    plug(tmp_path, 0, "PCH", "sys/devices/pci0000:00/0000:00:1f.3")
    plug(tmp_path, 1, "Device", USB.format(bus=1, port=2))
    plug_pcm(
        tmp_path,
        "00-03: HDMI 0 : HDMI 0 : playback 1",
        "01-00: USB Audio : USB Audio : playback 1 : capture 1",
    )
    assert names_of_cards(tmp_path) == ["plughw:Device,0", "dsnoop:Device,0"]
    assert names_of_cards(tmp_path / "nowhere") == []


def test_equal_cards_keep_their_names_of_alsa_over_replugging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order, cards in (("a", (1, 2)), ("b", (2, 1))):
        for card, port in zip(cards, (2, 3), strict=True):
            plug(tmp_path / order, card, "Device_1"[: 4 + 2 * card], USB.format(bus=1, port=port))
        plug_pcm(tmp_path / order, *(f"{card:02}-00: x : x : capture 1" for card in cards))
    names = names_of_cards(tmp_path / "a")
    assert names[0] == "plughw:usb-0000:00:14.0-1.2,0"
    assert names_of_cards(tmp_path / "b") == names
    for order, number in (("a", 1), ("b", 2)):
        monkeypatch.delenv("ALSA_CONFIG_PATH", raising=False)
        assert define([names[0], "default"], tmp_path / order) == {"detector_0": names[0]}
        config = Path(os.environ["ALSA_CONFIG_PATH"].rpartition(":")[2]).read_text()
        assert config == f'pcm.detector_0 {{ type empty slave.pcm "plughw:{number},0" }}\n'


def test_a_part_of_a_name_means_a_card_before_a_source_of_the_server() -> None:
    source = replace(device("alsa_input.usb-Webcam.mono"), server_source=True)
    assert match("webcam", [source, *DEVICES]) is DEVICES[1]
    assert match("usb-Webcam", [source, *DEVICES]) is source

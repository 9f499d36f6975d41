"""`detector devices`."""

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from detector.capture.devices.query import query_devices
from detector.capture.microphone import MAX_CHANNELS


def print_devices(*, as_json: bool) -> None:
    devices = query_devices()
    if as_json:
        sys.stdout.write(json.dumps([asdict(device) for device in devices], indent=2) + "\n")
    elif not devices:
        sys.stderr.write(
            "no microphone here: is one plugged in, and is it free for this user "
            "(group 'audio')? `arecord -l` shows what the kernel sees\n"
        )
    else:
        table = Table("device", "channels", "rate", "", box=None, pad_edge=False)
        for device in devices:
            mark = " (default)" if device.is_default else ""
            channels = str(device.channels) if device.channels <= MAX_CHANNELS else "any"
            rate = f"{device.default_rate} Hz"
            table.add_row(device.name + mark, channels, rate, device.description or "")
        Console().print(table)

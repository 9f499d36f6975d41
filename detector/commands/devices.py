"""`detector devices`."""

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from detector.capture.devices import query_devices


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
        table = Table("device", "channels", "rate", box=None, pad_edge=False)
        for device in devices:
            mark = " (default)" if device.is_default else ""
            table.add_row(device.name + mark, str(device.channels), f"{device.default_rate} Hz")
        Console().print(table)

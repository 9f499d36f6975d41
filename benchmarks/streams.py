"""Many cameras at once: that each is heard, what it costs, and how soon its events are told.

    python benchmarks/streams.py [--sources N] [--seconds S] [--codec aac]

GStreamer's RTSP server is the cameras, Mosquitto the broker, `detector run` the service. What the
cameras hear is a tone burst every five seconds, and the model is one that costs next to nothing and
tells of each: so the figures are those of the streams.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import report

from detector.boottime import boottime

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.broker import Broker
from tests.bundles import loudness_bundle
from tests.daemon import running
from tests.rtsp import Camera, running_camera

PERIOD_S = 5
"""Between two bursts."""
SETTLE_S = 5.0
LATEST_S = 5.0
"""After the last burst, that its event is waited for."""


class Told(NamedTuple):
    """The start of an event, to a tenth of a second."""

    onset_s: float
    """On the boottime clock."""
    late_s: float
    """How long after its onset it came."""


def configuration(folder: Path, broker: Broker, camera: Camera, sources: int, codec: str) -> Path:
    loudness_bundle(folder / "loudness", outputs=("frames",), hop_s=0.5)
    path = folder / "streams.toml"
    text = (
        f'node = "attic"\nstate_dir = "{folder / "state"}"\n[mqtt]\nport = {broker.port}\n'
        'host = "127.0.0.1"\n[models.loudness]\nbundle = "./loudness"\n'
    )
    for i in range(sources):
        text += f'[[sources]]\nname = "camera_{i}"\nurl = "{camera.url(codec)}"\n'
    path.write_text(text)
    return path


def cpu_s(pid: int) -> float:
    """User and system time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Its proportional set size: what is shared counts in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def programs(daemon: int) -> list[int]:
    """The stream programs of a daemon."""
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if b"capture.stream" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def measure(arguments: argparse.Namespace) -> list[tuple[str, float, str, str]]:
    sources, seconds = arguments.sources, arguments.seconds
    with (
        tempfile.TemporaryDirectory() as name,
        Broker(Path(name)) as broker,
        running_camera("--period", str(PERIOD_S)) as camera,
    ):
        broker.start()
        config = configuration(Path(name), broker, camera, sources, arguments.codec)
        async with broker.subscriber() as heard, running(config) as daemon:
            began = asyncio.get_running_loop().time()
            await heard.until(
                lambda h: (
                    sum(
                        h.last(f"detector/attic/camera_{i}/status") == "listening"
                        for i in range(sources)
                    )
                    == sources
                )
            )
            all_heard_s = asyncio.get_running_loop().time() - began
            await asyncio.sleep(SETTLE_S)
            streams, service = programs(daemon.process.pid), daemon.process.pid
            before, began_s = [cpu_s(pid) for pid in (service, *streams)], boottime()
            first, told = len(heard.messages), list[Told]()
            while boottime() < began_s + seconds + LATEST_S:
                await asyncio.sleep(0.1)
                told += starts(heard.messages[first:])
                first = len(heard.messages)
            observed_s = boottime() - began_s
            after = [cpu_s(pid) for pid in (service, *streams)]
            of_service, *of_streams = [
                (end - begin) / observed_s for begin, end in zip(before, after, strict=True)
            ]
            sounded = int((began_s + seconds) / PERIOD_S) - int(began_s / PERIOD_S)
            late = [start.late_s for start in told if began_s < start.onset_s < began_s + seconds]
            memory = [pss_mb(pid) for pid in streams]
            return [
                ("sources", sources, "", ""),
                ("until all were heard", all_heard_s, "s", ""),
                ("observed", seconds, "s", ""),
                ("bursts told, of those that sounded", len(late) / sounded / sources, "", "1"),
                ("gaps", len(heard.on("detector/attic/+/gaps")), "", "0"),
                ("from onset to event, median", float(np.median(late)), "s", ""),
                ("from onset to event, 99 %", float(np.quantile(late, 0.99)), "s", ""),
                ("memory of a stream program, most (PSS)", max(memory), "MB", "35"),
                ("memory of all stream programs (PSS)", sum(memory), "MB", ""),
                ("memory of the service (PSS)", pss_mb(service), "MB", ""),
                ("CPU of a stream program, mean", float(np.mean(of_streams)), "of a core", ""),
                ("CPU of all stream programs", sum(of_streams), "of a core", ""),
                ("CPU of the service", of_service, "of a core", ""),
            ]


def starts(messages: list[Any]) -> list[Told]:
    """Those of events among messages that have just come."""
    now_s, boot_s = time.time(), boottime()
    events = [json.loads(m.payload) for m in messages if "/events/" in m.topic.value]
    late = [
        now_s - datetime.fromisoformat(event["onset"]).timestamp()
        for event in events
        if event["type"] == "start"
    ]
    return [Told(boot_s - late_s, late_s) for late_s in late]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--codec", choices=["opus", "aac", "alaw"], default="aac")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments))
    options = f"--sources {arguments.sources} --seconds {arguments.seconds:g}"
    report("streams", f"python benchmarks/streams.py {options} --codec {arguments.codec}", rows)


if __name__ == "__main__":
    main()

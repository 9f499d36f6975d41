"""Kills a publisher at random moments and counts what of its stored events does not arrive.

python benchmarks/kill_daemon.py            # 100 kills
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.broker import Broker
from tests.killing import kill_often


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        rng = random.Random(arguments.seed)  # noqa: S311
        outcome = asyncio.run(
            kill_often(broker.start(), Path(folder, "state"), arguments.kills, rng)
        )
    report(
        "kill_daemon",
        f"python benchmarks/kill_daemon.py --kills {arguments.kills} --seed {arguments.seed}",
        [
            ("killed with SIGKILL", outcome.kills, "times", ""),
            ("events reported as stored", outcome.reported, "", ""),
            ("events received", outcome.received, "", ""),
            ("stored events lost", outcome.lost, "", "0"),
            ("received out of order or with a hole", not outcome.in_order, "", "0"),
            ("numbers that stand for two events", outcome.ambiguous, "", "0"),
            ("files damaged", outcome.damaged, "", "0"),
            ("events wrongly said to be lost", outcome.false_alarms, "", "0"),
            ("messages received twice, with the same id", outcome.repeated, "", ""),
            ("took", time.monotonic() - began, "s", ""),
        ],
    )
    failures = outcome.lost + outcome.ambiguous + outcome.damaged + outcome.false_alarms
    failures += not outcome.in_order
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

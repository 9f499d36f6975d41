"""Kills the service at random moments and counts what of its stored events does not arrive.

python benchmarks/kill_daemon.py            # 100 kills of each: about ten minutes

Two programs are killed: `detector run`, which hears four sources (one kill in four comes before it
is ready), and an outbox and a publisher alone, which are faster. The broker comes and goes.
`tests/killing.py` says what counts as stored.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.broker import Broker
from tests.killing import DaemonVictim, Outcome, PublisherVictim, Victim, kill_often

Row = tuple[str, float, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows: list[Row] = []
    failures = 0
    for name, kind, longest_s in (
        ("detector run", DaemonVictim, 2.0),
        ("publisher alone", PublisherVictim, 0.5),
    ):
        began = time.monotonic()
        moments = random.Random(arguments.seed)  # noqa: S311
        with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
            outcome = kill(kind(Path(folder), moments, longest_s), broker, arguments.kills)
        failures += outcome.failures
        absent = "said to be stored" if kind is DaemonVictim else "before it was ready"
        rows += [
            (f"{name}: {what}", value, unit, target)
            for what, value, unit, target in table(outcome)
            if absent not in what  # the one says nothing, the other is never killed so early
        ]
        rows.append((f"{name}: took", time.monotonic() - began, "s", ""))
    report(
        "kill_daemon",
        f"python benchmarks/kill_daemon.py --kills {arguments.kills} --seed {arguments.seed}",
        rows,
    )
    sys.exit(1 if failures else 0)


def kill(victim: Victim, broker: Broker, times: int) -> Outcome:
    """Kill it; what it logs is of no interest here."""
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stderr(nothing):
        outages = random.Random()  # noqa: S311
        return asyncio.run(kill_often(broker.start(), victim, times, outages))


def table(outcome: Outcome) -> list[Row]:
    return [
        ("killed with SIGKILL", outcome.kills, "times", ""),
        ("of these, before it was ready", outcome.early, "times", ""),
        ("of these, while the broker was away", outcome.away, "times", ""),
        ("events stored", outcome.stored, "", ""),
        ("events received", outcome.received, "", ""),
        ("stored events lost", outcome.lost, "", "0"),
        ("numbers missing (holes)", outcome.missing, "", "0"),
        ("events received out of order", outcome.disordered, "", "0"),
        ("numbers that stand for two events", outcome.ambiguous, "", "0"),
        ("events said to be stored that were not", outcome.unkept, "", "0"),
        ("files damaged", outcome.damaged, "", "0"),
        ("events wrongly said to be lost", outcome.false_alarms, "", "0"),
        ("messages received twice, with the same id", outcome.repeated, "", ""),
    ]


if __name__ == "__main__":
    main()

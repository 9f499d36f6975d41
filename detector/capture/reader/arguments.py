"""The command line of the reader."""

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """What `program` of `detector/capture/reader/program.py` writes."""
    found = argparse.ArgumentParser(prog="python -m detector.capture.reader")
    found.add_argument("--raw", nargs=3, metavar=("RATE", "CHANNELS", "SAMPLE_FORMAT"))
    found.add_argument("--permissions", default="0660", help="of a UNIX socket or FIFO it makes")
    origin = found.add_mutually_exclusive_group(required=True)
    origin.add_argument("--socket", help="unix:/path or tcp:ADDRESS:PORT")
    origin.add_argument("--fifo", type=Path, help="a named pipe; it is made if there is none")
    origin.add_argument("--program", nargs=argparse.REMAINDER, help="and its arguments, at the end")
    return found

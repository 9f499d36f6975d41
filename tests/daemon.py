"""`detector run` as a process of its own, whose log can be waited for."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile as sf

from tests.bundles import HIGH_HZ, LOW_HZ, tone_bundle

ROOT: Final = Path(__file__).parents[1]
RATE: Final = 16_000
SOURCES: Final = ("hall", "yard", "cellar", "loft")
"""Of a talkative configuration."""
_TALKS_S: Final = 120


class Daemon:
    """What it says, line by line, and how it ends."""

    PATIENCE_S = 40.0

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        """Complete once it has ended."""
        self._more = asyncio.Condition()

    @property
    def output(self) -> str:
        return "\n".join(self.log)

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.log)

    async def says(self, words: str) -> None:
        """Wait until it has said so."""
        try:
            async with asyncio.timeout(self.PATIENCE_S), self._more:
                await self._more.wait_for(lambda: self.has_said(words))
        except TimeoutError:
            raise AssertionError(f"it did not say {words!r} in {self.PATIENCE_S} s") from None

    async def ended(self) -> int:
        async with asyncio.timeout(self.PATIENCE_S):
            return await self.process.wait()

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._more:
                self.log.append(line.decode().rstrip("\n"))
                self._more.notify_all()


@contextlib.asynccontextmanager
async def running(
    config: Path, *program: str, before: tuple[str, ...] = ()
) -> AsyncIterator[Daemon]:
    """Run it, and end it with SIGKILL at the end of the block.

    Args:
        config: the file.
        program: what Python is to run instead of `-m detector`.
        before: a command that runs what follows it.
    """
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, *(program or ("-m", "detector")), "run", "--config", str(config),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    daemon = Daemon(process)
    listening = asyncio.create_task(daemon.listen())
    try:
        yield daemon
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening
        sys.stderr.write(f"{daemon.output}\n")  # shown if the test fails


def talkative(folder: Path, port: int, state: Path) -> Path:
    """Write a configuration with which it tells, for two minutes, of some 70 events a second.

    Each source hears the same two tones come and go, and says so at every hop.
    """
    tone_bundle(folder / "tones", window_s=0.32, hop_s=0.1)
    times = np.arange(_TALKS_S * RATE) / RATE
    low = np.sin(2 * np.pi * LOW_HZ * times) * (times % 0.8 < 0.4)
    high = np.sin(2 * np.pi * HIGH_HZ * times) * (times % 1.0 > 0.6)
    sf.write(folder / "tones.wav", 0.3 * (low + high), RATE)
    path = folder / "talkative.toml"
    path.write_text(
        f'node = "attic"\nstate_dir = "{state}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        '[models.tones]\nbundle = "./tones"\nupdate_interval_s = 0.1\n'
        + "".join(f'[[sources]]\nname = "{s}"\naudio_file = "tones.wav"\n' for s in SOURCES)
    )
    return path

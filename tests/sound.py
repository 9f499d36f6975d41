"""A real sound server whose null sink is the microphone: what is played to it is heard."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.records import FloatArray

_PROGRAMS = ("pulseaudio", "pactl", "paplay")
_START_S = 10.0


class SoundServer:
    """PulseAudio in a folder of its own, reached through the ALSA plugin as PortAudio does it.

    It has one sink only: a server with two would let a microphone that is pulled out hear the
    other one, in silence.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        """What the microphone is called."""
        self._folder = folder
        self._socket = folder / "native"
        self._log = folder / "pulseaudio.log"
        self._module = ""
        server = f"unix:{self._socket}"
        device = f"type pulse server '{server}' device '{name}.monitor' hint {{ show on }}"
        self.alsa_config = folder / "asound.conf"
        """What makes ALSA know the microphone, after its own configuration."""
        self.alsa_config.write_text(
            f"pcm.{name} {{ {device} }}\npcm.!default {{ {device} }}\n"
            # As plughw: a name with an argument, which PortAudio does not list.
            f"pcm.room {{ @args [ SOURCE ] @args.SOURCE {{ type string }} type pulse "
            f"server '{server}' device $SOURCE }}\n"
        )
        self.env = {
            "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{self.alsa_config}",
            "HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_SERVER": server,
            "XDG_RUNTIME_DIR": str(folder),
        }
        """What a child needs in its environment to find this server and no other."""
        self.restart()

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart(self) -> None:
        """Start the server (again), with its sink."""
        self._socket.unlink(missing_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"),
                    *("--use-pid-file=no", "--disable-shm=yes"),
                    *("-L", f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"),
                ],
                env=os.environ | self.env,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START_S
        while self._control("info", check=False).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(self._log.read_text())
            time.sleep(0.05)  # it has no way to say that it is ready
        self.load_sink()

    def load_sink(self, rate: int = 48_000, channels: int = 2) -> None:
        """Plug the microphone in."""
        # Without norewinds a sink that nobody plays to is heard up to 0.1 s before its time.
        arguments = (
            f"sink_name={self.name}",
            f"rate={rate}",
            f"channels={channels}",
            "norewinds=1",
        )
        self._module = self._control("load-module", "module-null-sink", *arguments).stdout.strip()

    def load_second_source(self, name: str, rate: int = 48_000, channels: int = 2) -> None:
        """A microphone beside the first one, called NAME.monitor: what is played to NAME."""
        arguments = (
            f"sink_name={name}",
            f"rate={rate}",
            f"channels={channels}",
            f"sink_properties=device.description={name}",
            "norewinds=1",
        )
        self._control("load-module", "module-null-sink", *arguments)

    def unload_sink(self) -> None:
        """Pull it out."""
        self._control("unload-module", self._module)

    def play(self, path: Path, sink: str | None = None) -> None:
        """Play a file to its end."""
        subprocess.run(
            # With less latency, a busy machine makes holes.
            ["paplay", "--latency-msec=300", f"--device={sink or self.name}", path],
            env=os.environ | self.env,
            check=True,
            timeout=120,
        )

    def play_samples(self, samples: FloatArray, rate: int, sink: str | None = None) -> None:
        """Play (n,) or (n, channels) float32 samples to their end."""
        path = self._folder / f"playing-{sink}.wav"
        soundfile.write(path, samples, rate, subtype="FLOAT")
        self.play(path, sink)

    def stop(self) -> None:
        """Let it hang."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def _control(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env=os.environ | self.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=10,
        )


@contextlib.contextmanager
def running_sound_server(name: str = "hall") -> Iterator[SoundServer]:
    """A server that ends with the context, and its microphone, which is the default one."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (pulseaudio, pulseaudio-utils)")
    # A socket's path may have 107 bytes; pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="sound-", ignore_cleanup_errors=True) as folder:
        server = SoundServer(Path(folder), name)
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
def sound_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    """A server of the test's own, which the programs that the test starts use as well."""
    with running_sound_server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def other_sound_server(
    sound_server: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SoundServer]:
    """A second microphone, called yard, on a server that does not share the fate of the first."""
    with running_sound_server("yard") as server:
        both = f"{server.env['ALSA_CONFIG_PATH']}:{sound_server.alsa_config}"
        monkeypatch.setenv("ALSA_CONFIG_PATH", both)
        yield server


def noise(seconds: float, rate: int, seed: int = 0) -> FloatArray:
    """(n,) float32 of low-passed noise, which resembles itself when it is not shifted at all."""
    white = np.random.default_rng(seed).standard_normal(round(seconds * rate) + 7)
    smooth = sum(white[i : len(white) - 7 + i] for i in range(8))
    return np.asarray(0.5 * smooth / np.abs(smooth).max(), np.float32)


def tone(hz: float, seconds: float) -> FloatArray:
    """(n,) what a sound server is to play."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * hz * times)).astype(np.float32)

"""A real Mosquitto on a port of its own, and a subscriber that waits for what it should see."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiomqtt
import pytest

from detector.settings.mqtt import MqttSettings


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """Mosquitto on 127.0.0.1; `options` are lines of its configuration."""

    START_S = 10.0

    def __init__(self, folder: Path, *options: str) -> None:
        if shutil.which("mosquitto") is None:
            pytest.skip("mosquitto is not installed")
        self.folder = folder
        self.port = free_port()
        self.options = options or ("allow_anonymous true",)
        self._process: subprocess.Popen[str] | None = None
        self.log: list[str] = []
        """What the broker says of what it does; complete once it was killed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def settings(self, **changes: Any) -> MqttSettings:
        values: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "timeout_s": 5.0}
        return MqttSettings.model_validate(values | changes)

    def start(self) -> Self:
        """Return once it listens."""
        file = self.folder / "mosquitto.conf"
        file.write_text(
            "\n".join(
                (
                    f"listener {self.port} 127.0.0.1",
                    "user root",  # as root it would drop to a user that cannot read the folder
                    "persistence false",
                    "log_dest stderr",
                    "log_type all",
                    "max_queued_messages 0",
                    *self.options,
                )
            )
            + "\n"
        )
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(file)], stderr=subprocess.PIPE, text=True
        )
        running = threading.Event()
        self._reader = threading.Thread(target=self._read_log, args=(self._process, running))
        self._reader.start()
        if not running.wait(self.START_S) or self._process.poll() is not None:
            self.kill()
            raise RuntimeError("mosquitto did not start:\n" + "\n".join(self.log))
        return self

    def _read_log(self, process: "subprocess.Popen[str]", running: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line.rstrip())
                if line.rstrip().endswith(" running"):
                    running.set()
        running.set()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def hang(self) -> None:
        """Connections still open, and none is answered."""
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    @contextlib.asynccontextmanager
    async def subscriber(self, topic: str = "#", **options: Any) -> AsyncIterator["Subscriber"]:
        client = aiomqtt.Client(
            "127.0.0.1", self.port, protocol=aiomqtt.ProtocolVersion.V5, **options
        )
        async with client:
            await client.subscribe(topic, qos=1)
            subscriber = Subscriber(client)
            collecting = asyncio.create_task(subscriber.collect())
            try:
                yield subscriber
            finally:
                collecting.cancel()
                await asyncio.wait({collecting})


class Subscriber:
    """Collects messages; `until` waits for them to be what they should be."""

    PATIENCE_S = 45.0
    """A detector that lost the broker for long may wait 30 s before it tries again."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._arrived = asyncio.Condition()
        self.messages: list[aiomqtt.Message] = []
        self.gone = asyncio.Event()
        """The broker has closed the connection, and all that came before was collected."""

    async def collect(self) -> None:
        try:
            async for message in self._client.messages:
                async with self._arrived:
                    self.messages.append(message)
                    self._arrived.notify_all()
        except aiomqtt.MqttError:
            self.gone.set()

    async def send(self, topic: str, payload: str, **options: Any) -> None:
        await self._client.publish(topic, payload, qos=1, **options)

    async def until(self, enough: Callable[["Subscriber"], object]) -> None:
        try:
            async with asyncio.timeout(self.PATIENCE_S), self._arrived:
                await self._arrived.wait_for(lambda: bool(enough(self)))
        except TimeoutError:
            seen = [(m.topic.value, m.payload) for m in self.messages[-20:]]
            raise AssertionError(f"not in {self.PATIENCE_S} s; the last messages: {seen}") from None

    def on(self, topic: str) -> list[str]:
        """Payloads of the messages whose topic matches, in order of arrival."""
        return [_text(m) for m in self.messages if m.topic.matches(topic)]

    def last(self, topic: str) -> str | None:
        found = self.on(topic)
        return found[-1] if found else None


class Proxy:
    """Stands between client and broker, and sees every packet.

    `judge(packet, from_client)` says what becomes of it: True passes it on, False drops it, and
    None ends the connection. What the client sends goes no faster than `bytes_per_s`.
    """

    def __init__(
        self,
        broker_port: int,
        judge: Callable[[bytes, bool], bool | None] = lambda _packet, _from_client: True,
        bytes_per_s: float | None = None,
    ) -> None:
        self._broker_port, self._judge, self._bytes_per_s = broker_port, judge, bytes_per_s
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port: int

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())  # it may be cancelled before it begins

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, ways = [writer], set[asyncio.Task[None]]()
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self._broker_port)
            ends.append(requests)
            ways.add(asyncio.create_task(self._forward(reader, requests, from_client=True)))
            ways.add(asyncio.create_task(self._forward(answers, writer, from_client=False)))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in ends:
                end.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await reader.readexactly(2)
                length, shift = packet[-1] & 127, 7
                while packet[-1] & 128:
                    packet += await reader.readexactly(1)
                    length |= (packet[-1] & 127) << shift
                    shift += 7
                packet += await reader.readexactly(length)
                verdict = self._judge(packet, from_client)
                if verdict is None:
                    return
                if verdict:
                    if from_client and self._bytes_per_s:
                        await asyncio.sleep(len(packet) / self._bytes_per_s)
                    writer.write(packet)
                    await writer.drain()


def _text(message: aiomqtt.Message) -> str:
    assert isinstance(message.payload, bytes)
    return message.payload.decode()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that anyone may use, running."""
    with Broker(tmp_path) as running:
        yield running.start()


def write_passwords(file: Path, passwords: Mapping[str, str]) -> None:
    """A Mosquitto password file."""
    file.write_text("".join(f"{user}:{password}\n" for user, password in passwords.items()))
    file.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)


class Authority:
    """A certificate authority that lives as long as a test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(self._key), "-out", str(self.certificate), "-days", "2",
            "-subj", "/CN=test authority",
        )  # fmt: skip

    def issue(self, name: str, host: str | None = None, *, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key; a negative number of days makes one that has expired."""
        certificate, key, request, extra = (
            self.folder / f"{name}.{end}" for end in ("crt", "key", "csr", "ext")
        )
        extra.write_text(f"subjectAltName=IP:{host}\n" if host else "")
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey",
            str(self._key), "-CAcreateserial", "-out", str(certificate), "-days", str(days),
            "-extfile", str(extra),
        )  # fmt: skip
        return certificate, key

    @staticmethod
    def _openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, text=True, check=False, env=os.environ
        )
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")

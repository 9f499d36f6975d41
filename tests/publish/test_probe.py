"""One attempt to connect, and errors that say what to do."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from detector.errors import BrokerError, DetectorError
from detector.publish.mqtt.publisher import probe
from detector.settings.mqtt import MqttSettings
from tests.broker import Broker, free_port, write_passwords
from tests.publish.helpers import NODE, STATUS, publishing, stats

pytestmark = pytest.mark.broker


async def test_probe_of_a_broker_that_answers_is_silent_and_leaves_the_daemon_alone(
    broker: Broker,
) -> None:
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        await seen.until(lambda s: s.last(STATUS) == "online")
        await probe(broker.settings(), NODE)
        assert publisher.connected
        publisher.stats(stats())
        await seen.until(lambda s: s.last("detector/attic/stats"))
        assert seen.on(STATUS) == ["online"]


async def test_no_broker() -> None:
    port = free_port()
    settings = MqttSettings(host="127.0.0.1", port=port)
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}: connection refused") as caught:
        await probe(settings, NODE)
    assert isinstance(caught.value, DetectorError)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "a..b"])
async def test_unknown_host(host: str) -> None:
    with pytest.raises(BrokerError, match=r"no such host: check mqtt\.host"):
        await probe(MqttSettings(host=host), NODE)


async def test_listener_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = MqttSettings(host="127.0.0.1", port=mute.getsockname()[1], timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(BrokerError, match=r"did not answer within 0\.3 s"):
            await probe(settings, NODE)
        assert time.monotonic() - began < 1.0


async def test_server_that_speaks_something_else_is_given_up() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerError, match=f"127.0.0.1:{port}: "):
            await probe(MqttSettings(host="127.0.0.1", port=port, timeout_s=1.0), NODE)


async def test_missing_user_name_is_asked_for(tmp_path: Path) -> None:
    with Broker(tmp_path, "allow_anonymous false") as broker:
        broker.start()
        with pytest.raises(BrokerError, match=r"set mqtt\.username"):
            await probe(broker.settings(), NODE)


async def test_password_from_a_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_passwords(tmp_path / "passwords", {"ear": "correct-horse"})
    (tmp_path / "mqtt").write_text("correct-horse\n")
    options = ("allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    with Broker(tmp_path, *options) as broker:
        broker.start()
        settings = broker.settings(username="ear", password_credential="mqtt")  # noqa: S106
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        with pytest.raises(BrokerError, match="LoadCredential"):
            await probe(settings, NODE)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        await probe(settings, NODE)


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"", "is empty"), (b"\xff\xfe", "is not UTF-8")]
)
async def test_unusable_password_file_is_named_without_its_content(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    settings = MqttSettings(host="127.0.0.1", username="ear", password_file=file)
    with pytest.raises(BrokerError, match=complaint) as caught:
        await probe(settings, NODE)
    assert f"mqtt.password_file: {file}" in str(caught.value)

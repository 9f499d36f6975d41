"""Encrypted connections, with certificates made for the test."""

import asyncio
import gc
import re
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import BrokerError
from detector.publish.mqtt.publisher import probe
from detector.settings.mqtt import MqttSettings
from tests.broker import Authority, Broker
from tests.publish.helpers import NODE, Logs, event, publishing

pytestmark = [
    pytest.mark.broker,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket"),
]


@pytest.fixture(autouse=True)
def _unclosed_sockets() -> Iterator[None]:
    """paho does not close a socket whose handshake failed, but leaves it to be collected."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def _broker(folder: Path, authority: Authority, *options: str, days: int = 1) -> Broker:
    certificate, key = authority.issue(f"broker{days}", "127.0.0.1", days=days)
    return Broker(
        folder, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}", *options
    )


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    """A broker with a valid certificate."""
    with _broker(tmp_path, authority) as running:
        yield running.start()


async def test_events_arrive_over_tls(broker: Broker, authority: Authority, logs: Logs) -> None:
    settings = broker.settings(tls={"ca_file": str(authority.certificate)})
    async with publishing(settings) as publisher:
        publisher.event(event())
        assert await publisher.drain(5) == 0
    assert "TLSv1." in "\n".join(broker.log) or logs.at("info")


async def test_broker_signed_by_an_unknown_authority_is_refused_once(
    broker: Broker, tmp_path: Path, logs: Logs
) -> None:
    stranger = Authority(tmp_path / "stranger")
    settings = broker.settings(tls={"ca_file": str(stranger.certificate)})
    async with publishing(settings) as publisher:
        await logs.until(lambda log: len(log.at("debug")) >= 2)
        assert not publisher.connected
    (warning,) = logs.at("warning")
    assert "certificate is not accepted" in warning["error"]
    assert "mqtt.tls.ca_file" in warning["error"]


async def test_expired_certificate_is_named_as_the_cause(
    tmp_path: Path, authority: Authority
) -> None:
    with _broker(tmp_path, authority, days=-1) as broker:
        broker.start()
        settings = broker.settings(tls={"ca_file": str(authority.certificate)})
        with pytest.raises(BrokerError, match="certificate has expired"):
            await probe(settings, NODE)


async def test_broker_of_another_name_is_refused(broker: Broker, authority: Authority) -> None:
    settings = broker.settings(host="localhost", tls={"ca_file": str(authority.certificate)})
    with pytest.raises(BrokerError, match="certificate is not valid for 'localhost'"):
        await probe(settings, NODE)


async def test_client_certificate_is_shown_to_a_broker_that_wants_one(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("ear")
    options = (f"cafile {authority.certificate}", "require_certificate true")
    with _broker(tmp_path, authority, *options) as broker:
        broker.start()
        tls = {"ca_file": str(authority.certificate)}
        with pytest.raises(BrokerError, match=r"mqtt\.tls\.certificate_file"):
            await probe(broker.settings(tls=tls), NODE)
        tls |= {"certificate_file": str(certificate), "key_file": str(key)}
        async with publishing(broker.settings(tls=tls)) as publisher:
            publisher.event(event())
            assert await publisher.drain(5) == 0


async def test_expired_client_certificate_points_to_the_setting(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("old_ear", days=-1)
    options = (f"cafile {authority.certificate}", "require_certificate true")
    with _broker(tmp_path, authority, *options) as broker:
        broker.start()
        tls = {
            "ca_file": str(authority.certificate),
            "certificate_file": str(certificate),
            "key_file": str(key),
        }
        with pytest.raises(BrokerError, match=r"expired.*mqtt\.tls\.certificate_file"):
            await probe(broker.settings(tls=tls), NODE)


async def test_protocol_is_asked_for_where_one_port_serves_several(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("several", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1", "mqtt"])
    chosen: asyncio.Future[tuple[str | None, str | None]]
    chosen = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        chosen.set_result((tls.selected_alpn_protocol(), tls.version()))
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        settings = MqttSettings.model_validate(
            {
                "host": "127.0.0.1",
                "port": server.sockets[0].getsockname()[1],
                "tls": {"ca_file": str(authority.certificate), "alpn": ("mqtt",)},
            }
        )
        with pytest.raises(BrokerError):
            await probe(settings, NODE)
    protocol, version = chosen.result()
    assert protocol == "mqtt"
    assert version in ("TLSv1.2", "TLSv1.3")


async def test_broker_that_speaks_only_old_tls_is_refused(authority: Authority) -> None:
    certificate, key = authority.issue("old", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        settings = MqttSettings.model_validate(
            {
                "host": "127.0.0.1",
                "port": server.sockets[0].getsockname()[1],
                "tls": {"ca_file": str(authority.certificate)},
            }
        )
        with pytest.raises(BrokerError, match=r"TLS 1\.2 or later"):
            await probe(settings, NODE)


async def test_plain_connection_to_a_tls_port_asks_whether_tls_is_wanted(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r"mqtt\.tls"):
        await probe(broker.settings(), NODE)


async def test_tls_connection_to_a_plain_port_says_so(tmp_path: Path, authority: Authority) -> None:
    with Broker(tmp_path) as broker:
        broker.start()
        settings = broker.settings(tls={"ca_file": str(authority.certificate)})
        with pytest.raises(BrokerError, match=r"TLS|mqtt\.tls"):
            await probe(settings, NODE)


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_unusable_authority_file_is_named(
    tmp_path: Path, content: str | None, broker: Broker
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BrokerError, match=rf"mqtt\.tls\.ca_file: {re.escape(str(file))}: "):
        await probe(broker.settings(tls={"ca_file": str(file)}), NODE)


async def test_key_that_does_not_fit_its_certificate_is_named(
    broker: Broker, authority: Authority
) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("other")
    tls = {
        "ca_file": str(authority.certificate),
        "certificate_file": str(certificate),
        "key_file": str(key),
    }
    with pytest.raises(BrokerError, match=r"mqtt\.tls\.certificate_file with key_file"):
        await probe(broker.settings(tls=tls), NODE)

"""A server that is away, hangs, comes back or is reached over TLS."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from detector.errors import BundleError, ConfigError, ServerAwayError
from detector.inference.remote import FIRST_PAUSE_S, LONGEST_PAUSE_S, RemoteModel
from detector.inference.worker import MOST_FAILURES, Worker
from detector.loading import load_model
from detector.records import Unscored
from detector.settings.models import ModelSettings
from tests.broker import Authority, free_port
from tests.inference.remote_models import (
    RECOVERY_S,
    SAMPLES,
    noise,
    remote,
    until_it_scores,
    window,
)
from tests.inference_service import InferenceService, Model

# Outages


def test_a_server_that_is_away_at_the_start_is_checked_and_used_when_it_comes(
    served_folder: Path,
) -> None:
    service = InferenceService(served_folder)
    asked = ModelSettings(bundle=str(served_folder), remote=service.address)
    scorer = load_model("sounds", asked, None).session
    assert isinstance(scorer, RemoteModel)
    with pytest.raises(ServerAwayError, match="cannot be asked"):
        scorer.score([window(noise(1))])
    served = service.models["loudness"]
    tensor = served.metadata.inputs[0]
    tensor.datatype = "FP16"
    with service.start():
        time.sleep(FIRST_PAUSE_S)
        with pytest.raises(BundleError, match="must be a FP32"):
            scorer.score([window(noise(1))])
        tensor.datatype = "FP32"
        assert until_it_scores(scorer) < RECOVERY_S


def test_a_server_that_went_and_came_back_is_used_again(
    served_folder: Path, service: InferenceService
) -> None:
    scorer = remote(served_folder, service)
    assert scorer.score([window(noise(1))])
    service.stop()
    with pytest.raises(ServerAwayError):
        scorer.score([window(noise(1))])
    until = time.monotonic() + LONGEST_PAUSE_S
    while time.monotonic() < until:  # long enough for the longest pause to be next
        with pytest.raises(ServerAwayError):
            scorer.score([window(noise(1))])
        time.sleep(0.05)
    service.start()
    assert until_it_scores(scorer) < RECOVERY_S


def test_a_server_that_hangs_costs_one_deadline_and_not_one_for_each_window(
    served_folder: Path, service: InferenceService, model: Model
) -> None:
    scorer = remote(served_folder, service, remote_deadline_s=0.5)
    assert scorer.score([window(noise(1))])
    model.answers.clear()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(ServerAwayError, match=r"does not answer within 0\.5 s"):
            scorer.score([window(noise(1))])
    assert 0.5 <= time.monotonic() - began < 1.5
    model.answers.set()
    assert until_it_scores(scorer) < RECOVERY_S


def test_a_server_that_is_away_is_no_failure_for_good(served_folder: Path) -> None:
    service = InferenceService(served_folder)

    async def run() -> None:
        worker = Worker(remote(served_folder, service))
        for _ in range(2 * MOST_FAILURES):
            assert await worker.score(window(noise(1))) == Unscored(0, SAMPLES, "unscored")

    asyncio.run(run())


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def encrypted(served_folder: Path, authority: Authority) -> Iterator[InferenceService]:
    """A server that asks for a certificate."""
    certificate, key = authority.issue("server", "127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        root_certificates=authority.certificate.read_bytes(),
        require_client_auth=True,
    )
    with InferenceService(served_folder) as running:
        yield running.start(credentials)


def tls_of(authority: Authority) -> dict[str, Path]:
    certificate, key = authority.issue("client")
    return {
        "ca_file": authority.certificate, "certificate_file": certificate, "key_file": key,
    }  # fmt: skip


def over_tls(
    served_folder: Path, service: InferenceService, tls: dict[str, Path] | None
) -> RemoteModel:
    address = service.address.replace("grpc:", "grpcs:")
    return remote(served_folder, service, remote=address, remote_tls=tls, remote_deadline_s=3.0)


def test_windows_are_scored_over_tls_with_certificates_at_both_ends(
    served_folder: Path, encrypted: InferenceService, authority: Authority
) -> None:
    assert over_tls(served_folder, encrypted, tls_of(authority)).score([window(noise(1))])


def test_a_server_whose_authority_is_not_known_is_not_asked(
    served_folder: Path, encrypted: InferenceService
) -> None:
    with pytest.raises(ServerAwayError, match=r"(?i)certificate"):
        over_tls(served_folder, encrypted, None).connect()


def test_a_server_that_is_not_shown_a_certificate_refuses(
    served_folder: Path, encrypted: InferenceService, authority: Authority
) -> None:
    with pytest.raises(ServerAwayError):
        over_tls(served_folder, encrypted, {"ca_file": authority.certificate}).connect()


def test_a_file_that_is_not_there_is_named(
    served_folder: Path, encrypted: InferenceService, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"remote_tls: .*none\.crt: No such file"):
        over_tls(served_folder, encrypted, {"ca_file": tmp_path / "none.crt"}).connect()


def test_a_port_where_nobody_speaks_the_protocol_is_told_of_as_away(served_folder: Path) -> None:
    asked = ModelSettings(
        bundle=str(served_folder), remote=f"grpc://127.0.0.1:{free_port()}", remote_deadline_s=1
    )
    scorer = load_model("x", asked, None).session
    with pytest.raises(ServerAwayError):
        scorer.connect()

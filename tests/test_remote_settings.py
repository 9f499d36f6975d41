"""Where a model runs that a server computes, and what cannot be said of it."""

from typing import Any

import pytest

from detector.settings.models import ModelSettings


@pytest.mark.parametrize(
    "address",
    ["grpc://host:8001", "grpcs://[::1]:8001", "grpc://10.0.0.7:1", "grpc://a-b.example.org:65535"],
)
def test_addresses(address: str) -> None:
    assert ModelSettings(bundle="sounds", remote=address).remote == address


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"remote": "host:8001"}, "must be grpc://HOST:PORT"),
        ({"remote": "http://host:8000"}, "must be grpc://HOST:PORT"),
        ({"remote": "grpc://host"}, "must be grpc://HOST:PORT"),
        ({"remote": "grpc://host:0"}, "must be grpc://HOST:PORT"),
        ({"remote": "grpc://host:65536"}, "must be grpc://HOST:PORT"),
        ({"remote": "grpc://user:secret@host:8001"}, "must be grpc://HOST:PORT"),
        ({"remote": "grpc://h:1", "threads": 2}, "the server's affair"),
        ({"remote": "grpc://h:1", "provider": "cuda"}, "the server's affair"),
        ({"remote": "grpc://h:1", "remote_tls": {}}, "needs remote = 'grpcs://"),
        ({"remote_model": "ast"}, "remote_model says more of `remote`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ModelSettings.model_validate({"bundle": "sounds"} | settings)

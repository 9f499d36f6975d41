"""What may be said of a stream, and that nothing secret is shown of what may not."""

from pathlib import Path
from typing import Any

import pytest

from detector.errors import ConfigError
from detector.settings.load import load_config
from detector.settings.sources import SourceSettings


def source(tmp_path: Path, **settings: Any) -> SourceSettings:
    path = tmp_path / "config.toml"
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    path.write_text("\n".join(["[[sources]]", 'name = "porch"', *lines]).replace("True", "true"))
    return load_config(path).sources[0]


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera.lan/stream1",
        "rtsp://user:p%40ss@192.168.1.5:554/cam/realmonitor?channel=1&subtype=0",
        "rtsps://[fe80::1]:322/x",
        "rtsp://camera.lan./x",
        "http://radio.example/live.mp3",
        "https://example.org/live/index.m3u8",
        "rtmp://camera.lan/bcs/channel0_main.bcs?user=admin&password=x",
    ],
)
def test_a_stream_is_a_source(tmp_path: Path, url: str) -> None:
    settings = source(tmp_path, url=url)
    assert settings.url == url
    assert url not in repr(settings)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("camera.lan/secret", "is not scheme://host/path"),
        ("rtsp:///secret", "is not scheme://host/path"),
        ("rtsp://user:secret/x@camera.lan/", "What a password has of / ? # @ : % is written %2F"),
        ("rtsp://user:secret#1@camera.lan/", "is not scheme://host/path"),
        ("rtsp://camera.lan:secret/", "is not scheme://host/path"),
        ("rtsp://user:secret word@camera.lan/", "has no spaces"),
        ("rtsp://user:secret@camera.lan/\u00fc", "no letters beyond ASCII"),
        ("file:///secret", "begins with one of rtsp://, rtsps://, http://"),
        ("srt://user:secret@camera.lan", "begins with one of rtsp://"),
        ("rtsp://user:secret@cam..lan/", "a part between dots is empty or too long"),
        ("rtsp://.lan/secret", "a part between dots is empty or too long"),
        (f"rtsp://{'x' * 64}.lan/secret", "a part between dots is empty or too long"),
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        source(tmp_path, url=url)
    assert "sources.0.url: " in str(raised.value)
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"device": "x", "url": "rtsp://u:secret@c/"}, "give one of device, url, audio_file"),
        ({"device": "rtsp://u:secret@c/"}, "a stream is given by url, not by device"),
        ({"device": "x", "transport": "udp"}, "transport: only a source with url has that"),
        ({"url": "rtsp://c/", "transport": "secret"}, "transport"),
        ({"url": "http://c/", "transport": "udp"}, "transport is for rtsp and rtsps, not for http"),
        ({"url": "rtmp://u:secret@c/", "transport": "tcp"}, "transport is for rtsp and rtsps"),
        ({"url": "rtsp://u:secret@c/", "username": "x"}, "a user in url, not both"),
        ({"url": "rtsp://c/", "password_file": "x"}, "a password needs a username"),
        ({"url": "rtsp://c/", "timeout_s": 0.0}, "timeout_s"),
        ({"url": "rtsp://c/", "audio_stream": 0}, "audio_stream"),
        ({"ulr": "rtsp://u:secret@c/"}, "did you mean 'url'?"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        source(tmp_path, **settings)
    assert told in str(raised.value)
    assert "u:secret" not in str(raised.value)


def test_headers_cannot_smuggle_lines_and_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[[sources]]\nname = "porch"\nurl = "http://c/"\n'
        'headers = { Authorization = "Bearer secret\\r\\nX: y" }'
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert "headers" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_headers_are_for_http(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[sources]]\nname = "porch"\nurl = "rtsp://c/"\nheaders = { X = "secret" }')
    with pytest.raises(ConfigError, match="headers is for http and https, not for rtsp") as raised:
        load_config(path)
    assert "secret" not in str(raised.value)


def test_a_password_file_counts_from_the_configurations_folder(tmp_path: Path) -> None:
    given = {"url": "rtsp://c/", "username": "admin", "password_file": "porch.password"}
    settings = source(tmp_path, **given)
    assert settings.password_file == tmp_path / "porch.password"

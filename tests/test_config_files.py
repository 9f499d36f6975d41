"""Files that a configuration names, and secrets, which it does not hold."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from detector.settings.config import Config
from detector.settings.load import load_config
from tests.test_config import load, refusal_of


class TestPaths:
    TEXT = """
        [mqtt]
        username = "me"
        password_file = "secrets/mqtt"
        [mqtt.tls]
        ca_file = "/etc/ca.crt"
        certificate_file = "~/client.crt"
        key_file = "../client.key"
        [models.own]
        bundle = "./own"
        [models.built_in]
        bundle = "sounds"
        [[sources]]
        name = "file"
        audio_file = "sounds/dog.wav"
        """

    def check(self, config: Config, folder: Path, home: Path) -> None:
        tls = config.mqtt.tls
        assert config.mqtt.password_file is not None
        assert tls is not None
        assert tls.key_file is not None
        assert config.sources[0].audio_file is not None
        assert config.mqtt.password_file.absolute() == folder / "secrets" / "mqtt"
        assert tls.ca_file == Path("/etc/ca.crt")
        assert tls.certificate_file == home / "client.crt"
        assert tls.key_file.resolve() == folder.parent / "client.key"
        assert config.sources[0].audio_file.absolute() == folder / "sounds" / "dog.wav"
        assert config.models["own"].bundle == str(folder / "own")
        assert config.models["built_in"].bundle == "sounds"

    def test_count_from_the_folder_of_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        self.check(load(tmp_path, self.TEXT), tmp_path, tmp_path / "home")

    def test_count_from_there_too_if_the_file_is_named_without_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        load(tmp_path, self.TEXT)
        monkeypatch.chdir(tmp_path)
        self.check(load_config(Path("detector.toml")), tmp_path, tmp_path / "home")

    def test_state_is_kept_beside_the_file_or_where_the_service_manager_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert load(tmp_path, 'state_dir = "state"').state_folder == tmp_path / "state"
        config = load(tmp_path, "")
        monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/detector:/var/lib/other")
        assert config.state_folder == Path("/var/lib/detector")
        assert load(tmp_path, 'state_dir = "/elsewhere"').state_folder == Path("/elsewhere")
        monkeypatch.delenv("STATE_DIRECTORY")
        monkeypatch.setenv("XDG_STATE_HOME", "/home/me/.state")
        assert config.state_folder == Path("/home/me/.state/detector")
        monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which counts as absent
        monkeypatch.setenv("HOME", "/home/me")
        assert config.state_folder == Path("/home/me/.local/state/detector")

    def test_home_of_nobody_is_refused(self, tmp_path: Path) -> None:
        text = "[mqtt]\nusername = 'me'\npassword_file = '~nobody-of-this-name/x'"
        assert "mqtt.password_file: " in refusal_of(tmp_path, text)


class TestSecrets:
    def test_are_not_part_of_a_configuration(self) -> None:
        def fields(model: type[BaseModel]) -> set[str]:
            schema: dict[str, Any] = model.model_json_schema()
            parts = [schema, *schema.get("$defs", {}).values()]
            return {name for part in parts for name in part.get("properties", {})}

        secret = {name for name in fields(Config) if re.search("pass|secret|token|key", name)}
        assert secret == {"password_file", "password_credential", "key_file"}

    def test_that_are_written_into_it_are_not_repeated(self, tmp_path: Path) -> None:
        for key in ("password", "pasword", "passwort", "token"):
            message = refusal_of(tmp_path, f"[mqtt]\n{key} = 'hunter2'")
            assert f"mqtt.{key}: there is no such setting" in message
            assert "hunter2" not in message

    def test_in_the_wrong_place_are_not_repeated(self, tmp_path: Path) -> None:
        text = "[mqtt]\nusername = 'me'\npassword_credential = 'hunter2!'"
        message = refusal_of(tmp_path, text)
        assert "mqtt.password_credential" in message
        assert "hunter2" not in message

    def test_a_misspelt_password_is_answered_with_where_it_belongs(self, tmp_path: Path) -> None:
        assert "did you mean 'password_file'?" in refusal_of(tmp_path, "[mqtt]\npassword = 'x'")

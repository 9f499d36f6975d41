"""What of the settings a reload changes in a running service, and what it costs to check them."""

import time
import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from detector.compatibility import check_settings
from detector.configured_model import ConfiguredModel
from detector.inference.bundle import load_bundle
from detector.settings.base import Settings
from detector.settings.config import Config
from detector.settings.live import is_live, need_restart, with_live
from detector.settings.models import ModelSettings
from detector.settings.mqtt import MqttSettings, TlsSettings
from detector.settings.patterns import GroupSettings
from detector.settings.sources import SourceSettings

RUNNING = Config(mqtt=MqttSettings(tls=TlsSettings()))
"""In which every table is there."""
ANOTHER: Any = "another value"


def changes(settings: Settings, before: str = "") -> Iterator[tuple[str, bool, Settings]]:
    """Each setting's name, whether it is marked, and the settings with another value of it."""
    for field in type(settings).model_fields:
        value, live = getattr(settings, field), is_live(type(settings), field)
        tables: Mapping[str, Settings] = {}
        if isinstance(value, Settings) and not live:
            tables = {"": value}
        elif isinstance(value, Mapping) and not live:
            tables = value
        if not tables:
            yield f"{before}{field}", live, settings.model_copy(update={field: ANOTHER})
        for key, table in tables.items():
            name = f"{before}{field}.{key}." if key else f"{before}{field}."
            for path, inner_live, changed in changes(table, name):
                update = {**value, key: changed} if key else changed
                yield path, inner_live, settings.model_copy(update={field: update})


CHANGES = {name: (live, changed) for name, live, changed in changes(RUNNING)}


@pytest.mark.parametrize("name", [name for name, (live, _) in CHANGES.items() if live])
def test_a_marked_setting_counts_without_a_restart(name: str) -> None:
    changed = CHANGES[name][1]
    assert isinstance(changed, Config)
    assert list(need_restart(RUNNING, changed)) == []
    assert with_live(RUNNING, changed) == changed != RUNNING


@pytest.mark.parametrize("name", [name for name, (live, _) in CHANGES.items() if not live])
def test_any_other_setting_is_named_and_stays_as_it_is(name: str) -> None:
    changed = CHANGES[name][1]
    assert isinstance(changed, Config)
    assert list(need_restart(RUNNING, changed)) == [name]
    assert with_live(RUNNING, changed) == RUNNING


def test_the_settings_that_are_marked() -> None:
    model = "models.sounds"
    assert {name for name, (live, _) in CHANGES.items() if live} == {
        *("schedule", "time_zone", "patterns", "homeassistant.labels"),
        *(f"{model}.only", f"{model}.labels", f"{model}.update_interval_s"),
    }


def test_a_model_that_comes_or_goes_needs_a_restart() -> None:
    more = RUNNING.model_copy(
        update={"models": {**RUNNING.models, "words": ModelSettings(bundle="words")}}
    )
    assert list(need_restart(RUNNING, more)) == ["models.words"]
    assert list(need_restart(more, RUNNING)) == ["models.words"]
    assert with_live(RUNNING, more) == RUNNING


@pytest.fixture(scope="module")
def configured_models() -> dict[str, ConfiguredModel]:
    settings = ModelSettings(bundle="sounds")
    spec = load_bundle("sounds").spec
    return {name: ConfiguredModel(name, spec, settings) for name in ("first", "second")}


def site(n_sources: int, configured_models: Mapping[str, ConfiguredModel]) -> Config:
    return Config(
        models={name: configured.settings for name, configured in configured_models.items()},
        patterns={"any": GroupSettings(kind="group", labels=("dog", "cat"))},
        sources=tuple(SourceSettings(name=f"s{i}", device="default") for i in range(n_sources)),
    )


def test_to_check_settings_allocates_no_features(
    configured_models: Mapping[str, ConfiguredModel],
) -> None:
    config = site(64, configured_models)
    check_settings(config, configured_models)  # what is computed once is computed
    tracemalloc.start()
    check_settings(config, configured_models)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


def test_to_check_the_settings_of_64_sources_takes_hardly_longer_than_those_of_one(
    configured_models: Mapping[str, ConfiguredModel],
) -> None:
    """A command is checked in the event loop: sound waits as long."""

    def seconds(config: Config) -> float:
        def once() -> float:
            begun = time.thread_time()
            check_settings(config, configured_models)
            return time.thread_time() - begun

        return min(once() for _ in range(5))

    assert seconds(site(64, configured_models)) < 5 * seconds(site(1, configured_models))

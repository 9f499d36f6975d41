"""Fixtures and settings that tests of several parts share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.sound import other_sound_server, sound_server

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell makes what it runs in the background deaf to Ctrl-C, and with it all that is run here.
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["other_sound_server", "sound_server"]

# A busy machine is no reason for a test to fail.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a daemon keeps between runs is kept between those of one test, and no longer."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("STATE_DIRECTORY", raising=False)
        environment.setenv("XDG_STATE_HOME", str(folder))
        yield folder / "detector"

"""Fixtures and settings that tests of several parts share."""

import hypothesis

from tests.sound import other_sound_server, sound_server

__all__ = ["other_sound_server", "sound_server"]

# A busy machine is no reason for a test to fail.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

"""What may be commanded, and the answer to what may not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigError
from detector.publish.commands.commands import CommandListener, CommandResult
from detector.publish.commands.replies import AnswerMessage
from detector.publish.mqtt.connection import Received

NODE = "detector/attic"


class Recorder:
    """An operator that notes what it is asked; it has one source, hall."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def _note(self, *what: Any) -> CommandResult:
        if "nowhere" in what:
            raise ConfigError("there is no source 'nowhere', only hall")
        if "bug" in what:
            raise ZeroDivisionError
        self.asked.append(what)
        return CommandResult("done", restart=("mqtt",))

    def mute(self, source: str | None, duration_s: float | None) -> CommandResult:
        return self._note("mute", source, duration_s)

    def unmute(self, source: str | None) -> CommandResult:
        return self._note("unmute", source)

    def set_threshold(self, *what: Any) -> CommandResult:
        return self._note("threshold", *what)

    def reload(self) -> CommandResult:
        return self._note("reload")

    def explain(self, *what: Any) -> CommandResult:
        return self._note("explain", *what)


class Line:
    """Stands where the connection is: hands a request over and keeps the answer."""

    def __init__(self) -> None:
        self.handler = Recorder()
        self.answers: list[tuple[str | None, bytes | None, AnswerMessage]] = []
        CommandListener("detector", "attic", self, self.handler).start()

    def subscribe(self, topic: str, received: Any) -> None:
        self.topic, self._received = topic, received

    def retain(self, topic: str, payload: str, *, again: bool = False) -> None:
        raise NotImplementedError

    def respond(self, request: Received, payload: str) -> bool:
        answer = AnswerMessage.model_validate_json(payload)
        self.answers.append((request.response_topic, request.correlation, answer))
        return True

    def send(self, command: str, payload: bytes | dict[str, Any], **about: Any) -> AnswerMessage:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        before = len(self.answers)
        self._received(
            Received(f"{NODE}/command/{command}", body, about.pop("retained", False), **about)
        )
        assert len(self.answers) == before + 1
        return self.answers[-1][2]


@pytest.mark.parametrize(
    ("command", "payload", "asked"),
    [
        ("mute", {"source": "hall", "duration_s": 60}, ("mute", "hall", 60)),
        ("mute", b"", ("mute", None, None)),
        ("mute", {"source": "hall", "muted": False}, ("unmute", "hall")),
        ("unmute", {}, ("unmute", None)),
        ("reload", b"", ("reload",)),
        (
            "threshold",
            {"label": "dog", "onset_threshold": 0.7},
            ("threshold", None, "dog", 0.7, None),
        ),
        (
            "explain",
            {"at": "2026-11-22T12:00:00Z"},
            ("explain", None, datetime(2026, 11, 22, 12, tzinfo=UTC), 2.0),
        ),
    ],
)
def test_a_command_is_carried_out_and_answered(
    command: str, payload: bytes | dict[str, Any], asked: tuple[Any, ...]
) -> None:
    line = Line()
    assert line.topic == f"{NODE}/command/+"
    answer = line.send(command, payload)
    assert line.handler.asked == [asked]
    assert (answer.node, answer.command, answer.ok) == ("attic", command, True)
    assert (answer.message, answer.restart) == ("done", ("mqtt",))


@pytest.mark.parametrize(
    ("command", "payload", "told"),
    [
        ("self_destruct", b"", "no command 'self_destruct', only mute, unmute"),
        ("mute", b"{", "Invalid JSON"),
        ("mute", b"\xff\xfe", "JSON"),
        ("mute", b"[1]", "object"),
        ("mute", b"[" * 4000, "JSON"),
        ("mute", b" " * 5000, "5000 bytes are too many"),
        (
            "mute",
            {"duration": 60},
            "duration: there is no such setting; did you mean 'duration_s'?",
        ),
        ("mute", {"duration_s": 0}, "duration_s = 0"),
        ("mute", {"duration_s": 1e9}, "duration_s"),
        ("mute", {"duration_s": "60"}, "duration_s = '60'"),
        ("mute", {"source": "hall/+"}, "source = 'hall/+'"),
        ("mute", {"source": "nowhere"}, "there is no source 'nowhere', only hall"),
        ("threshold", {"label": "dog"}, "give onset_threshold, offset_threshold or both"),
        ("threshold", {"label": "dog", "onset_threshold": 1.5}, "onset_threshold = 1.5"),
        ("threshold", {"label": "dog", "onset_threshold": float("nan")}, "onset_threshold"),
        ("explain", {"at": "2026-11-22T12:00:00"}, "at = '2026-11-22T12:00:00'"),
        ("explain", {}, "at: Field required"),
    ],
)
def test_what_is_wrong_is_answered_and_nothing_is_done(
    command: str, payload: bytes | dict[str, Any], told: str
) -> None:
    line = Line()
    answer = line.send(command, payload)
    assert not answer.ok
    assert told in answer.message
    assert len(answer.message) < 1000
    assert line.handler.asked == []


def test_a_retained_command_is_refused() -> None:
    line = Line()
    answer = line.send("reload", b"", retained=True)
    assert (answer.ok, line.handler.asked) == (False, [])
    assert "retain" in answer.message


def test_a_fault_of_ours_is_answered_too() -> None:
    line = Line()
    assert "log" in line.send("mute", {"source": "bug"}).message
    assert line.send("unmute", {}).ok


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("replies/me", "replies/me"),
        (None, f"{NODE}/response"),
        (f"{NODE}/command/mute", f"{NODE}/response"),
        (f"{NODE}/status", f"{NODE}/response"),
        ("detector/kitchen/hall/state/dog", f"{NODE}/response"),
    ],
)
def test_the_answer_goes_where_it_is_asked_to_but_nowhere_that_detectors_speak(
    asked: str | None, answered: str
) -> None:
    line = Line()
    line.send("unmute", {}, response_topic=asked, correlation=b"42")
    assert line.answers[0][:2] == (answered, b"42")


@given(st.sampled_from(["mute", "unmute", "threshold", "reload", "explain"]), st.binary())
def test_any_bytes_get_one_answer(command: str, payload: bytes) -> None:
    Line().send(command, payload)

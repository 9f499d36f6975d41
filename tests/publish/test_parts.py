"""The parts of the publisher that need no broker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.publish import topics
from detector.publish.mqtt.backoff import Backoff
from detector.publish.mqtt.rate_limited_log import RateLimitedLog
from detector.publish.mqtt.retained_values import RetainedValues
from detector.publish.outbox.entries import QueuedMessage
from detector.publish.outbox.memory import MemoryOutbox
from tests.publish.helpers import Logs, event, gap


def test_topics_are_those_of_the_contract() -> None:
    assert topics.node_status("site/a", "attic") == "site/a/attic/status"
    assert topics.stats("detector", "attic") == "detector/attic/stats"
    assert topics.source_status("detector", "attic", "hall") == "detector/attic/hall/status"
    assert topics.event("detector", "attic", "hall", "dog") == "detector/attic/hall/events/dog"
    assert topics.state("detector", "attic", "hall", "dog") == "detector/attic/hall/state/dog"
    assert topics.gaps("detector", "attic", "hall") == "detector/attic/hall/gaps"
    assert topics.scores("detector", "attic", "hall") == "detector/attic/hall/scores"


def test_memory_gives_up_its_oldest_when_it_is_full() -> None:
    outbox = MemoryOutbox(2)
    for sequence in (1, 2, 3):
        outbox.put(event(sequence), 0)
    assert (len(outbox), outbox.dropped) == (2, 1)
    assert waiting(outbox) == [2, 3]


def test_memory_is_bounded_in_bytes_too() -> None:
    outbox = MemoryOutbox(1000, 10_000)
    for sequence in range(1, 101):
        outbox.put(event(sequence, name="x" * 1000), 0)
    assert 5 < len(outbox) < 10
    assert len(outbox) + outbox.dropped == 100
    outbox.put(event(101, name="x" * 20_000), 0)
    assert waiting(outbox) == [101], "what is too large for itself is for the broker to judge"


def waiting(outbox: MemoryOutbox) -> list[int]:
    """Sequence numbers in the order in which they would be sent."""
    found: list[int] = []
    on_their_way: set[int] = set()
    while (oldest := outbox.oldest(besides=on_their_way)) is not None:
        on_their_way.add(oldest.ticket)
        found.append(oldest.message.sequence)
    return found


@given(st.lists(st.sampled_from(["put", "remove oldest", "remove newest", "next"]), max_size=60))
def test_memory_outbox_agrees_with_a_list(steps: list[str]) -> None:
    outbox, model, number, dropped = MemoryOutbox(5), list[int](), 0, 0
    on_their_way: set[int] = set()
    for step in steps:
        if step == "put":
            number += 1
            outbox.put(event(number), 0)
            model.append(number)
            if len(model) > 5:
                model.pop(0)
                dropped += 1
        elif step == "next":
            found = outbox.oldest(on_their_way)
            expected = next((n for n in model if n not in on_their_way), None)
            assert (found and found.ticket) == expected
            on_their_way |= {expected} if expected else set()
        elif model:
            outbox.remove(model.pop(0 if step == "remove oldest" else -1))
        assert len(outbox) == len(model)
    assert outbox.dropped == dropped


def test_message_that_waited_says_so_and_is_else_the_same() -> None:
    queued = QueuedMessage.of(event(7, name="Hündin"))
    assert queued.body == event(7, name="Hündin").to_json()
    assert queued.as_late() == queued.body.replace('"late": false', '"late": true')
    gone = QueuedMessage.of(gap())
    assert gone.as_late() == gone.body == gap().to_json()


def test_retained_value_is_told_once_and_only_the_newest() -> None:
    retained = RetainedValues()
    retained.set("a", "ON")
    assert retained.take() is None, "not due yet"
    retained.set("a", "OFF")
    retained.due("a")
    retained.due("a")
    assert retained.take() == ("a", "OFF")
    assert retained.take() is None
    retained.due("a")
    assert retained.take() is None, "the broker has it"


def test_all_retained_values_are_due_again_at_a_new_connection_in_their_order() -> None:
    retained = RetainedValues()
    for topic in ("status", "b", "a"):
        retained.set(topic, "x")
    retained.all_due()
    assert [retained.take(), retained.take(), retained.take()] == [
        ("status", "x"),
        ("b", "x"),
        ("a", "x"),
    ]
    retained.all_due()
    assert retained.take() == ("status", "x")


def test_unknown_topic_is_never_due() -> None:
    retained = RetainedValues()
    retained.due("nowhere")
    assert retained.take() is None


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    backoff = Backoff(0.5, 4.0)
    pauses = [backoff.next_s() for _ in range(2000)]
    for pause, longest in zip(pauses, (0.5, 1.0, 2.0, 4.0, 4.0), strict=False):
        assert longest / 2 <= pause <= longest
    assert max(pauses) <= 4.0
    assert len(set(pauses[3:])) > 1000, "machines must not all come back at once"
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_what_goes_on_is_said_once_then_as_a_reminder_with_its_count(logs: Logs) -> None:
    now = 0.0
    sparse = RateLimitedLog(lambda: now)
    for now in (0.0, 1.0, 2.0, 599.0, 600.0, 601.0):  # noqa: B007 - read by the clock
        sparse.say("warning", "no broker", "gone", port=1)
    assert [(e["level"], e.get("times_since_last_said")) for e in logs.entries] == [
        ("warning", None),
        ("debug", None),
        ("debug", None),
        ("debug", None),
        ("warning", 4),
        ("debug", None),
    ]


@pytest.mark.parametrize(("cause", "level"), [("no broker", "warning"), ("no", "debug")])
def test_forgotten_cause_is_news_again(cause: str, level: str, logs: Logs) -> None:
    sparse = RateLimitedLog(lambda: 0.0)
    sparse.say("warning", "no broker", "gone")
    sparse.forget(cause, "unknown")
    sparse.say("warning", "no broker", "gone")
    assert logs.entries[-1]["level"] == level


def test_only_so_many_causes_are_remembered(logs: Logs) -> None:
    sparse = RateLimitedLog(lambda: 0.0)
    for word in range(2000):
        sparse.say("warning", f"refused {word}", "refused")
    sparse.say("warning", "refused 1999", "refused")
    assert logs.entries[-1]["level"] == "debug"
    sparse.say("warning", "refused 0", "refused")
    assert logs.entries[-1]["level"] == "warning"
    assert len(sparse._said) == 1000

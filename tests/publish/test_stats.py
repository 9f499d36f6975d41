"""The counters of the service, as subscribers read them."""

import json

import jsonschema

from detector.publish.messages import json_schema
from detector.publish.stats_message import StatsMessage
from detector.stats import DeliveryStats, SourceStats, Stats


def test_stats_are_the_documented_object() -> None:
    source = SourceStats(status="silent", samples_heard=16_000, samples_not_finite=2, gaps=1)
    delivery = DeliveryStats(connected=True, queued_events=3, storage="the disk is full")
    told = StatsMessage.of(Stats(uptime_s=60, sources={"hall": source}, delivery=delivery))
    values = json.loads(told.to_json())
    assert values == {
        "uptime_s": 60,
        "queued_events": 3,
        "dropped_events": 0,
        "rejected_events": 0,
        "dead_letters": 0,
        "lost_events": 0,
        "unstored_events": 0,
        "storage": "the disk is full",
        "rejected_values": 0,
        "sources": {
            "hall": {
                "status": "silent",
                "samples_heard": 16_000,
                "samples_overrun": 0,
                "samples_not_finite": 2,
                "windows_skipped": 0,
                "windows_failed": 0,
                "windows_withheld": 0,
                "events": 0,
                "events_held": 0,
                "gaps": 1,
            }
        },
    }
    jsonschema.validate(values, json_schema(StatsMessage))

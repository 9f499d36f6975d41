"""Writes docs/events.schema.json from the code: run after a change of the messages."""

import json
from pathlib import Path

from detector.publish.commands.replies import AnswerMessage
from detector.publish.messages import json_schema
from detector.publish.stats_message import StatsMessage

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "docs" / "events.schema.json"


def text() -> str:
    return json.dumps(json_schema(AnswerMessage, StatsMessage), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {SCHEMA_FILE}")

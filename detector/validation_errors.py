"""What pydantic found wrong, in the words of the person who wrote the file."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_LONGEST = 100
"""Characters of a value that are shown."""

_PLAINLY = {
    "tuple_type": "must be a list",
    "is_instance_of": "must be text",
    "union_tag_not_found": "kind: Field required",
}
"""pydantic's words for these speak of Python."""


def describe_errors(error: "ValidationError", schema: "type[BaseModel]") -> list[str]:
    """A line for each mistake: field = value: what is wrong."""
    lines = []
    mistakes = error.errors(include_url=False)
    for mistake in mistakes:
        if mistake["type"] == "too_short" and _inner(mistake["loc"], mistakes):
            continue  # counts only what is right inside; the mistake itself is told by its name
        place, known = _follow(mistake["loc"], schema)
        where, value = ".".join(str(part) for part in place), mistake["input"]
        shown = _shown(where, value)
        message = mistake["msg"].removeprefix("Value error, ")
        message = _PLAINLY.get(mistake["type"], message)
        if mistake["type"] == "extra_forbidden":
            shown = ""  # it may be a secret in the wrong place
            message = "there is no such setting" + _suggestion(str(place[-1]), known)
        lines.append(f"{where}{shown}: {message}" if where else message)
    return lines


def _inner(location: tuple[str | int, ...], mistakes: "Sequence[ErrorDetails]") -> bool:
    """Whether there is a mistake in a part of what is at `location`."""
    return any(m["loc"][: len(location)] == location != m["loc"] for m in mistakes)


def _shown(field: str, value: object) -> str:
    """The value as it is best told: not if it is a table, or might be a secret; never at length."""
    items = value if isinstance(value, list | tuple) else ()
    if isinstance(value, Mapping) or any(isinstance(item, Mapping) for item in items):
        return ""
    if "password" in field.lower():
        return ""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return f" = {text}" if len(text) <= _LONGEST else f" = {text[:_LONGEST]}…"


def _suggestion(field: str, known: list[str]) -> str:
    close = difflib.get_close_matches(field, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""


def _follow(
    location: tuple[str | int, ...], schema: "type[BaseModel]"
) -> tuple[list[str | int], list[str]]:
    """The location as the person wrote it, and the fields of the table that it lies in.

    Where a table may be of several kinds, pydantic's location names the kind; the file does not.
    """
    found: Any = schema.model_json_schema()
    definitions = found.get("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401
        if "anyOf" in node:
            node = next((n for n in node["anyOf"] if "$ref" in n), node)
        return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node

    place: list[str | int] = []
    fields: list[str] = []
    for part in location:
        kinds = found.get("discriminator", {}).get("mapping", {})
        if part in kinds:
            found = resolve({"$ref": kinds[part]})
            continue
        place.append(part)
        fields = list(found.get("properties", {}))
        if isinstance(part, int):
            found = resolve(found.get("items", {}))
        elif part in found.get("properties", {}):
            found = resolve(found["properties"][part])
        else:
            named = found.get("patternProperties", {}).values()
            found = resolve(next(iter(named), found.get("additionalProperties") or {}))
    return place, fields

"""Looks into an ONNX file for weights that it keeps elsewhere, before a runtime follows them.

A runtime opens whatever path such a file names (CVE-2022-25882, CVE-2024-27318). The onnx package
could tell, but the detector should not need it to run; the few fields are read here directly.
Field numbers are those of onnx/onnx.proto, the encoding is protobuf's wire format.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detector.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_TENSOR: Final = "tensor"
# message -> field number -> the message inside; every way in which a tensor can be reached.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
}
_EXTERNAL_DATA: Final = 13  # of a tensor: repeated key and value
_DEEPEST: Final = 64


def external_data(path: Path) -> Iterator[str]:
    """Yield the location of every tensor that the ONNX file `path` keeps outside itself.

    Raises:
        BundleError: if the file is empty or not encoded as an ONNX file is.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            yield from _locations(data, 0, len(data), "model")
    except (IndexError, ValueError) as error:
        raise BundleError(f"{path}: is not an ONNX file: {error}") from None


def _locations(
    data: mmap.mmap, begin: int, end: int, message: str, depth: int = 0
) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("messages are nested too deeply")
    for number, first, last in _fields(data, begin, end):
        if message == _TENSOR and number == _EXTERNAL_DATA:
            entry = {key: bytes(data[a:b]) for key, a, b in _fields(data, first, last)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif child := _CHILDREN.get(message, {}).get(number):
            yield from _locations(data, first, last, child, depth + 1)


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, begin, end) of each length-delimited field; pass over the others."""
    while position < end:
        key, position = _varint(data, position)
        key &= 0xFFFFFFFF  # protobuf drops the rest, and so would see a field that we do not
        kind = key & 7
        if kind == _BYTES:
            length, position = _varint(data, position)
            if position + length > end:
                raise ValueError("a field is longer than what holds it")
            yield key >> 3, position, position + length
            position += length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_FIXED32, _FIXED64):
            position += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, position
    raise ValueError("a number is too long")

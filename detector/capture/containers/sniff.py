"""What kind of container bytes begin, by their first ones: a name says nothing."""

import re
from typing import Final

from detector.capture.containers.mpeg import adts_frame, follow_one_another, mp3_frame

HEAD_BYTES: Final = 8192
"""So many suffice. With fewer, what has no magic number (MP3, AAC, MPEG) may not be known."""

_SIGNATURES: Final = (
    ("wav", rb"(?:RIFF|RIFX|RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11"),
    ("flac", rb"fLaC"),
    ("ogg", rb"OggS\x00"),
    ("mov", rb"\x00\x00..(?:ftyp|moov|wide|free|skip)|....mdat"),
    ("matroska", rb"\x1a\x45\xdf\xa3"),
    ("asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("aiff", rb"FORM....AIF[FC]"),
    ("amr", rb"#!AMR(?:-WB)?\n"),
    ("caf", rb"caff\x00[\x01\x02]\x00\x00"),
    ("au", rb"\.snd\x00\x00"),
    ("avi", rb"RIFF....AVI "),
    ("flv", rb"FLV\x01"),
    ("wv", rb"wvpk"),
    ("voc", rb"Creative Voice File\x1a"),
    ("ape", rb"MAC "),
    ("tta", rb"TTA1"),
)
"""libavformat's name of a demuxer, and what it begins with."""
_MAGIC: Final = tuple((name, re.compile(magic, re.DOTALL)) for name, magic in _SIGNATURES)
_SYNCHRONISED: Final = 3
"""So many frames must follow one another where there is no magic number: two bytes that look like
a header stand in many a recording of bare samples."""
_TS_BYTES: Final = 188
FRAMES: Final = {"mp3": mp3_frame, "aac": adts_frame}
"""What has no container at all."""


def sniff(head: bytes) -> str | None:
    """Name the container that a recording or stream begins with, as libavformat calls its demuxer.

    Args:
        head: the first `HEAD_BYTES`, or all there is.

    Returns:
        None if it is none that is known: text, or samples without any header.
    """
    body = head[id3_bytes(head) :]
    for name, magic in _MAGIC:
        if magic.match(body):
            return name
    for name, read in FRAMES.items():
        if follow_one_another(body, 0, read, _SYNCHRONISED):
            return name
    if body != head:
        return "mp3"
    return "mpegts" if body[: 3 * _TS_BYTES : _TS_BYTES] == b"GGG" else None


def id3_bytes(head: bytes) -> int:
    """How long the ID3v2 tags are that stand before a recording (id3.org, ID3v2.4.0, 3.1)."""
    end = 0
    while (tag := head[end : end + 10])[:3] == b"ID3" and len(tag) == 10:  # noqa: PLR2004
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        end += 10 + size + (10 if tag[5] & 0x10 else 0)
    return end

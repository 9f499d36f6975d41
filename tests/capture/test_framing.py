import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.framing import (
    HEADER_BYTES,
    MAX_SIZE,
    FramingError,
    Header,
    Kind,
    StreamFormat,
    pack_error,
    pack_format,
    pack_header,
    payload_bytes,
    unpack_format,
    unpack_header,
)

u64 = st.integers(0, 2**64 - 1)
headers = st.builds(
    Header,
    st.sampled_from(Kind),
    u64,
    st.integers(-(2**63), 2**63 - 1),
    u64,
    st.integers(0, MAX_SIZE),
)


@given(headers)
def test_a_header_survives_the_pipe(header: Header) -> None:
    packed = pack_header(header)
    assert len(packed) == HEADER_BYTES
    assert unpack_header(packed) == header


@given(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_a_format_survives_the_pipe(rate: int, channels: int) -> None:
    record = pack_format(StreamFormat(rate, channels))
    header = unpack_header(record[:HEADER_BYTES])
    assert header.kind is Kind.FORMAT
    assert payload_bytes(header, channels=0) == len(record) - HEADER_BYTES
    assert unpack_format(record[HEADER_BYTES:]) == StreamFormat(rate, channels)


def test_an_error_carries_its_text() -> None:
    record = pack_error("kein Gerät")
    header = unpack_header(record[:HEADER_BYTES])
    assert header.kind is Kind.ERROR
    assert record[HEADER_BYTES:][: payload_bytes(header, channels=2)].decode() == "kein Gerät"


def test_audio_takes_four_bytes_a_sample() -> None:
    assert payload_bytes(Header(Kind.AUDIO, 0, 0, 0, 1600), channels=2) == 12_800


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_and_never_a_crash(data: bytes) -> None:
    with pytest.raises(FramingError):
        unpack_header(data)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda b: b"X" + b[1:], "begins with"),
        (lambda b: b[:4] + b"\x63" + b[5:], "no record of kind 99"),
        (lambda b: b[:-4] + b"\xff\xff\xff\xff", "too long"),
        (lambda b: b[:-1], "bytes"),
    ],
)
def test_a_damaged_header_is_refused_with_the_reason(damage: object, complaint: str) -> None:
    header = pack_header(Header(Kind.AUDIO, 0, 0, 0, 1600))
    with pytest.raises(FramingError, match=complaint):
        unpack_header(damage(header))  # type: ignore[operator]


@pytest.mark.parametrize("payload", [b"", b"\0" * 8, b"\x80\x3e\0\0\0\0\0\0", b"123"])
def test_a_format_that_makes_no_sense_is_refused(payload: bytes) -> None:
    with pytest.raises(FramingError):
        unpack_format(payload)

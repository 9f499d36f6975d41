"""Which frame of a FLAC recording comes next: its parser in libavcodec counts them instead."""

_HEADER_BYTES = 5


def first_frame(header: bytes, block_size: int) -> int | None:
    """The index of the first frame in a block (RFC 9639, section 9.1.5).

    Args:
        header: the block's first 11 bytes or more.
        block_size: frames in each block, if their number is fixed.
    """
    if len(header) < _HEADER_BYTES or header[0] != 0xFF or header[1] & 0xFC != 0xF8:  # noqa: PLR2004
        return None
    first = header[4]
    length = 0
    while first & 0x80 >> length:
        length += 1
    number = first & 0x7F >> length if length else first
    following = header[5 : 4 + max(1, length)]
    for byte in following:
        number = number << 6 | byte & 0x3F
    variable = header[1] & 1
    return number if variable else number * block_size

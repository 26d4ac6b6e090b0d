"""gzip and zstd around a message, told by their magic bytes and decompressed under a cap."""

from __future__ import annotations

import zlib

import zstandard

from lmdp.refusals import DECODE_TOO_LARGE, MALFORMED, Refused

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

# The largest window that zstd's own decoder takes without being told to; a frame may claim up to 3.75 TiB.
_ZSTD_WINDOW = 2**27

# How much compressed input is handed to zstd at a time: four bytes can stand for a block of 128 KiB, so that a bomb is
# noticed 32 MiB beyond the limit at most (RFC 8878, section 3.1.1.2).
_ZSTD_STEP = 1024


def decompress(value: bytes, limit: int) -> bytes:
    """`value` itself when it is not compressed, else what is in it: `limit` bytes at most.

    Raises Refused: Decode.TooLarge beyond `limit`, Decode.Malformed where the stream is broken or cut off.
    """
    if value.startswith(GZIP):
        return _members(value, limit)
    if value.startswith(ZSTD):
        return _frames(value, limit)
    return value


def _members(value: bytes, limit: int) -> bytes:
    parts, size = [], 0
    # A gzip stream is one member or more, and may be padded with zeros: RFC 1952, section 2.2; gzip(1).
    while value.rstrip(b"\0"):
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(value, limit - size + 1)
        except zlib.error as error:
            raise Refused(MALFORMED, f"gzip: {error}") from error
        size = _within(size + len(part), limit)
        parts.append(part)
        if not stream.eof:
            raise Refused(MALFORMED, "gzip: the stream ends before its end mark")
        value = stream.unused_data
    return b"".join(parts)


def _frames(value: bytes, limit: int) -> bytes:
    parts, size = [], 0
    while value:
        stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        try:
            for start in range(0, len(value), _ZSTD_STEP):
                part = stream.decompress(value[start : start + _ZSTD_STEP])
                size = _within(size + len(part), limit)
                parts.append(part)
                if stream.eof:
                    value = stream.unused_data + value[start + _ZSTD_STEP :]
                    break
        except zstandard.ZstdError as error:
            raise Refused(MALFORMED, f"zstd: {error}") from error
        if not stream.eof:
            raise Refused(MALFORMED, "zstd: the stream ends before its end mark")
    return b"".join(parts)


def _within(size: int, limit: int) -> int:
    if size > limit:
        raise Refused(DECODE_TOO_LARGE, f"decompressed it is larger than {limit:,} bytes")
    return size

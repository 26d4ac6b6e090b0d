"""Wrappings of a message: gzip and zstd, decompressed under a cap; white space and a byte order mark."""

from __future__ import annotations

import zlib

import zstandard

from lmdp.errors import DECODE_TOO_LARGE, MALFORMED, MessageError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"

# The largest window that zstd's own decoder takes by default; a frame may claim up to 3.75 TiB.
_ZSTD_WINDOW = 2**27

# How much compressed input is taken at a time, so that a bomb is noticed soon beyond the limit: in gzip a byte is
# for up to 1,032 (https://zlib.net/zlib_tech.html), in zstd four for 128 KiB (RFC 8878, section 3.1.1.2).
_GZIP_STEP = 16_384
_ZSTD_STEP = 1_024


def stripped(text: bytes) -> bytes:
    """Return the text without what may come before its first brace."""
    return text.lstrip(_BLANK).removeprefix(_BOM).lstrip(_BLANK)


def decompress(value: bytes, limit: int) -> bytes:
    """`value` itself when it is not compressed, else what is in it: `limit` bytes at most.

    Raises MessageError: Decode.TooLarge beyond `limit`, Decode.Malformed where the stream is broken or cut off.
    """
    if value.startswith(GZIP):
        # Members may be padded with zeros at the end: gzip(1).
        return _joined("gzip", value, limit, _GZIP_STEP, len(value.rstrip(b"\0")))
    if value.startswith(ZSTD):
        return _joined("zstd", value, limit, _ZSTD_STEP, len(value))
    return value


def _joined(name: str, value: bytes, limit: int, step: int, end: int) -> bytes:
    """The content of all members or frames, one after the other, up to `end`. Each byte is handed over once."""
    parts, size, at = [], 0, 0
    zstd = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        while at < end:
            stream = zlib.decompressobj(wbits=31) if name == "gzip" else zstd.decompressobj()
            while not stream.eof:
                chunk = value[at : at + step]
                if not chunk:
                    raise MessageError(MALFORMED, f"{name}: the stream ends before its end mark")
                part = stream.decompress(chunk)
                at += len(chunk) - len(stream.unused_data)
                size = _within(size + len(part), limit)
                parts.append(part)
    except (zlib.error, zstandard.ZstdError) as error:
        raise MessageError(MALFORMED, f"{name}: {error}") from error
    return b"".join(parts)


def _within(size: int, limit: int) -> int:
    if size > limit:
        reason = f"decompressed it is larger than {limit:,} bytes (limit: LMDP_MAX_DECOMPRESSED_BYTES)"
        raise MessageError(DECODE_TOO_LARGE, reason)
    return size

"""Estimate of the memory that a decoded message could take, from its bytes: some take a thousand times their size.

The estimates are on the safe side of what was measured (CPython 3.11, msgspec 0.22, protobuf 7.36): the worst that can
be made of an object, an element or a byte of text, with the datapoint failing and its reject being written.
"""

from __future__ import annotations

from typing import Any, Final

from lmdp.errors import DECODE_TOO_LARGE, MessageError

MEMORY: Final = 512 * 2**20
"""The memory that reading one message may take, in bytes, by default."""

_OBJECT: Final = 300  # bytes of memory for what begins with a brace
_ELEMENT: Final = 100  # for what ends with a comma
_CHARACTER: Final = 8  # for a byte of text, in which all are of one byte
_WIDE_CHARACTER: Final = 32  # in which some are of four, in JSON or in memory
_LENIENT: Final = 2  # what the second reader takes, times that of the first
_WORST_JSON: Final = _WIDE_CHARACTER + (_OBJECT + _ELEMENT) // len("{},") + 1

_MESSAGE: Final = 650  # for a message within a message
_PACKED: Final = 32  # for a byte of packed numbers
_WORST_PROTOBUF: Final = _WIDE_CHARACTER + _MESSAGE // 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # https://protobuf.dev/programming-guides/encoding/#structure


def check_json_memory(text: bytes, limit: int, *, lenient: bool = False) -> None:
    """Raise MessageError where `text` could take more than `limit` bytes of memory. Small texts are not scanned."""
    times = _LENIENT if lenient else 1
    if len(text) * _WORST_JSON * times <= limit:
        return
    width = _CHARACTER if text.isascii() and b"\\u" not in text else _WIDE_CHARACTER
    _within(times * (len(text) * width + text.count(b"{") * _OBJECT + text.count(b",") * _ELEMENT), limit)


def check_protobuf_memory(data: bytes, limit: int, kind: Any) -> None:
    """Raise MessageError where `data` could take more than `limit` bytes of memory. Small ones are not scanned.

    `kind` is the descriptor of what it is a message of. What is no protobuf passes: the reader says why.
    """
    if len(data) * _WORST_PROTOBUF <= limit:
        return
    estimate = len(data) * _WIDE_CHARACTER
    pending = [(0, len(data), kind)]
    try:
        while pending:
            at, end, kind = pending.pop()
            while at < end:
                _within(estimate, limit)
                tag, at = _varint(data, at)
                wire = tag & 7
                if wire == _BYTES:
                    size, at = _varint(data, at)
                    field = kind.fields_by_number.get(tag >> 3)
                    if field is not None and field.message_type is not None:
                        estimate += _MESSAGE
                        pending.append((at + size, end, kind))
                        end, kind = min(at + size, end), field.message_type
                    else:
                        estimate += size * _PACKED if _is_packed(field) else 0
                        at += size
                elif wire == _VARINT:
                    _, at = _varint(data, at)
                else:
                    at += {_FIXED64: 8, _FIXED32: 4}.get(wire, 0)
    except IndexError:
        return


def _is_packed(field: Any) -> bool:
    return field is not None and bool(field.is_packed)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise IndexError("longer than a varint may be")


def _within(estimate: int, limit: int) -> None:
    if estimate > limit:
        reason = f"to read it could take more than {limit:,} bytes of memory (limit: LMDP_MAX_MESSAGE_MEMORY)"
        raise MessageError(DECODE_TOO_LARGE, reason)

"""Messages that nobody should send: real ones, broken in a way that a seed and a number name.

`Corpus.message(seed, number)` is the same bytes on every machine, so that whatever fails can be sent again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import zstandard
from hypothesis import HealthCheck, Phase, given, settings

import strategies
from lmdp.machine.simulation.collectors import Simulation

FOLDER = Path(__file__).parents[1] / "tests" / "fixtures" / "otlp"
_LONGEST = 24_000  # bytes; a long message is only slower

# What stands in the place of a JSON value, and of text within one.
VALUES = [
    *("null", "true", "false", "0", "-0", "-0.0", "1", "-1", "0.5", "1e3", "1E+3", "1e400", "-1e400", "1e-400"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9007199254740993"),
    *("18446744073709551615", "18446744073709551616", "1e19", "5e-324", "1.5e1", "9" * 30),
    *("9" * 400, "1e999999999", "1e-999999999", "0." + "0" * 330 + "1", "[]", "{}", "[[]]", "[{}]", "[null]", '{"":0}'),
    *('{"stringValue":"x"}', '{"values":[]}', '{"kvlistValue":{"values":[{"key":"a"}]}}', '{"doubleValue":"NaN"}'),
    *('{"intValue":"1","stringValue":null}', '{"intValue":"1","doubleValue":2}', '"1e3"', '"1e999999999"', '"="'),
    *('""', '"0"', '"-1"', '"1.5"', '"NaN"', '"Infinity"', '"-Infinity"', '"nan"', '"inf"', '"0x10"', '"+5"', '" 5"'),
    *('"9223372036854775808"', '"18446744073709551615"', '"1715263558360000000"', '"253402300800000000000"'),
    *('"9999999999999999999"', '"1715263558360"', '"AGGREGATION_TEMPORALITY_DELTA"', '"\\u0000"', '"\\u0065poch"'),
    *('"\\ud83d\\ude00"', '"AAH_"', '"\u2028"', '"\ufeff"', '"\U0010ffff"', '"otlp.intValue"', '"le"', '"orgId"'),
    *('"hostId"', '"x" ', '"\x7f"', '"\\uffff"', '"' + "y" * 5000 + '"', '"\U0001f600"', '"é"', '"\\/"'),
]  # fmt: skip
NO_VALUES = [
    *("00", "01", "+1", "1.", ".5", "0x10", "1_000", "NaN", "Infinity", "-Infinity", "-", "1e", "tru", "nul", ""),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\x01"', '"\n"', '"\x00"', '"\\x41"', '"\\u12"', '"\ud800"', "[1,]", "{,}"),
    *('{"a" 1}', "{1:1}", "[1 2]", '"a" "b"', "/**/1", "1 // 2", "\u00a01", "\ufeff1", "'x'"),
]  # fmt: skip
BYTES = [
    *(b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"),
    *(b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\t", b" ", b"\\u0000", b"\\ud800", b"/*", b"//"),
    *(b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\x0a\x00", b"\x12\x00", b"\x0a\x7b", b"\x08\x01", b"\x0b", b"\x0c"),
    *(b"\x0f", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b'"resourceMetrics":'),
]  # fmt: skip
_NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)]
_DOUBLES = [0.0, -0.0, 5e-324, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"), 0.1]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Messages as they come, in both forms."""

    texts: list[bytes]
    binaries: list[bytes]

    def message(self, seed: int, number: int) -> bytes:
        """Message `number` of `seed`: one of these, mostly broken once or more, now and then compressed."""
        chance = random.Random(seed * 1_000_003 + number)
        value = self._broken(chance)
        if chance.random() < 0.7:
            return value
        packed = _packed(value, chance)
        return _bytes_broken(packed, chance, self.texts) if chance.random() < 0.3 else packed

    def _broken(self, chance: random.Random) -> bytes:
        binary = chance.random() < 0.4
        own = self.binaries if binary else self.texts
        value = chance.choice(own)
        ways = _BINARY if binary else _TEXT
        for _ in range(chance.choice((0, 1, 1, 1, 1, 1, 2, 2, 4))):
            value = chance.choice(ways)(value, chance, own)[: 4 * _LONGEST]
        return value


def corpus() -> Corpus:
    """The fixtures, a simulated poll of each DataSource, generated bundles, and what LMDP_CORPUS names a folder of."""
    folders = [FOLDER, *([Path(os.environ["LMDP_CORPUS"])] if "LMDP_CORPUS" in os.environ else [])]
    texts = [
        path.read_bytes() for folder in folders for path in sorted(folder.glob("*.json")) if "row" not in path.stem
    ]
    texts += [message.value for message in islice(Simulation(6, 8).polls(1_715_263_558_360), 48)]
    made = _generated(200)
    bundles = [json.loads(text) for text in texts] + made
    texts += [json.dumps(bundle, ensure_ascii=n % 2 == 0).encode() for n, bundle in enumerate(made)]
    texts += [strategies.respelled(bundle, n) for n, bundle in enumerate(made[::3])]
    binaries = []
    for bundle in bundles:
        try:
            binaries.append(strategies.protobuf(bundle))
        except Exception:  # noqa: BLE001 - a fixture in a spelling that protobuf's own reader does not take
            continue
    return Corpus([text for text in texts if len(text) <= _LONGEST], [one for one in binaries if len(one) <= _LONGEST])


def _generated(count: int) -> list[Any]:
    """The first bundles of the property tests' strategy: the same each time."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.BUNDLE)
    def gather(bundle: Any) -> None:
        found.append(bundle)

    gather()
    return found


def _packed(value: bytes, chance: random.Random) -> bytes:
    """`value` as gzip or zstd, in one piece, two, or twice over."""
    pack: Callable[[bytes], bytes] = chance.choice(
        (lambda data: gzip.compress(data, 1, mtime=0), zstandard.ZstdCompressor(level=1).compress, _streamed)
    )
    way = chance.random()
    if way < 0.7:
        return pack(value)
    if way < 0.9:
        at = chance.randint(0, len(value))
        return pack(value[:at]) + pack(value[at:])
    return pack(pack(value))


def _streamed(value: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    return bytes(compressor.compress(value) + compressor.flush())


# --- on bytes, whatever they are --------------------------------------------------------------------------------------


def _span(value: bytes, chance: random.Random, most: int = 64) -> tuple[int, int]:
    start = chance.randint(0, len(value))
    return start, min(len(value), start + chance.randint(0, most))


def _flipped(value: bytes, chance: random.Random, _others: list[bytes]) -> bytes:
    if not value:
        return value
    changed = bytearray(value)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(value: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    return value[: chance.randint(0, len(value))]


def _removed(value: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    start, end = _span(value, chance)
    return value[:start] + value[end:]


def _repeated(value: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    start, end = _span(value, chance, 400)
    return value[:end] + value[start:]


def _inserted(value: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randint(0, len(value))
    return value[:at] + chance.choice((chance.choice(BYTES), chance.randbytes(chance.randint(1, 9)))) + value[at:]


def _spliced(value: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return value[: chance.randint(0, len(value))] + other[chance.randint(0, len(other)) :]


def _bytes_broken(value: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    return chance.choice(_ANY)(value, chance, others)


# --- on JSON ---------------------------------------------------------------------------------------------------------


_SLOT = "\ue000slot"  # a place where JSON text is written as it is


def _on_tree(change: Callable[[Any, random.Random], str]) -> Callable[[bytes, random.Random, list[bytes]], bytes]:
    """A change of one place in the document; of the bytes, where it is none any more."""

    def mutate(value: bytes, chance: random.Random, others: list[bytes]) -> bytes:
        try:
            tree = json.loads(value.decode("utf-8-sig"))
            places = list(_places(tree))
            parent, key = chance.choice(places or [([0], 0)])
            there, parent[key] = parent[key], _SLOT
            written = json.dumps(tree, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
            into = change(there, chance).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return _bytes_broken(value, chance, others)
        return written.replace(json.dumps(_SLOT).encode(), into).replace(f'"{_SLOT}"'.encode(), into)

    return mutate


def _places(tree: Any) -> Any:
    """Everything in the document that can be replaced, as (container, key)."""
    pending = [tree]
    while pending:
        value = pending.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in inner:
            yield value, key
            pending.append(item)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _replaced(_: Any, chance: random.Random) -> str:
    return chance.choice(VALUES if chance.random() < 0.93 else NO_VALUES)


def _respelled(value: Any, chance: random.Random) -> str:
    """The same in another type: text for a number, a number for text, a value for a list of one."""
    ways: list[Any] = [str(value) if not isinstance(value, dict | list) else _text(value), [value], {"values": [value]}]
    if isinstance(value, str):
        ways += [chance.choice(("\x00", "\ud800", "é", "😀", "\ufffe")) + value] * 2
        if chance.random() < 0.3:
            return value or "0"
    if isinstance(value, list):
        ways += [value[0] if value else None, value * 3, value[::-1], [*value, None], [None, *value]]
    return _text(chance.choice(ways))


def _deep(value: Any, chance: random.Random) -> str:
    """Nested, in a way that OTLP has or in one that it has not."""
    levels = chance.choice((2, 20, 40, 70, 200, 1200))
    before, after = chance.choice(
        (
            ("[", "]"),
            ('{"a":', "}"),
            ('{"arrayValue":{"values":[', "]}}"),
            ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}"),
        )
    )
    return before * levels + _text(value) + after * levels


def _with_repeats(value: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A key given once more, with another value, before or after the one that was there."""
    keys = [at for at, byte in enumerate(value) if byte == 0x22]
    if len(keys) < 2:
        return _bytes_broken(value, chance, others)
    at = chance.choice(keys)
    end = value.find(b'"', at + 1)
    key = value[at : end + 1]
    if end < 0 or value[end + 1 : end + 3].strip()[:1] != b":":
        return _bytes_broken(value, chance, others)
    return value[:at] + key + b":" + _replaced(None, chance).encode("utf-8", "surrogatepass") + b"," + value[at:]


# --- on protobuf -----------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while True:
        byte, number = number & 127, number >> 7
        out.append(byte | (128 if number else 0))
        if not number:
            return bytes(out)


def _field(chance: random.Random) -> bytes:
    """A field as it could be anywhere, well formed or nearly."""
    number, wire = chance.randint(1, 16), chance.choice((0, 1, 2, 2, 2, 3, 4, 5, 7))
    tag = _varint(number << 3 | wire)
    if wire == 0:
        return tag + _varint(chance.choice(_NUMBERS))
    if wire == 1:
        return tag + struct.pack("<d", chance.choice(_DOUBLES))
    if wire == 5:
        return tag + chance.randbytes(4)
    if wire == 2:
        inner = (
            b"" if chance.random() < 0.4 else chance.choice((_field(chance), chance.randbytes(chance.randint(1, 12))))
        )
        claimed = len(inner) if chance.random() < 0.8 else chance.choice((len(inner) + 1, 2**31, 2**63))
        return tag + _varint(claimed) + inner
    return tag


def _with_field(value: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A field put in somewhere, with the lengths around it made right again where that can be done."""
    parts = list(_parts(value, 0, len(value), ()))
    if not parts:
        return value + _field(chance)
    where = chance.choice(parts)
    return _rebuilt(value, where, _field(chance), chance)


def _parts(data: bytes, at: int, end: int, above: tuple[int, ...]) -> Any:
    """The places of length-delimited fields, nested: (where each one's tag is, from the outermost in)."""
    while at < end and len(above) < 9:
        start, (tag, at) = at, _read(data, at)
        wire = tag & 7
        if wire == 2:
            size, at = _read(data, at)
            if at + size > end:
                return
            yield (*above, start)
            if size > 3:
                yield from _parts(data, at, at + size, (*above, start))
            at += size
        elif wire == 0:
            _, at = _read(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            return


def _read(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            break
    return number, at


def _rebuilt(data: bytes, where: tuple[int, ...], field: bytes, chance: random.Random) -> bytes:
    """`data` with `field` at the end of, or instead of, the content of the innermost part."""
    start, rest = where[0], where[1:]
    tag, at = _read(data, start)
    size, at = _read(data, at)
    content = data[at : at + size]
    if rest:
        inner = tuple(place - at for place in rest)
        content = _rebuilt(content, inner, field, chance)
    else:
        content = chance.choice((content + field, field, field + content, content + content))
    return data[:start] + _varint(tag) + _varint(len(content)) + content + data[at + size :]


_ANY = (_flipped, _cut, _removed, _repeated, _inserted, _spliced)
_TREE = tuple(_on_tree(change) for change in (*[_replaced] * 6, *[_respelled] * 4, _deep))
_TEXT = (*_ANY, *_TREE * 3, *[_with_repeats] * 4)
_BINARY = (*_ANY, *[_with_field] * 12)

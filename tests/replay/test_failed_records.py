"""Objects of failures, however they are written."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from lmdp.errors import UnreadableObjectError
from lmdp.support.failed_records import FailedRecord, Unparseable, failed, packed, read, unpacked
from replay.failures import NOW, firehose_record, message, rejects
from running import bundle

ONE, TWO = firehose_record(b'{"n":1}'), firehose_record(b'{"n":2}')


def text(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()


def raws(content: bytes) -> list[bytes]:
    """What is read: raw data, or the piece that was no failure."""
    return [piece.raw if isinstance(piece, FailedRecord) else b"? " + piece.content for piece in read(content)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b" \n\n\r\n", []),
        (text(ONE) + b"\n" + text(TWO) + b"\n", [b'{"n":1}', b'{"n":2}']),
        (text(ONE) + text(TWO), [b'{"n":1}', b'{"n":2}']),
        (b"\xef\xbb\xbf" + text(ONE) + b"\r\n\x00" + text(TWO), [b'{"n":1}', b'{"n":2}']),
        (json.dumps(ONE, indent=2).encode() + text(TWO), [b'{"n":1}', b'{"n":2}']),
        (text(ONE) + b"\nhalf a li\n" + text(TWO), [b'{"n":1}', b"? half a li", b'{"n":2}']),
        (text(ONE) + b"\n" + text(TWO)[:-3], [b'{"n":1}', b"? " + text(TWO)[:-3]]),
        (b'\xff\xfe{"rawData"\n' + text(ONE), [b'? \xff\xfe{"rawData"', b'{"n":1}']),
        (b'{"rawData": "no base64!"}', [b'? {"rawData": "no base64!"}']),
        (b'{"rawData": 7} [1] true', [b'? {"rawData": 7}', b"? [1] true"]),
        (b"[" * 100_000, [b"? " + b"[" * 100_000]),
        (b"1" * 5_000, [b"? " + b"1" * 5_000]),
    ],
    ids=range(13),
)
def test_reading(content: bytes, expected: list[bytes]) -> None:
    """Objects one a line or one behind the other; what is none is kept as it was, and nothing raises."""
    assert raws(content) == expected


@pytest.mark.parametrize(
    "piece", [b"[1,\n", b"\xff\n", b'{"a":\n', b'{"a": [\n', b'{"rawData": "x",\n', b"9" * 5_000 + b"\n"]
)
def test_reading_takes_work_in_proportion(piece: bytes) -> None:
    """What cannot be read costs as much as it is long: the characters that failing attempts look at are bounded."""
    content = piece * (400_000 // len(piece)) + text(ONE) + b"\n"
    assert raws(content)[-1] == b'{"n":1}'


def test_gzip() -> None:
    """Gzip, of one member or several, is seen by its first bytes; a damaged one is left alone."""
    zipped = gzip.compress(text(ONE)) + gzip.compress(text(TWO))
    assert raws(unpacked(zipped)) == [b'{"n":1}', b'{"n":2}']
    assert unpacked(b"{}") == b"{}"
    for damaged in (zipped[:-9], zipped[:40], b"\x1f\x8b\x08\x00"):
        with pytest.raises(UnreadableObjectError, match="damaged or was cut short"):
            unpacked(damaged)


@pytest.mark.parametrize("like", [b"", gzip.compress(b"")])
def test_writing(like: bytes) -> None:
    """What is left is read as it was written, compressed where the object was."""
    content = packed([ONE, Unparseable(b"\xffodd"), TWO], like)
    assert content.startswith(like[:2])
    assert raws(unpacked(content)) == [b'{"n":1}', b"? \xffodd", b'{"n":2}']


def test_ours(tmp_path: Path) -> None:
    """A reject says which message it is, so that it is that message again."""
    (path,) = rejects(tmp_path, message(bundle(1), 5))
    (piece,) = read(unpacked(path.read_bytes()))
    assert isinstance(piece, FailedRecord)
    assert (piece.place, piece.key) == (("lm.metrics.otlp", 0, 5, 1_770_000_000_005), b"key")
    assert piece.envelope["arrivalTimestamp"] == NOW


def envelope(**source: object) -> FailedRecord:
    """A reject with this source."""
    found = failed({"rawData": base64.b64encode(b"x").decode(), "source": source})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ({"topic": "t", "partition": 0, "offset": 0}, True),
        ({"topic": "t", "partition": -1, "offset": 0}, False),
        ({"topic": "t", "partition": 0, "offset": -1}, False),
        ({"topic": "", "partition": 0, "offset": 0}, False),
        ({"topic": "t", "partition": "0", "offset": 0}, False),
        ({"topic": "t", "partition": True, "offset": 2**70}, False),
        ({}, False),
    ],
)
def test_identity(source: dict[str, object], known: bool) -> None:
    """A failure of unknown place is not told from its copies."""
    assert (envelope(**source).identity is not None) is known

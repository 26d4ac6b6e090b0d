"""Messages out of files and standard input."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from lmdp.errors import LmdpError
from lmdp.support.input_files import read_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = b'{"a":1}\n\n  \t\r\n{"b":2}\r\n{"c":3}'
MESSAGES = [b'{"a":1}', b'{"b":2}', b'{"c":3}']
REQUEST = b'{"resourceMetrics":[{}]}'
PRETTY = b'{\n"resourceMetrics":[\n{}\n]\n}\n'


def zstd(data: bytes) -> bytes:
    """Compress as one frame."""
    return zstandard.compress(data)


@pytest.mark.parametrize(
    ("name", "content", "values"),
    [
        ("a.jsonl", LINES, MESSAGES),
        ("a.ndjson", LINES, MESSAGES),
        ("A.JSONL", LINES, MESSAGES),
        ("a.jsonl.gz", gzip.compress(LINES), MESSAGES),
        ("a.ndjson.gz", gzip.compress(LINES[:5]) + gzip.compress(LINES[5:]), MESSAGES),
        ("a.ndjson.zst", zstd(LINES), MESSAGES),
        ("a.jsonl.zst", zstd(LINES[:5]) + zstd(LINES[5:]), MESSAGES),
        ("a.jsonl", b"", []),
        ("a.jsonl", b"\n \n", []),
        ("a.jsonl.gz", b"", []),
        ("a.json", LINES, [LINES]),
        # lines of requests under another name, as the Collector's file exporter writes them
        ("a.json", REQUEST + b"\n" + REQUEST + b"\r\n", [REQUEST, REQUEST]),
        ("metrics", REQUEST + b"\n\n" + PRETTY, [REQUEST, *PRETTY.split(b"\n")[:-1]]),
        ("a.json", b'{"resource_metrics":[]}\nx', [b'{"resource_metrics":[]}', b"x"]),
        ("a.json", b'{"resourceLogs":[]}\n' + REQUEST, [b'{"resourceLogs":[]}', REQUEST]),
        # one message
        ("a.json", REQUEST + b"\n \r\n", [REQUEST + b"\n \r\n"]),
        ("a.json", PRETTY, [PRETTY]),
        ("a.json", REQUEST + REQUEST, [REQUEST + REQUEST]),
        ("a.json", PRETTY + PRETTY, [PRETTY + PRETTY]),
        ("a.json", b"\n" + REQUEST + b"\n" + REQUEST, [b"\n" + REQUEST + b"\n" + REQUEST]),
        ("a.json", b'{"resourceMetrics":1}x\n{}', [b'{"resourceMetrics":1}x\n{}']),
        ("a.json.gz", gzip.compress(LINES, mtime=0), [gzip.compress(LINES, mtime=0)]),
        ("bundle", b"\x0a\x00\n\x0a", [b"\x0a\x00\n\x0a"]),
        ("empty.json", b"", [b""]),
    ],
)
def test_the_name_says_how_messages_are_told_apart(
    tmp_path: Path, name: str, content: bytes, values: list[bytes]
) -> None:
    """Line files, and those whose first line is a request, hold a message a line; any other file is one message."""
    (tmp_path / name).write_bytes(content)
    messages = list(read_messages(tmp_path / name))
    assert [m.value for m in messages] == values
    assert [(m.topic, m.partition, m.offset, m.timestamp) for m in messages] == [
        (name, 0, n, None) for n in range(len(values))
    ]


def test_standard_input_holds_a_message_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash reads standard input, whatever its form."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES)))
    messages = list(read_messages("-"))
    assert [m.value for m in messages] == MESSAGES
    assert {m.topic for m in messages} == {"stdin"}


def test_a_pipe_hands_a_line_on_before_it_ends() -> None:
    """A message is there as soon as its line is, though the writer goes on."""
    program = "from lmdp.support.input_files import read_messages\n"
    program += "for m in read_messages('-'): print(m.value.decode(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin
        assert reader.stdout
        reader.stdin.write(b'{"a":1}\n')
        reader.stdin.flush()
        assert reader.stdout.readline() == b'{"a":1}\n'
        reader.stdin.close()
        assert reader.wait(30) == 0


@pytest.mark.parametrize(
    ("name", "content", "begins"),
    [
        ("a.jsonl.gz", lambda: gzip.compress(LINES * 9)[:-9], "truncated"),
        ("a.jsonl.gz", lambda: LINES, "is damaged"),
        ("a.jsonl.gz", lambda: gzip.compress(LINES)[:12] + b"\xff\xff\xff\xff", "is damaged"),
        ("a.jsonl.zst", lambda: zstd(os.urandom(9000))[:-5], "truncated"),
        ("a.jsonl.zst", lambda: zstd(LINES) + zstd(LINES)[:4], "truncated"),
        ("a.jsonl.zst", lambda: LINES, "is damaged"),
    ],
)
def test_damaged_compression_is_told(tmp_path: Path, name: str, content: Callable[[], bytes], begins: str) -> None:
    """A file that is cut short or is not what its name says never passes for a shorter one."""
    (tmp_path / name).write_bytes(content())
    with pytest.raises(LmdpError, match=begins) as error:
        list(read_messages(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)


def test_the_messages_before_the_damage_are_read(tmp_path: Path) -> None:
    """Reading is lazy: what stands before a broken second frame comes out first."""
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(b"{}\n{}\n") + b"no frame")
    read = read_messages(tmp_path / "a.jsonl.zst")
    assert [next(read).value, next(read).value] == [b"{}", b"{}"]
    with pytest.raises(LmdpError, match="damaged"):
        next(read)


def test_a_file_that_is_not_there_or_is_a_folder_is_told(tmp_path: Path) -> None:
    """Each says what is wrong with it, and names the path."""
    with pytest.raises(LmdpError, match=r"none\.json does not exist"):
        list(read_messages(tmp_path / "none.json"))
    with pytest.raises(LmdpError, match="is a folder"):
        list(read_messages(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(LmdpError, match="could not be read: Not a directory"):
        list(read_messages(tmp_path / "file" / "a.json"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    """Missing rights are named as such."""
    (tmp_path / "a.json").touch(mode=0o000)
    with pytest.raises(LmdpError, match="may not be read"):
        list(read_messages(tmp_path / "a.json"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_message_beyond_the_limit_ends_the_reading(tmp_path: Path, name: str) -> None:
    """One endless line cannot fill the memory, compressed or not."""
    packed = {"gz": gzip.compress, "zst": zstd}.get(name.rpartition(".")[2], bytes)
    (tmp_path / name).write_bytes(packed(b" " * (2**20 + 2**19)))
    with pytest.raises(LmdpError, match="more than 1 MiB"):
        list(read_messages(tmp_path / name, longest=2**20))


def test_many_lines_pass_whatever_the_pieces_they_come_in(tmp_path: Path) -> None:
    """Lines longer and shorter than a read come out whole and in order."""
    lines = [b'{"n":%d,"fill":"%s"}' % (n, b"x" * (n * 137 % 4001)) for n in range(500)] + [b"y" * 700_000]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(b"\n".join(lines)))
    assert [m.value for m in read_messages(tmp_path / "a.jsonl.gz")] == lines
    assert [m.value for m in read_messages(tmp_path / "a.jsonl.zst")] == lines

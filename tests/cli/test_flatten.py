"""`lmdp flatten` as a person runs it."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING

import pytest
import zstandard

from running import bundle, call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = b"\n".join(bundle(number) for number in range(3))


def _instances(out: str) -> list[str]:
    return [json.loads(line)["instance"] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.ndjson", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", zstandard.compress),
        ("-", bytes),
    ],
)
def test_rows_come_out_whatever_the_lines_came_in(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    """Plain, compressed and standard input give the same rows, as NDJSON, and nothing on standard error."""
    if name != "-":
        (tmp_path / name).write_bytes(pack(LINES))
    ended = call("flatten", "--org-id", "acme", name, folder=tmp_path, given=LINES)
    assert (ended.code, ended.err) == (0, "")
    assert _instances(ended.out) == ["i-0", "i-1", "i-2"]


def test_rejects_and_report_are_files(tmp_path: Path) -> None:
    """What was rejected stands in one file, the counts in another, and they add up."""
    (tmp_path / "a.jsonl").write_bytes(bundle(1) + b"\n{broken\n" + bundle(2, tenant="theirs"))
    ended = call("flatten", "a.jsonl", "--rejects", "r.jsonl", "--report", "report.json", folder=tmp_path)
    assert ended.code == 0
    assert _instances(ended.out) == ["i-2"]
    assert "2 of 3 messages rejected" in ended.err
    assert "kept in r.jsonl" in ended.err
    rejects = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [reject["errorCode"] for reject in rejects] == ["Row.MissingField", "Decode.Malformed"]
    assert "LMDP_ORG_ID is not set" in rejects[0]["errorMessage"]
    assert base64.b64decode(rejects[1]["rawData"]) == b"{broken"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["messages"], report["rows"], report["rejectedMessages"]) == (3, 1, 2)
    assert report["bytesOut"] == len(ended.out.strip().encode())


def test_strict_fails_on_a_reject_and_only_then(tmp_path: Path) -> None:
    """--strict ends with 1 when anything was rejected; the rows still come."""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl").write_bytes(LINES + b"\n{")
    assert call("flatten", "--strict", "--org-id", "a", "a.jsonl", folder=tmp_path).code == 0
    ended = call("flatten", "--strict", "--org-id", "a", "b.jsonl", folder=tmp_path)
    assert (ended.code, len(ended.out.splitlines())) == (1, 3)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["none.json"], 2, "none.json does not exist"),
        (["."], 2, ". is a folder"),
        (["a.jsonl/b.json"], 2, "Not a directory"),
        (["cut.jsonl.gz"], 1, "cut.jsonl.gz is damaged or truncated"),
        (["no.jsonl.gz"], 1, "no.jsonl.gz is damaged"),
        (["-", "-"], 2, "- is named more than once"),
        (["a.jsonl", "--rejects", "a.jsonl"], 2, "--rejects a.jsonl would overwrite"),
        (["a.jsonl", "--report", "./a.jsonl"], 2, "--report a.jsonl would overwrite"),
        (["a.jsonl", "--rejects", "x", "--report", "x"], 2, "name the same file"),
        (["a.jsonl", "--rejects", "a.jsonl/x"], 3, "cannot write a.jsonl/x: Not a directory"),
        (["a.jsonl", "--report", "."], 3, "cannot write .: Is a directory"),
    ],
)
def test_bad_input_is_told(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    """One message each, and the bundles are as they were."""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(LINES)[:-9])
    (tmp_path / "no.jsonl.gz").write_bytes(LINES)
    ended = call("flatten", "--org-id", "a", *words, folder=tmp_path)
    assert ended.code == code
    assert ended.err.startswith("lmdp: ")
    assert told in ended.err
    assert (tmp_path / "a.jsonl").read_bytes() == LINES

"""Rejects at rest: names, content, and files in a folder."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lmdp import Reject
from lmdp.core.rejects import envelope
from lmdp.errors import DiskFullError, UnreachableError
from lmdp.support.reject_files import reject_files, write_to_folder

NOW = 1_795_000_000_000  # 2026-11-18


def reject(offset: int, **changes: Any) -> Reject:
    """A reject of this offset."""
    given = {"topic": "lm.metrics.otlp", "partition": 2, "timestamp": 1_770_000_000_000, "raw": b"raw", **changes}
    return Reject(code="Decode.Malformed", message="why", offset=offset, key=None, **given)


# Digests of b"raw", and of three of them.
ONE, THREE = "d7439bee24773bcb", "22a5283acd06101f"  # pragma: allowlist secret


def names(*rejects: Reject) -> list[str]:
    """The names of their objects."""
    return [file.name for file in reject_files(rejects, NOW)]


@pytest.mark.parametrize(
    ("rejects", "expected"),
    [
        ([], []),
        ([reject(5)], [f"year=2026/month=02/day=02/lm.metrics.otlp-2-5-5.{ONE}.ndjson.gz"]),
        ([reject(9), reject(5), reject(7)], [f"year=2026/month=02/day=02/lm.metrics.otlp-2-5-9.{THREE}.ndjson.gz"]),
        (
            [reject(5), reject(6, partition=3)],
            [
                f"year=2026/month=02/day=02/lm.metrics.otlp-2-5-5.{ONE}.ndjson.gz",
                f"year=2026/month=02/day=02/lm.metrics.otlp-3-6-6.{ONE}.ndjson.gz",
            ],
        ),
        ([reject(5, timestamp=None)], [f"year=2026/month=11/day=18/lm.metrics.otlp-2-5-5.{ONE}.ndjson.gz"]),
        ([reject(5, timestamp=2**62)], [f"year=2026/month=11/day=18/lm.metrics.otlp-2-5-5.{ONE}.ndjson.gz"]),
        ([reject(5, topic="a/../b c")], [f"year=2026/month=02/day=02/a%2F..%2Fb%20c-2-5-5.{ONE}.ndjson.gz"]),
        ([reject(5, topic=".hidden")], [f"year=2026/month=02/day=02/%2Ehidden-2-5-5.{ONE}.ndjson.gz"]),
        ([reject(5, topic="\ud800")], [f"year=2026/month=02/day=02/%3F-2-5-5.{ONE}.ndjson.gz"]),
        (
            [reject(5, topic="t" * 249)],
            ["year=2026/month=02/day=02/" + "t" * 150 + f"~b401e3644885f679-2-5-5.{ONE}.ndjson.gz"],
        ),
    ],
)
def test_a_name_says_what_is_in_it(rejects: list[Reject], expected: list[str]) -> None:
    """The name follows from topic, partition, offsets and Kafka's time, so that a second try overwrites the first."""
    assert names(*rejects) == expected


def test_other_records_of_the_same_place_do_not_overwrite_these() -> None:
    """A topic that was made anew has the same offsets, and a record may not say where it comes from."""
    for place in ({}, {"topic": "", "partition": -1}):
        one, other = (reject(5, raw=raw, **place) for raw in (b"a", b"b"))
        assert names(one) != names(other)
        assert names(one) == names(one)


def test_content() -> None:
    """One envelope of the contract a line; the same rejects at the same time are the same bytes."""
    rejects = [reject(6, raw=b"\xff"), reject(5)]
    (file,) = reject_files(rejects, NOW)
    assert file == next(reject_files(rejects, NOW))
    lines = gzip.decompress(file.content).splitlines(keepends=True)
    assert [json.loads(line)["source"]["offset"] for line in lines] == [5, 6]
    assert json.loads(lines[0]) == envelope(reject(5), NOW)
    assert all(line.endswith(b"\n") for line in lines)


def test_a_folder(tmp_path: Path) -> None:
    """The files are below the folder, written again by the same batch, and nothing else is left there."""
    for _ in range(2):
        (path,) = write_to_folder(tmp_path / "rejects", [reject(5)], NOW)
    assert path == tmp_path / f"rejects/year=2026/month=02/day=02/lm.metrics.otlp-2-5-5.{ONE}.ndjson.gz"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert json.loads(gzip.decompress(path.read_bytes())) == envelope(reject(5), NOW)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """It says so, and leaves no half file."""
    (tmp_path / "rejects").write_text("a file")
    with pytest.raises(UnreachableError, match="rejects could not be written"):
        write_to_folder(tmp_path / "rejects", [reject(5)], NOW)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be flushed is not there, under no name."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"No space left on device .* bytes free there, about"):
        write_to_folder(tmp_path, [reject(5)], NOW)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_folders_are_on_the_disk_before_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder above each new one is flushed: by POSIX a power cut could take the day's, with the reject in it."""
    flushed, flush = list[tuple[int, int]](), os.fsync

    def note(handle: int) -> None:
        flush(handle)
        found = os.fstat(handle)
        flushed.append((found.st_dev, found.st_ino))

    monkeypatch.setattr(os, "fsync", note)
    (file,) = write_to_folder(tmp_path / "home" / "rejects", [reject(5)], NOW)
    folders = [one for one in file.parents if one.is_relative_to(tmp_path)]
    assert [one.name for one in folders[:-1]] == ["day=02", "month=02", "year=2026", "rejects", "home"]
    assert {(one.stat().st_dev, one.stat().st_ino) for one in folders} <= set(flushed)

"""The warehouse at its path is the one that is open, or nothing is acknowledged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lmdp.core.specification import load_spec
from lmdp.errors import WarehouseReplacedError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from new_warehouse import open_warehouse
from running import remove_older

SPEC = load_spec()
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def load(first: int, count: int = 200) -> Load:
    """A load of one message with `count` rows, which do not compress."""
    row = ("demo", "1", None, "CPU", None, "Load", None, "gauge", "", 1_769_860_800_000, 1)
    rows = [(*row, f'{{"a":"{os.urandom(200).hex()}"}}', "{}", "{}") for _ in range(count)]
    return Load(rows, [], [OffsetRange("c", "id", "t", 0, first, first + 1, count, 0)], NOW)


def log_of(path: Path) -> Path:
    """The log beside a warehouse."""
    return path.with_name(f"{path.name}.wal")


def _remove(path: Path) -> None:
    path.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_name("moved.duckdb"))


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_name("backup.duckdb"))
    path.with_name("backup.duckdb").replace(path)


def _truncate(path: Path) -> None:
    os.truncate(path, 12_288)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _of_the_log(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        change(log_of(path))

    return changed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_remove, "warehouse.duckdb was removed or moved while it was open"),
        (_move, "warehouse.duckdb was removed or moved while it was open"),
        (_replace, "warehouse.duckdb was replaced by another file"),
        (_truncate, "warehouse.duckdb was truncated"),
        (_empty, "warehouse.duckdb was truncated"),
        (_of_the_log(_remove), "warehouse.duckdb.wal was removed, moved or replaced"),
        (_of_the_log(_move), "warehouse.duckdb.wal was removed, moved or replaced"),
        (_of_the_log(_replace), "warehouse.duckdb.wal was removed, moved or replaced"),
        (_of_the_log(_empty), "warehouse.duckdb.wal was truncated"),
    ],
)
def test_no_commit_returns_when_the_file_is_another(tmp_path: Path, change: Callable[[Path], None], text: str) -> None:
    """A commit that returns is in the file at the path; offsets are acknowledged only after it."""
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path) as opened:
        opened.commit(load(0))
        opened._connection.execute("CHECKPOINT LM_METRICS")
        opened.commit(load(1))
        opened.commit(load(2))
        change(path)
        for _ in range(2):  # no retry helps
            with pytest.raises(WarehouseReplacedError, match=text) as caught:
                opened.commit(load(3))
        assert "Nothing that was written since then was acknowledged to Kafka" in str(caught.value)


@pytest.mark.parametrize("change", [_remove, _move, _replace])
def test_a_run_without_messages_finds_out_too(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """The file is looked at by time as well; a removal writes nothing either."""
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path) as opened:
        opened.commit(load(0))
        opened.check_file()
        change(path)
        with pytest.raises(WarehouseReplacedError):
            opened.check_file()
        with pytest.raises(WarehouseReplacedError):
            remove_older(opened, 1, NOW)


def test_checkpoints_and_removals_are_no_replacement(tmp_path: Path) -> None:
    """DuckDB removes and recreates its log, and shortens the file, beside loads and queries."""
    path = tmp_path / "warehouse.duckdb"
    with open_warehouse(path) as opened:
        for at in range(12):
            opened.commit(load(at, 3_000))
            opened.check_file()
            if at % 3 == 0:
                opened._connection.execute("CHECKPOINT LM_METRICS")
        large = path.stat().st_size
        remove_older(opened, 1, datetime(2026, 2, 5, tzinfo=UTC))
        for at in range(12, 16):
            opened._connection.execute("CHECKPOINT LM_METRICS")
            opened.commit(load(at))
        assert path.stat().st_size < large
        assert opened.duplicates() == 0


def test_a_link_to_the_file_is_the_file(tmp_path: Path) -> None:
    """The file counts, not the name of a link to it."""
    path, link = tmp_path / "warehouse.duckdb", tmp_path / "link.duckdb"
    with open_warehouse(path):
        pass
    link.symlink_to(path)
    with open_warehouse(link) as opened:
        opened.commit(load(0))
        link.unlink()
        with pytest.raises(WarehouseReplacedError):
            opened.commit(load(1))

"""The warehouse file: one transaction a load, one writer, questions that reach nothing else."""

from __future__ import annotations

import base64
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from lmdp.core.specification import Spec, load_spec
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse import connection, retention
from lmdp.machine.warehouse.connection import EngineLimits
from lmdp.machine.warehouse.schema import MIGRATIONS
from lmdp.machine.warehouse.totals import moment_of
from lmdp.machine.warehouse.warehouse import Warehouse
from running import remove_older

if TYPE_CHECKING:
    pass

HERE = Path(__file__).parent
SPEC = load_spec()
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
T0 = 1_769_860_800_000  # 2026-01-31T12:00:00Z
DAY = 86_400_000


def rows(count: int, *, ms: int = T0, metric: str = "Load") -> list[tuple[Any, ...]]:
    """Row events a millisecond apart."""
    return [
        (
            "demo", "1", None, "CPU", None, metric, None, "gauge",
            datetime.fromtimestamp((ms + i) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            ms + i, i, '{"a":"é"}', "{}", '{"name":"CPU"}',
        )
        for i in range(count)
    ]  # fmt: skip


def part(
    first: int, end: int, count: int, *, rejects: int = 0, partition: int = 0, topic_id: str = "id"
) -> OffsetRange:
    """A range of the one topic of these tests."""
    return OffsetRange("cluster", topic_id, "lm.metrics.otlp", partition, first, end, count, rejects)


def load(count: int, *ranges: OffsetRange, ms: int = T0, at: datetime = NOW) -> Load:
    """A load of `count` rows without rejects."""
    return Load(rows(count, ms=ms), [], ranges, at)


ENVELOPE = {
    "errorCode": "Row.MissingField",
    "errorMessage": "orgId: not in resource attributes and LMDP_ORG_ID is not set",
    "attemptsMade": 1,
    "arrivalTimestamp": T0,
    "attemptEndingTimestamp": T0 + 1,
    "rawData": base64.b64encode(b"{}").decode(),
    "source": {"topic": "lm.metrics.otlp", "partition": 2, "offset": 7, "timestamp": T0 - 5, "key": None},
    "datapoints": 3,
}


def count(warehouse: Warehouse, table: str = "ROW_EVENTS") -> int:
    """Rows of a table."""
    (line,) = warehouse.query(f"SELECT count(*) AS n FROM {table}").table.to_pylist()
    return int(line["n"])


def elsewhere(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# what is written


def test_a_row_comes_back_as_it_was(warehouse: Warehouse) -> None:
    """Each column has its type; the time is that of the milliseconds; what was not given is NULL."""
    event = (*rows(1)[0][:10], 2**60 + 1, '{"a":"\\u0000é"}', "{}", "{}")
    warehouse.commit(Load([event], [], [part(0, 1, 1)], NOW))
    (line,) = warehouse.query("SELECT * FROM ROW_EVENTS").table.to_pylist()
    assert line == {
        "orgId": "demo",
        "deviceId": "1",
        "deviceName": None,
        "datasource": "CPU",
        "instance": None,
        "metric": "Load",
        "unit": None,
        "type": "gauge",
        "ts": datetime(2026, 1, 31, 12, 0),  # noqa: DTZ001 - the warehouse's times are UTC without a zone
        "tsUnixMs": T0,
        "value": float(2**60 + 1),
        "attributes": '{"a":"\\u0000é"}',
        "resource": "{}",
        "scope": "{}",
    }


@pytest.mark.parametrize("ms", [-62_135_596_800_000, -1, 0, 253_402_300_799_999])
def test_every_time_of_the_contract_can_be_kept(warehouse: Warehouse, ms: int) -> None:
    """Years 1 to 9999, to the millisecond."""
    warehouse.commit(Load([(*rows(1)[0][:8], "", ms, *rows(1)[0][10:])], [], [], NOW))
    (line,) = warehouse.query("SELECT epoch_ms(TS) AS ms FROM METRICS").table.to_pylist()
    assert line == {"ms": ms}


def test_a_reject_comes_back_as_it_was(warehouse: Warehouse) -> None:
    """The envelope's fields are columns; its message can be decoded from RAW_DATA."""
    warehouse.commit(Load([], [ENVELOPE], [part(7, 8, 0, rejects=1, partition=2)], NOW))
    (line,) = warehouse.query("SELECT *, from_base64(RAW_DATA) AS MESSAGE FROM REJECTS").table.to_pylist()
    at = datetime(2026, 1, 31, 12, 0)  # noqa: DTZ001 - as above
    assert line == {
        "ERROR_CODE": "Row.MissingField",
        "ERROR_MESSAGE": "orgId: not in resource attributes and LMDP_ORG_ID is not set",
        "ATTEMPTS_MADE": 1,
        "ARRIVAL_TIMESTAMP": at,
        "ATTEMPT_ENDING_TIMESTAMP": at + timedelta(milliseconds=1),
        "RAW_DATA": "e30=",
        "SOURCE_TOPIC": "lm.metrics.otlp",
        "SOURCE_PARTITION": 2,
        "SOURCE_OFFSET": 7,
        "SOURCE_TIMESTAMP": T0 - 5,
        "SOURCE_KEY": None,
        "DATAPOINTS": 3,
        "SOURCE_TENANT": None,
        "MESSAGE": b"{}",
    }


def test_a_reject_of_any_timestamp_can_be_kept(warehouse: Warehouse) -> None:
    """A producer may write nanoseconds where Kafka has milliseconds; that must not hold up the batch."""
    envelope = ENVELOPE | {"source": {"topic": "t", "partition": 0, "offset": 0, "timestamp": 2**63 - 1, "key": "aw=="}}
    warehouse.commit(Load([], [envelope], [part(0, 1, 0, rejects=1)], NOW))
    found = warehouse.query("SELECT SOURCE_TIMESTAMP AS ms, SOURCE_KEY AS k FROM REJECTS").table.to_pylist()
    assert found == [{"ms": 2**63 - 1, "k": "aw=="}]


def test_rows_offsets_and_loads_are_one_transaction(warehouse: Warehouse) -> None:
    """A load moves the offsets of its partitions, and leaves one line a partition."""
    warehouse.commit(load(3, part(0, 5, 2), part(10, 11, 1, partition=1)))
    warehouse.commit(load(4, part(5, 9, 4)))
    assert warehouse.offsets("cluster", "id", "lm.metrics.otlp") == {0: 9, 1: 11}
    found = warehouse.query("SELECT PARTITION, FIRST_OFFSET, NEXT_OFFSET, ROWS FROM LOADS ORDER BY ALL").table
    assert [tuple(line.values()) for line in found.to_pylist()] == [(0, 0, 5, 2), (0, 5, 9, 4), (1, 10, 11, 1)]
    assert (count(warehouse), warehouse.duplicates()) == (7, 0)


def test_another_topic_id_or_cluster_starts_anew(warehouse: Warehouse) -> None:
    """A recreated topic, and a new cluster, have no offsets yet; their ranges overlap with nothing."""
    warehouse.commit(load(1, part(0, 5, 1)))
    warehouse.commit(load(1, part(0, 5, 1, topic_id="recreated")))
    assert warehouse.offsets("cluster", "recreated", "lm.metrics.otlp") == {0: 5}
    assert warehouse.offsets("cluster", "again", "lm.metrics.otlp") == {}
    assert warehouse.offsets("other", "id", "lm.metrics.otlp") == {}
    assert warehouse.duplicates() == 0


def test_a_load_that_fails_leaves_nothing(warehouse: Warehouse) -> None:
    """Rows before the bad one, offsets and LOADS are all as they were, and the next load goes through."""
    good = rows(2)
    bad = (None, *good[1][1:])
    with pytest.raises(LmdpError, match="nothing is lost or doubled"):
        warehouse.commit(Load([good[0], bad], [ENVELOPE], [part(0, 2, 2)], NOW))
    assert (count(warehouse), count(warehouse, "REJECTS"), count(warehouse, "LOADS")) == (0, 0, 0)
    assert warehouse.offsets("cluster", "id", "lm.metrics.otlp") == {}
    warehouse.commit(load(2, part(0, 2, 2)))
    assert count(warehouse) == 2


@pytest.mark.parametrize(
    ("ranges", "written", "expected"),
    [
        ([part(0, 5, 3), part(5, 9, 2)], 5, 0),
        ([part(0, 5, 3), part(4, 9, 2)], 5, 2),
        ([part(0, 9, 3), part(2, 3, 1), part(8, 10, 1)], 5, 2),
        ([part(0, 5, 3), part(0, 5, 3, partition=1)], 6, 0),
        ([part(0, 5, 3), part(5, 5, 0), part(5, 6, 1)], 4, 0),
        ([part(0, 5, 3)], 4, 1),
    ],
)
def test_duplicates_are_counted(warehouse: Warehouse, ranges: list[OffsetRange], written: int, expected: int) -> None:
    """Rows of a range that was read before, and rows that no line of LOADS tells of."""
    warehouse.commit(load(written, *ranges))
    assert warehouse.duplicates() == expected


def test_counts(warehouse: Warehouse, path: Path) -> None:
    """Rows, rejects, the span of the rows' time, and the bytes on disk."""
    before = warehouse.tally.exact()
    assert (before.rows, before.rejects.total(), before.oldest, before.newest) == (0, 0, None, None)
    warehouse.commit(Load(rows(1001), [ENVELOPE], [part(0, 9, 1001, rejects=1)], NOW))
    after = warehouse.tally.exact()
    assert (after.rows, after.rejects.total()) == (1001, 1)
    assert (moment_of(after.oldest), moment_of(after.newest)) == (NOW, NOW + timedelta(seconds=1))
    assert warehouse.file_bytes() >= path.stat().st_size > 0


# what leaves


def test_whole_days_are_removed(warehouse: Warehouse) -> None:
    """Today and the last two days stay; duplicates still adds up, also after the next load."""
    for age in range(5):
        at = NOW - timedelta(days=age)
        warehouse.commit(load(10, part(40 - 10 * age, 50 - 10 * age, 10), ms=T0 - age * DAY, at=at))
    removed = remove_older(warehouse, 2, NOW)
    assert (removed.rows, removed.before) == (20, datetime(2026, 1, 29, tzinfo=UTC))
    assert moment_of(warehouse.tally.exact().oldest) == NOW - timedelta(days=2)
    assert warehouse.duplicates() == 0
    warehouse.commit(load(1, part(50, 51, 1)))
    assert (remove_older(warehouse, 2, NOW).rows, count(warehouse), warehouse.duplicates()) == (0, 31, 0)


def test_old_lines_of_loads_that_adjoin_become_one(warehouse: Warehouse) -> None:
    """LOADS stays small and says the same; a gap and an overlap stay to be seen."""
    old = NOW - timedelta(days=9)
    for range_ in (part(0, 5, 1), part(5, 7, 1), part(9, 12, 1), part(11, 13, 1), part(0, 2, 1, partition=1)):
        warehouse.commit(load(1, range_, at=old))
    warehouse.commit(load(1, part(13, 14, 1)))
    before = warehouse.duplicates()
    remove_older(warehouse, 2, NOW)
    found = warehouse.query("SELECT PARTITION, FIRST_OFFSET, NEXT_OFFSET, ROWS FROM LOADS ORDER BY ALL").table
    assert [tuple(line.values()) for line in found.to_pylist()] == [
        (0, 0, 7, 2), (0, 9, 12, 1), (0, 11, 13, 1), (0, 13, 14, 1), (1, 0, 2, 1),
    ]  # fmt: skip
    assert warehouse.duplicates() == before == 1


def test_a_clock_that_runs_ahead_takes_no_rows(warehouse: Warehouse) -> None:
    """Days count up to two days after the newest row, so that a wrong clock does not empty the file."""
    warehouse.commit(load(10, part(0, 10, 10)))
    assert remove_older(warehouse, 30, NOW + timedelta(days=3650)).rows == 0
    warehouse.commit(load(1, part(10, 11, 1), ms=T0 + 40 * DAY))
    assert remove_older(warehouse, 30, NOW + timedelta(days=3650)).rows == 10
    assert (count(warehouse), warehouse.duplicates()) == (1, 0)


def test_a_row_far_ahead_proves_no_clock_right(warehouse: Warehouse) -> None:
    """A row dated more than a day ahead is ignored where days are counted, and so a wrong clock takes nothing."""
    warehouse.commit(load(10, part(0, 10, 10)))
    warehouse.commit(load(1, part(10, 11, 1), ms=18_446_744_073_709))  # 2554: the largest uint64, in nanoseconds
    assert remove_older(warehouse, 30, NOW + timedelta(days=40)).rows == 0
    assert count(warehouse) == 11


@pytest.mark.parametrize(
    ("ms", "days", "now", "removed"),
    [
        (253_402_300_799_999, 30, NOW, 0),
        (253_402_300_799_999, 60, datetime(9999, 12, 31, 23, 59, tzinfo=UTC), 0),
        (-62_135_596_800_000, 30, NOW, 1),
        (T0, 800_000, NOW, 0),
        (T0, 10**9, NOW, 0),
        (-62_135_596_800_000, 10**9, datetime(1, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_no_time_and_no_number_of_days_stops_a_removal(
    warehouse: Warehouse, ms: int, days: int, now: datetime, removed: int
) -> None:
    """A datapoint of 9999-12-31, a clock at either end of time, and 800,000 days to keep are all computed with."""
    warehouse.commit(load(1, part(0, 1, 1), ms=ms))
    warehouse.commit(load(1, part(1, 2, 1)))
    assert remove_older(warehouse, days, now).rows == removed


def test_many_old_hours_are_removed_in_few_steps(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps follow the rows, and not the hours that they claim; each adds up, and a load goes through between two."""
    monkeypatch.setattr(retention, "PORTION", 400)
    old = [(*row[:8], "", hour * 3_600_000, *row[10:]) for hour, row in enumerate(rows(1_000))]
    warehouse.commit(Load([*old, *rows(5)], [], [part(0, 5, 1_005)], NOW))
    removed = []
    for at, step in enumerate(warehouse.removals(30, NOW)):
        warehouse.commit(load(1, part(5 + at, 6 + at, 1)))
        assert warehouse.duplicates() == 0
        removed.append(step.rows)
    assert [n for n in removed if n] == [400, 400, 200]
    assert (count(warehouse), count(warehouse, "METRIC_HOURLY_KEPT")) == (5 + len(removed), 1_000)


def test_an_hour_with_more_rows_than_a_step_is_removed_whole(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour is either live or kept, whatever its size; the next one is another step."""
    monkeypatch.setattr(retention, "PORTION", 10)
    warehouse.commit(load(50, part(0, 5, 50), ms=T0 - 50 * DAY))
    warehouse.commit(load(50, part(5, 9, 50), ms=T0 - 49 * DAY))
    warehouse.commit(load(1, part(9, 10, 1)))
    assert [step.rows for step in warehouse.removals(30, NOW)][:2] == [50, 50]
    (line,) = warehouse.query("SELECT sum(SAMPLES)::INT AS n FROM METRIC_HOURLY").table.to_pylist()
    assert (line["n"], warehouse.duplicates()) == (101, 0)


def test_rows_are_written_while_a_step_of_a_removal_computes(warehouse: Warehouse) -> None:
    """A removal holds no lock but for its commit; what comes for its hours meanwhile stays for the next one."""
    warehouse.commit(load(10, part(0, 10, 10), ms=T0 - 40 * DAY))

    def step(cursor: duckdb.DuckDBPyConnection) -> retention.Removed:
        rows_gone = cursor.execute("DELETE FROM ROW_EVENTS").fetchall()[0][0]
        warehouse.commit(load(3, part(10, 13, 3), ms=T0 - 40 * DAY))
        cursor.execute("INSERT INTO REMOVALS VALUES (now(), now(), ?, 0)", [rows_gone])
        return retention.Removed(rows_gone)

    assert warehouse._beside(step).rows == 10
    assert (count(warehouse), warehouse.duplicates()) == (3, 0)


def test_an_end_interrupts_a_removal(warehouse: Warehouse) -> None:
    """Nothing of the step is written, and the warehouse can be used as before."""
    warehouse.commit(load(10, part(0, 10, 10)))
    begun = threading.Event()

    def step(cursor: duckdb.DuckDBPyConnection) -> retention.Removed:
        cursor.execute("DELETE FROM ROW_EVENTS")
        begun.set()
        cursor.execute("SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range < b.range")
        return retention.Removed()

    failed: list[LmdpError] = []

    def remove() -> None:
        try:
            warehouse._beside(step)
        except LmdpError as error:
            failed.append(error)

    thread = threading.Thread(target=remove)
    thread.start()
    assert begun.wait(30)
    warehouse.end_removal()
    thread.join(30)
    assert (len(failed), thread.is_alive(), count(warehouse)) == (1, False, 10)
    warehouse.commit(load(1, part(10, 11, 1)))
    assert warehouse.duplicates() == 0


def test_forever_removes_nothing(warehouse: Warehouse) -> None:
    """None keeps all; less than a day is refused."""
    warehouse.commit(load(3, part(0, 3, 3), ms=0))
    assert remove_older(warehouse, None, NOW).rows == 0
    with pytest.raises(SettingsError, match="keep at least 1d"):
        remove_older(warehouse, 0, NOW)
    assert count(warehouse) == 3


# questions


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT * FROM read_csv('{folder}/secret.txt')",
        "SELECT * FROM read_text('{folder}/secret.txt')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM folder",  # a variable of the process
        "SELECT * FROM duckdb_secrets()",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '{folder}/other.duckdb'",
        "ATTACH ':memory:' AS other",
        "DETACH LM_METRICS",
        "EXPORT DATABASE '{folder}/out'",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CALL force_checkpoint('LM_METRICS')",
        "CREATE TEMP TABLE t AS SELECT 1",
        "INSERT INTO OFFSETS VALUES ('a', 'b', 'c', 0, 1, -1)",
        "WITH gone AS (DELETE FROM ROW_EVENTS RETURNING 1) SELECT * FROM gone",
        "DROP VIEW METRICS",
        "CHECKPOINT",
        "COMMIT",
        "SELECT 1; DROP VIEW METRICS",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM METRICS",
        "SELEC 1",
        "",
        "-- nothing",
    ],
)
def test_a_question_reaches_nothing_else(warehouse: Warehouse, tmp_path: Path, sql: str) -> None:
    """One SELECT over the warehouse's own tables, or a refusal; the file is as before."""
    for name in ("secret.txt", "secret.csv"):
        (tmp_path / name).write_text("secret\n1\n")
    folder = tmp_path
    warehouse.commit(load(2, part(0, 2, 2)))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingsError):
        warehouse.query(sql.replace("{folder}", str(folder)))
    assert sorted(tmp_path.iterdir()) == before
    assert (count(warehouse), count(warehouse, "METRICS")) == (2, 2)


def test_an_answer_is_cut_at_its_limit(warehouse: Warehouse) -> None:
    """No more rows than allowed are read, and the answer says that there were more."""
    for limit, truncated in ((4, True), (5, False), (6, False)):
        answer = warehouse.query("SELECT range AS n FROM range(5) ORDER BY n", limit_rows=limit)
        assert (answer.table["n"].to_pylist(), answer.truncated) == (list(range(min(limit, 5))), truncated)
    assert warehouse.query("SELECT * FROM range(1000000000000)", limit_rows=5000).table.num_rows == 5000
    assert warehouse.query("SELECT * FROM METRICS").table.num_rows == 0


def test_a_question_that_takes_too_long_ends(warehouse: Warehouse) -> None:
    """The time limit interrupts it, and the warehouse goes on."""
    started = time.monotonic()
    with pytest.raises(LmdpError, match=r"no answer within 0\.2 s"):
        warehouse.query(
            "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range < b.range", timeout_s=0.2
        )
    assert time.monotonic() - started < 10
    warehouse.commit(load(1, part(0, 1, 1)))
    assert count(warehouse) == 1


def test_a_question_may_not_take_all_memory(path: Path) -> None:
    """A question beyond the memory and temporary disk allowed fails alone."""
    with Warehouse.open(path, SPEC, limits=EngineLimits(memory="60MB", temporary="1MB", threads=1)) as small:
        with pytest.raises(LmdpError, match="more memory than it may use"):
            small.query("SELECT list(range) AS l FROM range(50000000)")
        assert count(small) == 0


def test_times_are_utc_whatever_the_machine_says(warehouse: Warehouse) -> None:
    """`now()` compares with TS without a shift: the session's zone is UTC in every question."""
    assert warehouse.query("SELECT current_setting('TimeZone') AS zone").table.to_pylist() == [{"zone": "UTC"}]


def test_questions_run_beside_loads(warehouse: Warehouse) -> None:
    """Every question sees whole transactions only: rows and LOADS agree while loads go on."""
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            (line,) = warehouse.query(
                "SELECT (SELECT count(*) FROM ROW_EVENTS) AS r, (SELECT coalesce(sum(ROWS), 0) FROM LOADS) AS l"
            ).table.to_pylist()
            seen.append((int(line["r"]), int(line["l"])))
            assert warehouse.duplicates() == 0

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(30):
        warehouse.commit(load(50, part(i * 50, i * 50 + 50, 50), ms=T0 + i * 50))
    done.set()
    for thread in threads:
        thread.join()
    assert seen
    assert all(in_table == in_loads for in_table, in_loads in seen)
    assert count(warehouse) == 1500


# the file


def test_a_file_is_opened_again(path: Path) -> None:
    """What was written is there, once; migrations run once; one file is left, without a log beside it."""
    for i in range(2):
        with Warehouse.open(path, SPEC) as opened:
            opened.commit(load(2, part(2 * i, 2 * i + 2, 2), ms=T0 + 2 * i))
    with Warehouse.open(path, SPEC, read_only=True) as reader:
        assert (count(reader), count(reader, "METRICS"), count(reader, "MIGRATIONS"), reader.duplicates()) == (
            4,
            4,
            len(MIGRATIONS),
            0,
        )
        with pytest.raises(LmdpError, match="open to read only"):
            reader.commit(load(1, part(4, 5, 1)))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_killed_writer_leaves_whole_transactions(path: Path) -> None:
    """After SIGKILL the file opens, to read and to write, and rows, offsets and LOADS agree."""
    code = f"""
        import sys, pathlib
        sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
        import test_warehouse as t
        opened = t.Warehouse.open(pathlib.Path(sys.argv[1]), t.SPEC)
        for i in range(10_000):
            opened.commit(t.load(100, t.part(i, i + 1, 100), ms=t.T0 + 100 * i))
            print(i, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 20:
                writer.send_signal(signal.SIGKILL)
                break
    for read_only in (True, False):
        with Warehouse.open(path, SPEC, read_only=read_only) as opened:
            following = opened.offsets("cluster", "id", "lm.metrics.otlp")[0]
            assert following >= 21
            assert (count(opened), opened.duplicates()) == (100 * following, 0)


def test_a_file_in_use_names_who_has_it(warehouse: Warehouse, path: Path) -> None:
    """Another process is told the holder's pid and what works beside it; exit code 3."""
    code = """
        import pathlib, sys
        from lmdp.errors import LmdpError
        from lmdp.machine.warehouse.warehouse import Warehouse
        from lmdp.core.specification import load_spec
        try:
            Warehouse.open(pathlib.Path(sys.argv[1]), load_spec(), read_only=sys.argv[2] == "True")
        except LmdpError as error:
            print(error.exit_code, error)
    """
    for read_only in (False, True):
        said = elsewhere(code, path, read_only).stdout
        assert said.startswith(f"3 the warehouse {path} is in use by process {os.getpid()} (")
        assert f"status --home {path.parent}` and `" in said
    with pytest.raises(UnreachableError, match="already open in this process"):
        Warehouse.open(path, SPEC)
    assert count(warehouse) == 0


def _not_duckdb(path: Path) -> Path:
    path.write_bytes(b"hello" * 2000)
    return path


def _cut_short(path: Path) -> Path:
    Warehouse.open(path, SPEC).close()
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _newer(path: Path) -> Path:
    Warehouse.open(path, SPEC).close()
    with duckdb.connect(path) as other:
        other.execute("INSERT INTO PIPELINE.MIGRATIONS VALUES (7, 'of the future', now())")
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _pipe_for_a_log(path: Path) -> Path:
    os.mkfifo(path.with_name(f"{path.name}.wal"))
    return path


def _restored(path: Path) -> Path:
    """An older file beside the log of a newer state."""
    with Warehouse.open(path, SPEC):
        pass
    old = path.read_bytes()
    with Warehouse.open(path, SPEC) as opened:
        opened.commit(load(3, part(0, 1, 3)))
        opened._connection.execute("CHECKPOINT LM_METRICS")
        opened.commit(load(3, part(1, 2, 3)))
        log = path.with_name(f"{path.name}.wal")
        kept = log.read_bytes()
    log.write_bytes(kept)
    path.write_bytes(old)
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version number 38, but we can only read versions between 64 and 69.", "an older DuckDB"),
        ("version number 71, but we can only read versions between 64 and 69.", "a newer DuckDB"),
        ("version number 71, but we can only read version 69.", "a newer DuckDB"),
    ],
)
def test_a_file_of_another_duckdb_is_called_what_it_is(path: Path, text: str, told: str) -> None:
    """DuckDB gives the numbers of its storage versions, and both directions read alike."""
    assert f"written by {told}" in str(connection._not_opened(path, f"Trying to read a database file with {text}"))


def test_a_new_file_is_written_for_the_duckdb_that_people_have(path: Path) -> None:
    """1.4 and later read it: storage version 67, where 2.0's own is 69. An existing file keeps its own."""
    with Warehouse.open(path, SPEC) as opened:
        opened.commit(load(3, part(0, 1, 3)))
    assert int.from_bytes(path.read_bytes()[12:20], "little") == 67
    newest = path.with_name("newest.duckdb")
    duckdb.connect(newest, config={"storage_compatibility_version": "latest"}).close()
    with Warehouse.open(newest, SPEC) as opened:
        opened.commit(load(3, part(0, 1, 3)))
        assert count(opened) == 3


def test_a_current_file_is_opened_without_a_change(path: Path) -> None:
    """Its views are as this program makes them, which would take half a second again."""
    Warehouse.open(path, SPEC).close()
    before = path.read_bytes()
    Warehouse.open(path, SPEC).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW METRICS",
        "CREATE OR REPLACE VIEW METRICS AS SELECT 1 AS A",
        "DROP VIEW METRIC_HOURLY_LIVE",
        "COMMENT ON VIEW METRICS IS 'of another version'",
        'ALTER TABLE ROW_EVENTS DROP COLUMN "instance"',
    ],
)
def test_views_are_made_again_where_one_differs(path: Path, sql: str) -> None:
    """A view that another program, or another version, has dropped or replaced is what it was."""
    Warehouse.open(path, SPEC).close()
    with duckdb.connect(path) as other:
        before = sorted(other.execute("SELECT view_name, sql, comment FROM duckdb_views()").fetchall())
        other.execute(f"USE PIPELINE; {sql}")
    Warehouse.open(path, SPEC).close()
    with duckdb.connect(path, read_only=True) as other:
        assert sorted(other.execute("SELECT view_name, sql, comment FROM duckdb_views()").fetchall()) == before
        other.execute("FROM PIPELINE.METRICS")


def _somebody_elses(path: Path) -> Path:
    with duckdb.connect(path) as other:
        other.execute("CREATE TABLE t AS SELECT 1 AS a")
    return path


@pytest.mark.parametrize(
    ("make", "read_only", "kind", "message"),
    [
        (lambda path: path, True, UnreachableError, "there is no warehouse at .*; `lmdp run --.*` makes one"),
        (lambda path: path.parent / "no" / "w.duckdb", False, SettingsError, "needs a folder, and .*/no is not one"),
        (lambda path: path.parent, False, SettingsError, "not a DuckDB file"),
        (_not_duckdb, False, SettingsError, "not a DuckDB file"),
        (_not_duckdb, True, SettingsError, "not a DuckDB file"),
        (_cut_short, False, SettingsError, "not a DuckDB file, or a damaged one"),
        (_newer, False, SettingsError, "written by a newer lmdp .version 7 of its tables; this one knows 6"),
        (_newer, True, SettingsError, "written by a newer lmdp"),
        (_somebody_elses, True, SettingsError, "not one of lmdp's"),
        (lambda _: Path(":memory:"), False, SettingsError, "not a plain path"),
        (lambda _: Path("md:x"), True, SettingsError, "not a plain path"),
        (lambda _: Path("duckdb:foo"), False, SettingsError, "not a plain path"),
        (lambda _: Path("s3://bucket/x.duckdb"), True, SettingsError, "not a plain path"),
        (_pipe, False, SettingsError, "not a DuckDB file: it is a named pipe"),
        (_pipe, True, SettingsError, "not a DuckDB file: it is a named pipe"),
        (_pipe_for_a_log, False, SettingsError, "not a DuckDB file: it is a named pipe"),
        (lambda _: Path("/dev/null"), False, SettingsError, "not a DuckDB file: it is a device"),
        (_restored, False, SettingsError, "log .*wal does not belong to the state of"),
    ],
)
def test_what_is_no_warehouse_is_refused(
    path: Path, make: Any, read_only: bool, kind: type[LmdpError], message: str
) -> None:
    """One message that says what is wrong; the file is as it was."""
    place = make(path)
    before = place.read_bytes() if place.is_file() else None
    with pytest.raises(kind, match=message):
        Warehouse.open(place, SPEC, read_only=read_only)
    assert (place.read_bytes() if place.is_file() else None) == before


def test_a_closed_warehouse_says_so(path: Path) -> None:
    """A question after the end is no crash; closing twice is nothing."""
    opened = Warehouse.open(path, SPEC)
    opened.close()
    opened.close()
    with pytest.raises(LmdpError, match="is closed"):
        opened.query("SELECT 1")


# the specification


def _with(spec: Spec, name: str, **changes: Any) -> Spec:
    fields = tuple(dataclasses.replace(f, **changes) if f.name == name else f for f in spec.fields)
    return dataclasses.replace(spec, fields=fields)


def test_an_older_file_follows_the_specification(path: Path) -> None:
    """A new optional field is a new column; old rows have none."""
    Warehouse.open(path, SPEC).close()
    site = dataclasses.replace(SPEC.fields[2], name="siteCode")
    wider = dataclasses.replace(SPEC, fields=(SPEC.fields[0], site, *SPEC.fields[1:]))
    event = rows(1)[0]
    for _ in range(2):
        with Warehouse.open(path, wider) as opened:
            opened.commit(Load([(event[0], "B7", *event[1:])], [], [part(0, 1, 1)], NOW))
            assert opened.query("SELECT SITE_CODE FROM METRICS").table.to_pylist() == [{"SITE_CODE": "B7"}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_with(SPEC, "unit", required=True), "unit is VARCHAR, and the specification says VARCHAR NOT NULL"),
        (_with(SPEC, "deviceName", sql_type="FLOAT"), "deviceName is VARCHAR, and the specification says DOUBLE"),
        (
            dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[0], name="site"), *SPEC.fields)),
            "the required column site is missing",
        ),
    ],
)
def test_a_file_that_cannot_follow_is_refused(path: Path, spec: Spec, message: str) -> None:
    """What would lose or spoil rows is said at the start, with every column that stands against it."""
    Warehouse.open(path, SPEC).close()
    with pytest.raises(SettingsError, match=message):
        Warehouse.open(path, spec)
    Warehouse.open(path, SPEC).close()


def test_a_required_column_cannot_leave_the_specification(path: Path) -> None:
    """A file whose rows must have a value that nobody would write is refused."""
    site = dataclasses.replace(SPEC.fields[0], name="site")
    Warehouse.open(path, dataclasses.replace(SPEC, fields=(site, *SPEC.fields))).close()
    with pytest.raises(SettingsError, match="the required column site is not in the specification"):
        Warehouse.open(path, SPEC)

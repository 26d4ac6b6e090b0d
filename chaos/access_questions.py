"""Questions that want more than rows, asked of a run at work: by its socket, which the page asks too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query
from running import bundle, expected, options, publish, rows, started, until

MARK = "MARK-7f31c2"  # in files and in the environment; never in an answer
FILE = "{outside}/canary.csv"
# Each has to be refused: it reads, writes, loads, sets or reaches something, or is more than one statement.
REFUSED = (
    *(
        f"select * from {read}('{FILE}')"
        for read in ("read_csv", "read_text", "read_blob", "read_json", "read_parquet")
    ),
    *(f"select * from {read}('{FILE}')" for read in ("sniff_csv", "read_duckdb", "parquet_metadata", "parquet_schema")),
    f"select * from '{FILE}'",
    f"from read_csv_auto(['{FILE}'])",
    f"select columns(*) from read_text('{FILE}')",
    f"select (select content from read_text('{FILE}')) as a from metrics",
    f"with a as (select * from read_text('{FILE}')) select * from a",
    f"select * from query('select * from read_text(''{FILE}'')')",
    f"select * from query('copy (select 1) to ''{FILE}''')",
    f"select * from json_execute_serialized_sql(json_serialize_sql('from read_text(''{FILE}'')'))",
    f"select * from query_table('{FILE}')",
    "select * from read_text('/proc/self/environ')",
    "select * from glob('{outside}/*')",
    "select * from read_text('http://127.0.0.1:1/x')",
    "select * from read_parquet('s3://bucket/key')",
    "select * from duckdb_secrets()",
    "select * from which_secret('s3://bucket/key', 's3')",
    "select * from duckdb_extensions()",
    "select getenv('LMDP_MARK')",
    "select * from os",
    "select * from client",
    "select * from enable_logging('QueryLog', storage = 'file', storage_path = '{outside}')",
    "select * from enable_profiling()",
    "select * from force_checkpoint()",
    "select * from pandas_scan(1)",
    "select * from python_map_function((select 1))",
    f"copy row_events to '{FILE}'",
    f"copy (select 1) to '{FILE}'",
    "export database '{outside}/stolen'",
    "import database '{outside}'",
    f"attach '{FILE}'",
    "attach ':memory:' as other",
    "detach LM_METRICS",
    "use memory",
    "install httpfs",
    "load httpfs",
    "load '{outside}/canary.csv'",
    "create secret s (type s3, key_id 'x')",
    "set enable_external_access = true",
    "reset lock_configuration",
    "set global memory_limit = '1TB'",
    "pragma database_list",
    "pragma import_database('{outside}')",
    "call force_checkpoint()",
    "checkpoint",
    "vacuum",
    "explain analyze delete from row_events",
    "prepare p as delete from row_events",
    "execute p",
    "create temp table t as select 1",
    "create macro m() as 1",
    "insert into loads select * from loads",
    "delete from row_events",
    "with gone as (delete from row_events returning 1) select * from gone",
    "update offsets set next_offset = 0",
    "drop view metrics",
    "truncate row_events",
    "begin",
    "commit",
    "rollback",
    "select 1; select 2",
    "select 1; drop view metrics",
    "; ; delete from row_events",
    "select * from memory.main.nothing",
)
# Each takes time or memory without end: it has to be ended, and ingestion has to continue meanwhile.
ENDLESS = (
    "select count(*) from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5",
    "with recursive t as (select 1 n union all select n + 1 from t) select max(n) from t",
    "select list(range) as l from range(200000000)",
    "select string_agg(repeat('x', 100000), '') as l from range(100000)",
    "select * from range(1000000000) a order by random()",
    "select sleep_ms(3600000)",
    "select " + "((with x as (" * 20,
    "select " + "(" * 5_000,
    "select " + "- " * 4_000,
    "select " + "a." * 400_000 + "b",
    "select 1 " + "union all select 1 " * 50_000,
    # DuckDB plans it for some seconds, and cannot be ended meanwhile. Twice as many references take twice the memory:
    # of what a plan takes there is no bound.
    "with t0 as not materialized (select 1 as x)"
    + "".join(f", t{n + 1} as not materialized (select a.x from t{n} a, t{n} b)" for n in range(16))
    + " select count(*) from t16",
)


@contextmanager
def watched(home: Path, process: int) -> Iterator[dict[str, float]]:
    """The longest time in s that the run did not answer who looks at it, and its largest memory in MB."""
    found, over = {"wait": 0.0, "memory": 0.0}, threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            begun = time.monotonic()
            client.snapshot(home)  # asks no warehouse: a hungry question may leave a look into it no memory
            found["wait"] = max(found["wait"], time.monotonic() - begun)
            found["memory"] = max(found["memory"], psutil.Process(process).memory_info().rss / 1e6)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def hostile_queries(site: Site) -> Outcome:
    """Every question is refused or ended while rows come in; nothing was read, written or kept up by it."""
    count, name = site.by_size(3_000, 30_000), site.new_topic(2)
    folder, outside = site.folder(), site.folder()
    (outside / "canary.csv").write_text(f"{MARK}\n1\n")
    words = ("run", *options(site.broker.access), "--topic", name, "--org-id", "acme")
    faults = list[str]()
    endless = ENDLESS[:2] + ENDLESS[6:] if site.size == "short" else ENDLESS
    with started(*words, folder=folder, LMDP_MARK=MARK) as run:
        home = folder / ".lmdp"
        until((home / "run.sock").exists, 60)
        publish(site.broker.access, name, map(bundle, range(count // 2)))
        until(lambda: rows(home, "select count(*) as n from row_events")[0]["n"] == count // 2, 120)
        files = {path: path.read_bytes() for path in outside.iterdir()}
        with watched(home, run.pid) as seen:
            for sql in REFUSED:
                faults += refused(home, sql.replace("{outside}", str(outside)))
            producing = threading.Thread(
                target=publish, args=(site.broker.access, name, map(bundle, range(count // 2, count)))
            )
            producing.start()
            for sql in endless:
                faults += ended(home, sql)
            producing.join()
            until(lambda: counted(home) >= count, 180)
        found = [row["i"] for row in rows(home, 'select "instance" as i from row_events')]
        run.terminate()
        code = run.wait(60)
    return Outcome(
        times=len(REFUSED) + len(endless),
        messages=count,
        expected_rows=count,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=0,
        measured=f"longest wait of a watcher {seen['wait']:.1f} s, memory {seen['memory']:.0f} MB",
        broken=(
            *faults,
            *broken(
                {
                    "other rows are there": sorted(set(found)) == expected(range(count)),
                    "a file was changed or written": {path: path.read_bytes() for path in outside.iterdir()} == files,
                    f"it ended with {code}": code == 0,
                    "the run was stuck for 30 s": seen["wait"] < 30,
                    "it took more than 1.5 GB": seen["memory"] < 1_500,
                    "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
                }
            ),
        ),
    )


def counted(home: Path) -> int:
    """Return the rows; none while two queries that cannot be interrupted keep others out, as docs/security.md says."""
    try:
        return int(rows(home, "select count(*) as n from row_events")[0]["n"])
    except UnreachableError:
        return 0


def refused(home: Path, sql: str) -> list[str]:
    """Return what is wrong with the answer to a query that has to be refused."""
    try:
        answer = client.query(home, home / "warehouse.duckdb", Query(sql, 100, 10.0))
    except SettingsError as error:
        return [f"{sql!r}: it shows the mark"] if MARK in str(error) else []
    except LmdpError as error:
        return [f"{sql!r}: {type(error).__name__}: {error}"]
    return [f"{sql!r} was answered: {str(answer.table.to_pylist())[:200]}"]


def ended(home: Path, sql: str) -> list[str]:
    """Return what is wrong with the end of an endless query."""
    begun = time.monotonic()
    try:
        client.query(home, home / "warehouse.duckdb", Query(sql, 100, 2.0))
    except LmdpError as error:
        reported = str(error)
    else:
        reported = "an answer" if "union all" in sql and "recursive" not in sql else ""
    took = time.monotonic() - begun
    return [] if reported and took < 60 else [f"{sql[:60]!r}: {reported or 'was answered'} after {took:.0f} s"]


SCENARIOS = (Scenario("hostile queries", "A query reads rows and nothing else, and holds nobody up.", hostile_queries),)

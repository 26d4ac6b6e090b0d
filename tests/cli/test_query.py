"""`lmdp query` and `lmdp status` without a run: they open the file themselves."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet
import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.testing.pipeline import write
from new_warehouse import open_warehouse
from running import bundle, call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the default home, its warehouse of three rows and a reject, and files that are none."""
    made = tmp_path_factory.mktemp("work")
    (made / ".lmdp").mkdir()
    with open_warehouse(made / ".lmdp" / "warehouse.duckdb") as warehouse:
        values = [*map(bundle, range(3)), b"{"]
        messages = [Message(value, "t", 0, offset) for offset, value in enumerate(values)]
        write(warehouse, messages, TransformSettings(org_id="acme"))
    (made / "text.duckdb").write_text("hello" * 1000)
    duckdb.connect(made / "strange.duckdb").close()
    newer = made / "newer.duckdb"
    newer.write_bytes((made / ".lmdp" / "warehouse.duckdb").read_bytes())
    with duckdb.connect(newer) as connection:
        connection.execute("INSERT INTO PIPELINE.MIGRATIONS VALUES (999, 'of tomorrow', now()::TIMESTAMP)")
    return made


def test_each_format(folder: Path) -> None:
    """A table for people, JSON, CSV and Parquet for programs."""
    sql = "select instance, value from metrics order by 1"
    assert call("query", sql, folder=folder).out.split() == [
        "INSTANCE",
        "VALUE",
        "i-0",
        "0.0",
        "i-1",
        "1.0",
        "i-2",
        "2.0",
    ]
    rows = json.loads(call("query", sql, "--format", "json", folder=folder).out)
    assert rows[2] == {"INSTANCE": "i-2", "VALUE": 2.0}
    lines = list(csv.reader(io.StringIO(call("query", sql, "--format", "csv", folder=folder).out)))
    assert lines[:2] == [["INSTANCE", "VALUE"], ["i-0", "0"]]
    assert call("query", sql, "--format", "parquet", "-o", "a.parquet", folder=folder).code == 0
    assert pyarrow.parquet.read_table(folder / "a.parquet").num_rows == 3


def test_json_has_json_as_json(folder: Path) -> None:
    """A column of JSON, a map and a large integer need no second parse; in CSV they are text."""
    sql = "select scope, map{'a': 1} as m, 18446744073709551615::hugeint as n from metrics limit 1"
    (row,) = json.loads(call("query", sql, "--format", "json", folder=folder).out)
    assert row == {"SCOPE": {"name": "Cpu"}, "m": {"a": 1}, "n": 2**64 - 1}
    lines = list(csv.reader(io.StringIO(call("query", sql, "--format", "csv", folder=folder).out)))
    assert lines[1] == ['{"name":"Cpu"}', '{"a":1}', "18446744073709551615"]


def test_a_file_has_all_rows_or_is_not_written(folder: Path) -> None:
    """Without a limit, more than fit on a screen are written, and more than may be answered are refused."""
    ended = call("query", "select range from range(20_000)", "-o", "all.csv", "--format", "csv", folder=folder)
    assert (ended.code, ended.err) == (0, "")
    assert len((folder / "all.csv").read_text().splitlines()) == 20_001
    ended = call("query", "select range from range(1_000_001)", "-o", "no.csv", "--format", "csv", folder=folder)
    assert (ended.code, (folder / "no.csv").exists()) == (1, False)
    assert "more than 1,000,000 rows, so no.csv was not written" in ended.err
    ended = call(
        "query", "select range from range(9)", "-o", "some.csv", "--limit", "2", "--format", "csv", folder=folder
    )
    assert (ended.code, ended.err) == (0, "Truncated to the first 2 rows; --limit N returns more.\n")


def test_the_question_may_come_on_standard_input_and_is_cut_at_the_limit(folder: Path) -> None:
    """`-` reads it; a cut is said on standard error."""
    ended = call("query", "-", "--limit", "2", "--format", "json", folder=folder, given=b"select * from metrics")
    assert (ended.code, len(json.loads(ended.out))) == (0, 2)
    assert ended.err == "Truncated to the first 2 rows; --limit N returns more.\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["select * from nothing"], 2, "nothing"),
        (["drop table row_events"], 2, "one SELECT"),
        (["select * from read_csv('/etc/passwd')"], 2, "refused"),
        (
            ["select count(*) from range(1e9::int) a, range(1e9::int) b where a.range%7=b.range%5", "--timeout", "0.3"],
            1,
            "0.3 s",
        ),
        (
            ["select 1", "--warehouse", "none.duckdb"],
            3,
            "there is no warehouse at none.duckdb; `lmdp run --warehouse none.duckdb` makes one",
        ),
        (["select 1", "--home", "nowhere"], 3, "`lmdp run --home nowhere` makes one, unless it writes to Snowflake"),
        (["select 1", "--warehouse", "text.duckdb"], 2, "not a DuckDB file"),
        (["select 1", "--warehouse", "."], 2, "."),
        (["select 1", "--warehouse", "strange.duckdb"], 2, "not one of lmdp's"),
        (["select 1", "--warehouse", "newer.duckdb"], 2, "written by a newer lmdp"),
        (["select 1", "-o", "none/a.csv", "--format", "csv"], 3, "cannot write none/a.csv"),
    ],
)
def test_what_is_refused(folder: Path, words: list[str], code: int, told: str) -> None:
    """One message and the right exit code each."""
    ended = call("query", *words, folder=folder)
    assert ended.code == code
    assert ended.err.startswith("lmdp: ")
    assert told in ended.err


def test_status_of_a_file(folder: Path) -> None:
    """Without a run, what the file holds: for programs, and for people."""
    found = json.loads(call("status", "--json", folder=folder).out)
    assert found["running"] is None
    assert (found["rows"], found["rejects"], found["rejectsByReason"]) == (3, 1, {"Decode.Malformed": 1})
    assert found["sizeBytes"] > 0
    told = call("status", folder=folder).out
    assert told.startswith("not running; `lmdp run` starts it\n")
    assert "1 Decode.Malformed" in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--home", "nowhere"], 3, "there is no warehouse"),
        (["--warehouse", "text.duckdb"], 2, "not a DuckDB file"),
        (["--warehouse", "newer.duckdb"], 2, "written by a newer lmdp"),
    ],
)
def test_status_of_nothing(folder: Path, words: list[str], code: int, told: str) -> None:
    """One message and the right exit code each."""
    ended = call("status", *words, folder=folder)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err


def test_run_refuses_what_is_no_warehouse(folder: Path) -> None:
    """A newer file, or another program's, is left as it is."""
    for name, told in (("newer.duckdb", "newer lmdp"), ("text.duckdb", "not a DuckDB file")):
        before = (folder / name).read_bytes()
        ended = call("run", "--broker", "memory", "--warehouse", name, "--home", "h", folder=folder)
        assert ended.code == 2
        assert told in ended.err
        assert (folder / name).read_bytes() == before

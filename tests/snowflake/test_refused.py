"""Rows that Snowflake refused: fetched for a replay, and brought back by it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.errors import DeliveryError
from lmdp.replay.retry import Outcome
from lmdp.replay.sinks import into_snowflake
from lmdp.replay.stores import Folder
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.snowflake.refused import fetch_refused
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.requests import Append
from lmdp.snowflake.streaming.session import Account as WriterAccount
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.token import Position
from lmdp.snowflake.verify import Installation
from lmdp.sql.settings import SnowflakeSettings
from lmdp.testing.snowpipe import snowpipe_double
from replay.failures import SPEC, row_json, run, sent
from running import bundle, call
from snowflake_double import Account
from snowpipe_parts import KEY, PLACE

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own


def test_a_replay_that_is_stopped_repeats_no_request(tmp_path: Path) -> None:
    """The first Ctrl-C ends it while Snowflake is away."""
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    stop = Event()
    stop.set()
    with snowpipe_double(away=True) as double:
        env = {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": str(tmp_path / "writer.p8")}
        begun = time.monotonic()
        with pytest.raises(DeliveryError, match="accepted 0 of 1 rows"):
            into_snowflake(env, SPEC, stop)(
                Outcome(rows=transform([Message(bundle(1))], TransformSettings(org_id="acme")).rows)
            )
    assert time.monotonic() - begun < 8


class ErrorTable:
    """A connection, and its cursor, to an account that refused the rows 0 to `count`."""

    description = tuple((name,) for name in ("AT", "CODE", "REASON", "KIND", "PAYLOAD"))

    def __init__(self, count: int) -> None:
        self._count = count

    def cursor(self) -> ErrorTable:
        """Return itself."""
        return self

    def execute(self, sql: str, _values: object) -> None:
        """Take only the statement that asks for all of them, whatever their number."""
        assert re.search(r"\b(LIMIT|FETCH|TOP)\b", sql) is None

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows."""
        return ((None, 100038, "no number", "json", f"{number}") for number in range(self._count))

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("count", "files"), [(0, 0), (1, 1), (5, 3)])
def test_all_refused_rows_are_fetched(count: int, files: int, settings: SnowflakeSettings, tmp_path: Path) -> None:
    """However many there are, in files of a bounded size; the second call finds none that the folder lacks."""
    scope = Installation(ErrorTable(count), settings, load_spec(), datetime.now(UTC))
    two_rows = 300
    assert [fetch_refused(scope, tmp_path, two_rows) for _ in range(2)] == [count, 0]
    assert len(list(tmp_path.iterdir())) == files


def test_only_rows_of_the_writer_are_fetched(
    connection: Any, account: Account, settings: SnowflakeSettings, tmp_path: Path
) -> None:
    """Neither the row that a trial sent to be refused, nor what a statement by hand could not insert."""
    account.error_table = [b'{"datasource":"CPU"}', b'{"datasource":"lmdp.try"}']
    account.failed_inserts = 1
    assert fetch_refused(Installation(connection, settings, load_spec(), datetime.now(UTC)), tmp_path) == 1


def test_the_command_says_what_a_truncate_removes(
    account: Account, settings: SnowflakeSettings, tmp_path: Path
) -> None:
    """An error table takes no DELETE: the statement that empties it comes after the steps that keep its rows."""
    account.error_table.append(b"{}")
    (tmp_path / "setup.p8").write_bytes(pem(make_pair(2048)))
    env = {
        "SNOWFLAKE_ACCOUNT_URL": account.url,
        "SNOWFLAKE_PRIVATE_KEY_FILE": "setup.p8",
        "SNOWFLAKE_DATABASE": settings.database,
    }
    first, second = (call("snowflake", "errors", "refused", folder=tmp_path, given=b"", **env) for _ in range(2))
    assert first.out == (
        "1 rows that Snowflake refused were written to refused.\n"
        "Fix the cause, then: lmdp replay refused --to snowflake\n"
        "Snowflake keeps them. To empty its error table, stop the writer, repeat this command until it writes 0 rows, "
        "and replay them.\n"
        f"Only then: TRUNCATE ERROR_TABLE({settings.place}.ROW_EVENTS); it also removes the rows that were refused "
        "since.\n"
    )
    assert second.out == "0 rows that Snowflake refused were written to refused.\n"


def test_a_refused_row_comes_back_by_a_replay(
    connection: Any, account: Account, settings: SnowflakeSettings, tmp_path: Path
) -> None:
    """Snowflake refuses two of three rows; they are fetched once, and a replay writes them when the cause is gone."""
    rows = [json.dumps(row_json(number)).encode() for number in range(3)]
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    folder = tmp_path / "refused"
    with snowpipe_double(refuses=lambda row: b"i-1" in row or b"i-2" in row) as double:
        env = {
            "SNOWFLAKE_ACCOUNT_URL": double.url,
            "SNOWFLAKE_WRITER_KEY_FILE": str(tmp_path / "writer.p8"),
        }
        channels = Channels(Session(WriterAccount(double.url, "U", lambda: KEY)), PLACE, "one")
        append = Append(b"\n".join([*rows, b""]), Position(0), Position(3), 3)
        channels.append(channels.open("c", discard=False), append)
        assert double.committed() == rows[:1]
        account.error_table = double.error_table
        scope = Installation(connection, settings, load_spec(), datetime.now(UTC))
        assert [fetch_refused(scope, folder) for _ in range(2)] == [2, 0]
        double.refuses = lambda _: False
        report = sent(Folder.open(folder), into_snowflake(env, SPEC, Event()), run())
        assert (report.counts.rows, report.replayed) == (2, 1)
        assert sorted(map(json.loads, double.committed()), key=lambda row: str(row["instance"])) == [
            json.loads(row) for row in rows
        ]
        assert fetch_refused(scope, folder) == 0

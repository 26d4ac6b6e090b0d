"""Rows that Snowflake refused: fetched for a replay, and brought back by it."""

from __future__ import annotations

import json
import time
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
from running import bundle
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

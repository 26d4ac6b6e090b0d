"""The trial of a live account: every answer against the double, and each surprise found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import snowflake_double
from lmdp.core.specification import load_spec
from lmdp.snowflake import trial
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.snowflake.setup import migrate
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.settings import WriterSettings
from lmdp.snowflake.trial import TRIALS, Trial, TrialTimeouts, run_trials
from lmdp.snowflake.verify import Installation
from lmdp.sql.settings import SnowflakeSettings
from lmdp.testing.snowpipe import Fault, SnowpipeDouble, snowpipe_double
from running import call
from snowflake_double import Account
from snowpipe_parts import PLACE

SPEC = load_spec()
STALE = "STALE_CONTINUATION_TOKEN_SEQUENCER"


@pytest.fixture
def one(double: SnowpipeDouble, session: Session) -> Trial:
    """A trial of a double that commits after a moment, and refuses a text in place of a number."""
    double.commit_s, double.refuses = 0.1, lambda row: b"no number" in row

    def rows(instance: str) -> list[dict[str, Any]]:
        return [row for row in map(json.loads, double.committed()) if row["instance"] == instance]

    def refused(mark: str) -> int:
        return sum(mark.encode() in row for row in double.error_table)

    return Trial(session, PLACE, SPEC, "quoted", rows, refused, TrialTimeouts(0.02, 1.0, 0.3))


def answers(one: Trial) -> dict[str, tuple[bool | None, str]]:
    """Return the answers by trial."""
    return {check.name: (check.ok, check.said) for check in run_trials(one)}


def test_the_double_does_what_the_writer_relies_on(one: Trial, double: SnowpipeDouble) -> None:
    """Every trial is as expected, each with its numbers, and the channel is gone at the end."""
    found = answers(one)
    assert {name: ok for name, (ok, _) in found.items()} == dict.fromkeys(TRIALS, True), found
    assert found["token"][1].startswith("committed 6:2/3@try-host.1.ab after ")
    assert found["values"][1] == "14 columns have what was sent"
    assert "ERR_CHANNEL_HAS_UNCOMMITTED_DATA" in found["uncommitted"][1]
    assert found["discarded"][1] == "the token is 8/3@try-host.1.ab, and 0 rows are in the table (0 expected)"
    assert found["refused row"][1] == "1 of 3 rows refused (Failed to cast a value), kept: 1"
    assert not [name for name in double.channels if name.startswith("lmdp.try")]


def _fault(*faults: Fault) -> Callable[[Trial, SnowpipeDouble], None]:
    def spoil(_: Trial, double: SnowpipeDouble) -> None:
        double.script = [*faults]

    return spoil


def _takes_all(_: Trial, double: SnowpipeDouble) -> None:
    double.refuses = lambda _: False


def _never_commits(_: Trial, double: SnowpipeDouble) -> None:
    double.commit_s = 3600.0


def _lands_twice(one: Trial, _: SnowpipeDouble) -> None:
    before = one.rows
    one.rows = lambda instance: [row for row in before(instance) or [] for _ in range(2)]


def _loses_digits(one: Trial, _: SnowpipeDouble) -> None:
    before = one.rows
    one.rows = lambda instance: [{**row, "value": 0.1000001} for row in before(instance) or []]


@pytest.mark.parametrize(
    ("spoil", "name", "text"),
    [
        (_fault(Fault("hostname", 401, "JWT_TOKEN_INVALID")), "sign-in", "LM_FIREHOSE_SVC cannot sign in.*INVALID"),
        (_fault(Fault("status", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED")), "rights", "ERR_PIPE_DOES_NOT"),
        (_fault(Fault("open", 400, "ERR_CHANNEL_NAME")), "channel", "ERR_CHANNEL_NAME"),
        (_fault(Fault("append", 400, "ERR_OFFSET_TOKEN")), "token", "ERR_OFFSET_TOKEN"),
        (_never_commits, "token", "not committed within 1 s"),
        (_lands_twice, "values", "2 rows are in the table, and 1 was sent"),
        (_loses_digits, "values", "value: 0.1000001 for 0.1"),
        (_lands_twice, "elastic", "2 rows in the table"),
        (_takes_all, "refused row", "0 of 3 rows refused"),
        (_fault(Fault("elastic", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED")), "elastic", "ERR_PIPE_DOES_NOT"),
        (_fault(Fault("drop", 404, "ERR_NOT_FOUND")), "drop", "ERR_NOT_FOUND"),
    ],
)
def test_a_surprise_is_found(
    one: Trial, double: SnowpipeDouble, spoil: Callable[[Trial, SnowpipeDouble], None], name: str, text: str
) -> None:
    """The trial that it concerns is not as expected, and says what came."""
    spoil(one, double)
    ok, said = answers(one)[name]
    assert (ok, bool(re.search(text, said))) == (False, True), said


@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own
def test_the_table_is_read_by_its_columns(
    connection: Any, account: Account, settings: SnowflakeSettings, one: Trial
) -> None:
    """What the connector makes of a row is compared with what was sent; then the rows are removed."""
    migrate(connection, settings, SPEC)
    scope = Installation(connection, settings, SPEC, datetime.now(UTC))
    writer = WriterSettings(one.session.account, PLACE, "quoted")
    found = trial.of(one.session, writer, SPEC, scope)
    snowflake_double.insert(connection, settings, [found.row("token0")])
    assert TRIALS["values"](found) == (True, "14 columns have what was sent")
    account.error_table += [found.mark.encode(), b"other"]
    assert found.refused(found.mark) == 1
    trial.remove_rows(scope)
    assert found.rows(f"{found.mark}.token0") == []


@pytest.fixture
def account_of_double(tmp_path: Path) -> Iterator[tuple[SnowpipeDouble, dict[str, str]]]:
    """A double, and the settings of who tries it."""
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    with snowpipe_double(refuses=lambda row: b"no number" in row) as double:
        yield double, {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": "writer.p8"}


def test_the_command_prints_a_line_for_each(
    account_of_double: tuple[SnowpipeDouble, dict[str, str]], tmp_path: Path
) -> None:
    """Without the setup user's key, what only the table shows is not judged; a surprise ends it with 1."""
    double, env = account_of_double
    ended = call("snowflake", "try", folder=tmp_path, given=b"", **env)
    assert (ended.code, [line.split()[0] for line in ended.out.splitlines()].count("-")) == (0, 3), ended.out
    double.refuses = lambda _: False
    assert call("snowflake", "try", "--json", folder=tmp_path, given=b"", **env).code == 1

"""Verification: what stands, what is off, whether all arrived, and which style of keys lands."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import simulated_day as day
import snowflake_double
from lmdp.cli.snowflake import app
from lmdp.core.column_names import KeyStyle
from lmdp.core.specification import load_spec
from lmdp.errors import SettingsError
from lmdp.snowflake import keypair
from lmdp.snowflake.canary import Arrival, Canary, send_canary, summary
from lmdp.snowflake.connection import ask
from lmdp.snowflake.dynamic_tables import DynamicTable, findings
from lmdp.snowflake.reconcile import Hour, _failed, failed_by_hour, reconcile, rows_by_hour, whole_hour
from lmdp.snowflake.secrets import aws_client
from lmdp.snowflake.setup import account_statements, migrate
from lmdp.snowflake.verify import VIEWS, Check, Installation, refused_lately, samples, verify
from lmdp.sql.render import statements
from lmdp.sql.settings import SnowflakeSettings
from snowflake_double import Account

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own

SPEC = load_spec()
NOW = datetime.fromtimestamp((day.BEGIN + day.DAY) / 1000, UTC)


@pytest.fixture
def scope(connection: Any, settings: SnowflakeSettings, account: Account) -> Installation:
    """An account that is set up, with rows of ten minutes ago, one of them twice."""
    for statement in account_statements(settings, SPEC):
        account.rewrite(statement.sql)
    # fakesnow's dynamic tables have the answer of their making: the rows come first.
    ask(connection, next(one.sql for one in statements(SPEC, settings) if one.file == "020_row_events.sql"))
    ms = day.BEGIN + day.DAY - 10 * day.MINUTE
    snowflake_double.insert(connection, settings, [day.row(ms, 1.0), day.row(ms, 1.0), day.row(ms, 2.0, instance="b")])
    migrate(connection, settings, SPEC)
    for table in account.dynamic.tables.values():
        table["data_timestamp"] = NOW
    return Installation(connection, settings, SPEC, NOW)


def said(scope: Installation) -> dict[str, tuple[bool | None, str]]:
    """The checks by name."""
    return {check.name: (check.ok, check.said) for check in verify(scope)}


def test_everything_that_stands_is_said(scope: Installation) -> None:
    """Each check in a line, with its numbers."""
    found = said(scope)
    assert {name: ok for name, (ok, _) in found.items()} == dict.fromkeys(found, True)
    assert found["table"][1] == "14 columns, as the specification says"
    assert found["freshness"][1] == "the newest row was measured 600 s ago"
    assert found["repeats"][1] == "3 rows of the last 24 hours, 1 of them repeats, which METRICS hides"
    assert [row["metric"] for row in samples(scope)] == ["InOctets", "InOctets"]


def test_no_rows_are_no_fault(connection: Any, settings: SnowflakeSettings) -> None:
    """Before the first row there is nothing to judge; PIPELINE_LAG always has its one row."""
    migrate(connection, settings, SPEC)
    found = said(Installation(connection, settings, SPEC, NOW))
    assert (found["freshness"], found["repeats"][0]) == ((None, "no rows yet"), None)
    place = settings.place
    assert [view for view in VIEWS if ask(connection, f"SELECT * FROM {place}.{view} LIMIT 1")] == ["PIPELINE_LAG"]


def _old_row(scope: Installation, _: Account) -> None:
    ask(scope.connection, f"DELETE FROM {scope.settings.place}.ROW_EVENTS")
    snowflake_double.insert(scope.connection, scope.settings, [day.row(day.BEGIN, 1.0)])


def _suspended_task(_: Installation, account: Account) -> None:
    account.tasks["BACK_UP_METRIC_DAILY"] = "suspended"


def _no_task(_: Installation, account: Account) -> None:
    del account.tasks["BACK_UP_METRIC_DAILY"]


def _failed_task(_: Installation, account: Account) -> None:
    account.task_errors["BACK_UP_METRIC_DAILY"] = "no space"


def _row_ahead(scope: Installation, _: Account) -> None:
    ahead = day.row(day.BEGIN + 2 * day.DAY, 1.0)
    ask(scope.connection, f"DELETE FROM {scope.settings.place}.ROW_EVENTS")
    snowflake_double.insert(scope.connection, scope.settings, [day.row(day.BEGIN, 1.0), ahead])


def _too_much(scope: Installation, _: Account) -> None:
    ask(scope.connection, f"GRANT USAGE ON DATABASE OTHER TO ROLE {scope.settings.firehose_role}")


def _no_view(scope: Installation, _: Account) -> None:
    ask(scope.connection, f"DROP VIEW {scope.settings.place}.HISTOGRAM_QUANTILES")


def _a_default(scope: Installation, _: Account) -> None:
    ask(scope.connection, f"ALTER TABLE {scope.settings.place}.ROW_EVENTS ADD COLUMN LOADED_AT VARCHAR DEFAULT 'x'")


def _no_pipe(_: Installation, account: Account) -> None:
    account.pipes.clear()


def _no_operate(scope: Installation, account: Account) -> None:
    role = account.grants[scope.settings.firehose_role]
    role -= {right for right in role if right[0] == "OPERATE"}


def _refused(_: Installation, account: Account) -> None:
    account.error_table += [b"{}", b"{}"]


def test_what_the_writer_did_not_send_is_not_counted(scope: Installation, account: Account) -> None:
    """A trial sends a bad row on purpose, and a statement by hand may fail: the table of errors has both."""
    account.error_table.append(b'{"datasource":"lmdp.try","value":"no number"}')
    account.failed_inserts = 1
    assert said(scope)["direct writer"] == (True, "the direct writer's pipe is there, and no row was refused")


def test_rows_refused_lately_are_counted_for_the_canary(scope: Installation, account: Account) -> None:
    """Those of two days, so that the alarm ends; with their number, and the command that fetches them."""
    assert refused_lately(scope) == Check("refused", ok=True, said="no row was refused")
    assert account.log[-1].endswith(" AND TIMESTAMP >= DATEADD(day, -2, CURRENT_TIMESTAMP())")
    _refused(scope, account)
    found = refused_lately(scope)
    assert (found.ok, found.said.startswith("2 rows were refused; ")) == (False, True)


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (_old_row, "freshness", "86,400 s ago"),
        (_row_ahead, "freshness", "86,400 s ago"),
        (_too_much, "privileges", "USAGE on OTHER is too much"),
        (_no_view, "views", "HISTOGRAM_QUANTILES: .*does not exist"),
        (_a_default, "table", "LOADED_AT has a default, which streaming ingest refuses"),
        (_suspended_task, "tasks", "BACK_UP_METRIC_DAILY is suspended: lmdp snowflake setup$"),
        (_no_task, "tasks", "BACK_UP_METRIC_DAILY is missing: lmdp snowflake setup$"),
        (_failed_task, "tasks", r"failed \(no space\): fix the cause, then EXECUTE TASK LM_.*\.BACK_UP_METRIC_DAILY$"),
        (_no_pipe, "direct writer", r"there is no pipe LM_.*\.ROW_EVENTS_STREAM.*snowflake setup"),
        (_no_operate, "direct writer", "LM_FIREHOSE_ROLE may not use LM_.*ROW_EVENTS_STREAM: .*snowflake setup"),
        (_refused, "direct writer", "2 rows were refused; .*snowflake errors refused"),
    ],
)
def test_what_is_off_is_said(
    scope: Installation, account: Account, spoil: Callable[[Installation, Account], None], name: str, message: str
) -> None:
    """One check fails, and the others still speak; a pipe that only the direct writer needs may be missing."""
    spoil(scope, account)
    found = said(scope)
    ok, text = found.pop(name)
    assert ok is (None if spoil is _no_pipe else False)
    assert re.search(message, text)
    assert len(found) == 9


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("POINTS", {"scheduling_state": "SUSPENDED"}, "POINTS is suspended.*: ALTER DYNAMIC TABLE LM_.*POINTS RESUME$"),
        (
            "METRIC_LATEST",
            {"refresh_mode": "FULL", "refresh_mode_reason": "a policy"},
            r"METRIC_LATEST refreshes FULL.*\(a policy\): lmdp snowflake setup$",
        ),
        (
            "METRIC_HOURLY",
            {"data_timestamp": NOW - timedelta(minutes=181)},
            "METRIC_HOURLY is 181 minutes old, and 60 is the target: ALTER DYNAMIC TABLE .*METRIC_HOURLY REFRESH, and",
        ),
        (
            "DIM_DEVICE",
            {"error": "002724: Refresh was canceled"},
            r"DIM_DEVICE failed to refresh \(002724: Refresh was canceled\): fix the cause, then ALTER .* REFRESH$",
        ),
        ("METRIC_DAILY", {"error": "002841: stale"}, "METRIC_DAILY failed.*: restore it from its backup, as docs/snow"),
        ("POINTS", {"error": "002841: stale"}, r": DROP DYNAMIC TABLE LM_.*\.POINTS, then lmdp snowflake setup$"),
        ("METRIC_DAILY", {"warehouse": "LM_FIREHOSE_WH"}, "refreshes run on LM_FIREHOSE_WH.*ddl --bootstrap"),
    ],
)
def test_a_fault(scope: Installation, account: Account, table: str, change: dict[str, Any], message: str) -> None:
    """Suspended, FULL, late or failed: the table, and the command that helps."""
    account.dynamic.tables[f"{scope.settings.place}.{table}"].update(change)
    (found,) = verify(scope, ("refreshes",))
    assert found.ok is False
    assert re.search(message, found.said)


def test_four_faults_are_four_findings(scope: Installation, account: Account) -> None:
    """One table of each kind at once; a suspended one is not late as well."""
    changes: dict[str, dict[str, Any]] = {
        "POINTS": {"scheduling_state": "SUSPENDED", "data_timestamp": NOW - timedelta(days=3)},
        "METRIC_LATEST": {"refresh_mode": "FULL"},
        "METRIC_HOURLY": {"data_timestamp": NOW - timedelta(hours=4)},
        "DIM_DEVICE": {"error": "002724: canceled"},
    }
    for table, change in changes.items():
        account.dynamic.tables[f"{scope.settings.place}.{table}"].update(change)
    (found,) = verify(scope, ("refreshes",))
    assert [part.split()[0] for part in found.said.split("; ")] == [
        "POINTS", "METRIC_HOURLY", "METRIC_LATEST", "DIM_DEVICE",
    ]  # fmt: skip


def test_views_wait_for_the_first_refresh(scope: Installation, account: Account) -> None:
    """A table that setup has just made cannot be read yet; that is no fault, and there are no samples."""
    account.waiting = re.compile(r"\.METRICS LIMIT")
    (found,) = verify(scope, ("views",))
    assert (found.ok, found.said) == (
        None, "METRICS cannot be read before the first refresh, which follows on schedule"
    )  # fmt: skip
    assert samples(scope) == []


def test_a_check_waits_for_the_first_refresh(scope: Installation, account: Account) -> None:
    """What it reads cannot be read yet: nothing is wrong, and nothing is known."""
    account.waiting = re.compile("DEVICE_COUNTS")
    assert verify(scope, ("repeats",)) == [
        Check("repeats", None, "waits for the first refresh, which follows on schedule")
    ]


@pytest.mark.parametrize(("minutes", "late"), [(180, False), (181, True)])
def test_a_new_table_has_time_for_its_first_refresh(minutes: int, late: bool) -> None:
    """Its age counts from its creation, and it is late after three target lags."""
    made = NOW - timedelta(minutes=minutes)
    new = DynamicTable(
        "T", is_suspended=False, mode="INCREMENTAL", mode_reason="", warehouse="W", created=made, data=None
    )
    assert bool(findings([new], SnowflakeSettings(), NOW)) == late


def test_another_style_of_names_is_another_table(scope: Installation) -> None:
    """The shape is checked in the style that is set, case and all."""
    upper = SnowflakeSettings(database=scope.settings.database, identifiers="upper")
    found = said(Installation(scope.connection, upper, SPEC, NOW))
    assert "the column ORGID is missing" in found["table"][1]


# reconcile


def test_hours_add_up_or_say_what_is_missing(scope: Installation) -> None:
    """Delivered = rows + failed; what is in neither place is missing; canaries are no one's."""
    canary = day.row(day.BEGIN + day.DAY - 5 * day.MINUTE, 1, datasource="lmdp.canary", instance="m")
    snowflake_double.insert(scope.connection, scope.settings, [canary])
    begin, end = NOW - timedelta(hours=2), NOW
    last = NOW - timedelta(hours=1)
    rows = rows_by_hour(scope, begin, end)
    assert rows == Counter({last: 3})
    hours = reconcile(begin, end, Counter({last: 10}), rows, Counter({last: 2}))
    assert hours == [Hour(begin, 0, 0, 0), Hour(last, 10, 3, 2)]
    assert [hour.missing for hour in hours] == [0, 5]


class Bucket:
    """What is used of an S3 client, with objects by their keys; it notes what was listed and read."""

    def __init__(self, objects: dict[str, bytes], modified: datetime = NOW) -> None:
        self.objects, self.modified = objects, modified
        self.listed: list[str] = []
        self.read: list[str] = []

    def get_paginator(self, _: str) -> Bucket:
        """Itself."""
        return self

    def paginate(self, **asked: str) -> list[dict[str, Any]]:
        """One page: the objects of a level, and the levels below."""
        prefix = asked["Prefix"]
        assert asked == {"Bucket": "b", "Prefix": prefix, "Delimiter": "/"}
        self.listed.append(prefix)
        rest = [key.removeprefix(prefix) for key in self.objects if key.startswith(prefix)]
        here = [{"Key": prefix + name, "LastModified": self.modified} for name in rest if "/" not in name]
        below = sorted({name.partition("/")[0] for name in rest if "/" in name})
        return [{"Contents": here, "CommonPrefixes": [{"Prefix": f"{prefix}{name}/"} for name in below]}]

    def get_object(self, **asked: str) -> dict[str, Any]:
        """The object."""
        self.read.append(asked["Key"])
        return {"Body": io.BytesIO(self.objects[asked["Key"]])}


@pytest.mark.parametrize("pack", [lambda text: text, gzip.compress])
@pytest.mark.parametrize("between", ["\n", ""])
def test_failed_records_are_counted_by_their_hour(pack: Callable[[bytes], bytes], between: str) -> None:
    """In gzip or not, with a newline between or not; a canary that failed is none of the rows."""

    def record(at: datetime, data: bytes) -> str:
        return json.dumps(
            {
                "arrivalTimestamp": int(at.timestamp() * 1000),
                "rawData": base64.b64encode(data).decode(),
                "errorCode": "S",
            }
        )

    text = between.join(
        [
            record(NOW - timedelta(minutes=90), b"{}"),
            record(NOW - timedelta(minutes=30), b"{}"),
            record(NOW - timedelta(minutes=20), b'{"datasource":"lmdp.canary"}'),
            record(NOW + timedelta(minutes=1), b"{}"),
        ]
    )
    bucket = Bucket({"snowflake-failed/k": pack(text.encode())})
    found = failed_by_hour("b", NOW - timedelta(hours=2), NOW, bucket)
    assert found == Counter({NOW - timedelta(hours=2): 1, NOW - timedelta(hours=1): 1})


FAILED_KEYS: list[tuple[str, bool]] = [
    ("snowflake-failed/year={today}/a", True),
    ("snowflake-failed/snowflake-failed/year={today}/a", True),
    ("snowflake-failed/year={today}/hour=10/a", True),
    ("snowflake-failed/year={yesterday}/a", True),
    ("snowflake-failed/elsewhere/a", True),
    ("snowflake-failed/a", True),
    ("snowflake-failed/year={earlier}/a", False),
    ("snowflake-failed/replayed/year={today}/a", False),
    ("snowflake-failed/year={today}/replayed/a", False),
]


@pytest.mark.parametrize(("key", "is_read"), FAILED_KEYS)
def test_failed_records_of_these_days_are_read_once(key: str, is_read: bool) -> None:
    """Neither earlier days nor replayed objects are listed: an error bucket may have millions."""
    now = datetime.now(UTC)
    days = {name: f"{now - timedelta(days=ago):%Y/month=%m/day=%d}"
            for name, ago in (("today", 0), ("yesterday", 1), ("earlier", 2))}  # fmt: skip
    name = key.format(**days)
    bucket, known = Bucket({name: b'{"errorCode": "S", "rawData": "e30=", "arrivalTimestamp": 1}'}, now), set[str]()
    found = [len(list(_failed("b", now - timedelta(minutes=1), bucket, known))) for _ in range(2)]
    assert (found, bucket.read) == (([1, 0], [name]) if is_read else ([0, 0], []))
    assert (f"{name.rpartition('/')[0]}/" in bucket.listed) is is_read


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-11-23T10:00", "2026-11-23T10:00:00+00:00"), ("2026-11-23T10:00+02:00", "2026-11-23T08:00:00+00:00")],
)
def test_a_whole_hour_is_read(text: str, expected: str) -> None:
    """UTC where no zone is given."""
    assert whole_hour(text).isoformat() == expected


@pytest.mark.parametrize("text", ["soon", "2026-11-23T10:30"])
def test_anything_else_is_refused(text: str) -> None:
    """Half an hour has no sum."""
    with pytest.raises(SettingsError, match="reconcile"):
        whole_hour(text)


# canary


class Stream:
    """Firehose to this table: finds columns as `lands` does, and leaves an error for other keys."""

    def __init__(self, scope: Installation, lands: KeyStyle | None) -> None:
        self.scope, self.lands = scope, lands
        self.sent: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.time = NOW

    def put(self, data: bytes) -> None:
        """Take a record, and put its row where it belongs."""
        row = json.loads(data)
        self.sent.append(row)
        style = "wrapped" if '"orgId"' in row else "upper" if "ORGID" in row else "quoted"
        if style != self.lands:
            raw = base64.b64encode(data).decode()
            self.failures.append(
                {"errorCode": "Snowflake.ExtraColumns", "errorMessage": "Extra columns", "rawData": raw}
            )
            return
        plain = {name.strip('"'): value for name, value in row.items()}
        maps = {name: json.dumps(value) for name, value in plain.items() if isinstance(value, dict)}
        values = tuple({**plain, **maps}.get(name) for name in day.NAMES)
        snowflake_double.insert(self.scope.connection, self.scope.settings, [values])

    def failed(self, _: datetime) -> Iterable[dict[str, Any]]:
        """What is in the error bucket."""
        return self.failures

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.time += timedelta(seconds=seconds)

    def flight(self) -> Canary:
        """A flight over this stream."""
        return Canary(self.put, self.failed, lambda: self.time, self.sleep, wait=20)


@pytest.mark.parametrize(
    ("lands", "expected", "message"),
    [
        ("quoted", [Arrival("quoted", landed=True)], "a canary landed, with keys in the style quoted"),
        (
            "wrapped",
            [
                Arrival("quoted", landed=False, error="Snowflake.ExtraColumns: Extra columns"),
                Arrival("wrapped", landed=True),
                Arrival("upper", landed=False, error="Snowflake.ExtraColumns: Extra columns"),
            ],
            "Extra columns.*set SNOWFLAKE_IDENTIFIERS=wrapped",
        ),
    ],
)
def test_a_canary_tells_which_style_lands(
    scope: Installation, lands: KeyStyle, expected: list[Arrival], message: str
) -> None:
    """It landed; or why not, and what would."""
    stream = Stream(scope, lands)
    landings = send_canary(scope, stream.flight(), "demo")
    assert landings == expected
    assert re.search(message, summary(landings, "quoted"))
    seen = ask(scope.connection, f"SELECT DISTINCT DATASOURCE FROM {scope.settings.place}.METRICS")
    assert seen == [{"datasource": "Interfaces-"}]


def test_a_canary_that_vanishes_is_said(scope: Installation) -> None:
    """Neither a row nor a failed record within the time."""
    stream = Stream(scope, None)
    stream.failed = lambda _: []  # type: ignore[method-assign]
    landings = send_canary(scope, stream.flight(), "demo")
    assert not any(landing.landed for landing in landings)
    assert "nothing came within" in summary(landings, "quoted")


def test_a_canary_reads_failed_records_within_its_time(scope: Installation) -> None:
    """A bucket of many records does not keep it longer than it may take."""
    stream = Stream(scope, None)

    def failed(_: datetime) -> Iterable[dict[str, Any]]:
        while True:
            stream.sleep(5)
            yield {"errorCode": "S", "rawData": "e30="}

    stream.failed = failed  # type: ignore[method-assign]
    begun = stream.time
    landings = send_canary(scope, stream.flight(), "demo")
    assert not any(landing.landed for landing in landings)
    assert stream.time - begun == 3 * timedelta(seconds=20 + 5)  # one more pause each


# the commands


@pytest.fixture
def environment(account: Account, settings: SnowflakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person sets."""
    key = tmp_path / "key.p8"
    key.write_bytes(keypair.pem(keypair.make_pair(2048)))
    given = {
        "SNOWFLAKE_ACCOUNT_URL": account.url, "SNOWFLAKE_DATABASE": settings.database, "RETENTION_DAYS": "forever",
        "SNOWFLAKE_PRIVATE_KEY_FILE": str(key),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_setup_and_verify_run_from_the_command_line(account: Account, settings: SnowflakeSettings) -> None:
    """Setup twice, then verify: exit code 0 when nothing is off, 1 when something is."""
    run = CliRunner()
    for statement in account_statements(settings, SPEC):
        account.rewrite(statement.sql)
    account.denied = re.compile("DATA_RETENTION_TIME")  # as Standard Edition does
    first, second = run.invoke(app, ["setup"]), run.invoke(app, ["setup", "--json"])
    assert "ran      020_row_events.sql" in first.output
    assert "refused  950_time_travel.sql: a privilege is missing for: ALTER TABLE" in first.output
    assert json.loads(second.output)["applied"] == []
    good = run.invoke(app, ["verify"])
    assert (good.exit_code, "ok    table" in good.output) == (0, True)
    account.grants.clear()
    assert "\nWRONG privileges " in run.invoke(app, ["verify"]).output
    bad = run.invoke(app, ["verify", "--json"])
    assert bad.exit_code == 1
    assert [check["name"] for check in json.loads(bad.output)["checks"] if check["ok"] is False] == [
        "privileges",
        "direct writer",
    ]


@pytest.mark.usefixtures("environment", "scope")
def test_verify_reconciles_a_deployments_own_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's rows are counted under its environment: `lmdp-<environment>`, as the stacks name its service."""
    from moto import mock_aws  # noqa: PLC0415 - takes a second

    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # moto forgets old ones
    end, run = begin + timedelta(hours=1), CliRunner()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(config={"core": {"mock_credentials": True, "passthrough": {"urls": [r"http://127\.0\.0\.1.*"]}}}):
        aws_client("s3").create_bucket(Bucket="errors")
        for service, rows in (("lmdp-prod", 3), ("lmdp-dev", 5)):
            data = {"MetricName": "Delivered", "Dimensions": [{"Name": "service", "Value": service}],
                    "Value": rows, "Timestamp": begin}  # fmt: skip
            aws_client("cloudwatch").put_metric_data(Namespace="lmdp", MetricData=[data])
        given = ["--environment", "prod", "--bucket", "errors", "--reconcile", begin.isoformat(), end.isoformat()]
        answer = json.loads(run.invoke(app, ["verify", "--json", *given]).output)
    assert [(hour["delivered"], hour["rows"], hour["missing"]) for hour in answer["hours"]] == [(3, 0, 3)]


def test_ddl_needs_no_account() -> None:
    """Both scripts are printed whole; the network policy only when it is asked for."""
    run = CliRunner()
    setup, bootstrap = run.invoke(app, ["ddl"]).output, run.invoke(app, ["ddl", "--bootstrap"]).output
    assert 'CREATE TABLE IF NOT EXISTS LM_METRICS.PIPELINE.ROW_EVENTS (\n  "orgId" VARCHAR NOT NULL' in setup
    assert "ALTER SESSION SET QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE;\n" in setup.partition("CREATE")[0]
    assert "GRANT SELECT ON TABLE LM_METRICS.PIPELINE.ROW_EVENTS TO ROLE LM_READER_ROLE;" in setup
    assert "CREATE OR REPLACE TASK" in setup
    assert "CREATE DATABASE" not in setup
    assert "TYPE = SERVICE" in bootstrap
    assert "NETWORK POLICY" not in bootstrap
    limited = run.invoke(app, ["ddl", "--bootstrap"], env={"SNOWFLAKE_ALLOWED_IPS": "192.0.2.0/24"}).output
    assert "ALLOWED_IP_LIST = ('192.0.2.0/24')" in limited


def test_what_is_not_set_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Address and key in one message."""
    for name in ("SNOWFLAKE_ACCOUNT_URL", "SNOWFLAKE_PRIVATE_KEY_FILE", "SNOWFLAKE_PRIVATE_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    error = CliRunner().invoke(app, ["verify"]).exception
    assert isinstance(error, SettingsError)
    assert all(name in str(error) for name in ("SNOWFLAKE_ACCOUNT_URL", "SNOWFLAKE_PRIVATE_KEY_FILE"))

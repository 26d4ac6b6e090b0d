"""Setup through the real connector: what it makes, that it may be repeated, and what it does to an older table."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

import simulated_day as day
import snowflake_double
from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError, ObjectNotFoundError, PrivilegeError, SettingsError
from lmdp.snowflake.connection import ask
from lmdp.snowflake.setup import Migrated, migrate
from lmdp.sql.render import Part, statements
from lmdp.sql.settings import SnowflakeSettings
from snowflake_double import Account

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own

SPEC = load_spec()
PARTS: tuple[Part, ...] = ("account", "rights", "tables", "upgrades")
PREVIOUS = Path(__file__).parents[1] / "fixtures" / "previous" / "1d8b032.sql"
NOW_MS = int(datetime.now(UTC).timestamp() * 1000)


def _copies(account: Account) -> list[str]:
    """The copies of METRIC_HOURLY that setups made, the oldest first."""
    return [sql.split()[2] for sql in account.log if re.match(r"CREATE TABLE \S+\.METRIC_HOURLY_BACKUP_", sql)]


def test_setup_runs_each_file_once(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """The second setup runs no file, and only gives again what may be given again."""
    first = migrate(connection, settings, SPEC)
    account.log.clear()
    second = migrate(connection, settings, SPEC)
    files = {statement.file for statement in statements(SPEC, settings)} - {"010_database.sql"}
    assert set(first.applied) == files
    assert second == Migrated((), (), len(files))
    assert not [sql for sql in account.log if re.match("CREATE (OR REPLACE )?(VIEW|DYNAMIC|TABLE (?!IF))", sql)]


def test_every_migration_is_recorded(connection: Any, settings: SnowflakeSettings) -> None:
    """MIGRATIONS tells which file ran when, once; an empty schema has had its upgrades."""
    done = migrate(connection, settings, SPEC)
    rows = ask(connection, f"SELECT NAME, APPLIED_AT FROM {settings.place}.MIGRATIONS")
    names = [row["name"] for row in rows]
    assert sorted(names) == sorted([*done.applied, "one_table_of_points.sql"])


def test_a_changed_setting_runs_the_files_that_read_it(
    connection: Any, settings: SnowflakeSettings, account: Account
) -> None:
    """What reads them does not run again: CREATE OR ALTER leaves the tables below as they are."""
    migrate(connection, settings, SPEC)
    account.log.clear()
    other = dataclasses.replace(settings, target_lag_minutes=5)
    again = migrate(connection, other, SPEC).applied
    assert again == (
        "130_metric_hourly.sql", "140_metric_daily.sql", "150_metric_rates_hourly.sql", "160_metric_latest.sql",
        "210_dim_device.sql", "220_dim_datasource.sql", "230_dim_metric.sql", "240_dim_instance.sql",
        "330_device_counts.sql", "410_metric_spread.sql", "420_trend_sums.sql",
    )  # fmt: skip
    made = [sql for sql in account.log if re.match("CREATE .*(DYNAMIC TABLE|VIEW)", sql)]
    assert len(made) == len(again)
    # Word for word from the file: sqlglot 30.22 prints OR ALTER as OR REPLACE, which would compute all of it again.
    assert all(re.match("CREATE OR ALTER (TRANSIENT )?DYNAMIC TABLE", sql) for sql in made)


def test_a_table_that_refreshes_whole_is_made_again(
    connection: Any, settings: SnowflakeSettings, account: Account
) -> None:
    """Its file runs though it has not changed."""
    migrate(connection, settings, SPEC)
    account.dynamic.tables[f"{settings.place}.METRIC_LATEST"]["refresh_mode"] = "FULL"
    assert migrate(connection, settings, SPEC).applied == ("160_metric_latest.sql",)


def test_a_table_that_was_dropped_is_made_again(connection: Any, settings: SnowflakeSettings) -> None:
    """Its file runs though it has not changed."""
    migrate(connection, settings, SPEC)
    ask(connection, f"DROP DYNAMIC TABLE {settings.place}.METRIC_LATEST")
    assert migrate(connection, settings, SPEC).applied == ("160_metric_latest.sql",)


@pytest.mark.parametrize("lag", [60, 5], ids=["same statement", "upgrade"])
def test_a_kept_table_that_was_dropped_is_restored_first(
    connection: Any, settings: SnowflakeSettings, account: Account, lag: int
) -> None:
    """Nothing is changed until it is there again: two Sundays later both backups would be of a short table."""
    migrate(connection, settings, SPEC)
    (hourly,) = (one.sql for one in statements(SPEC, settings) if one.file == "130_metric_hourly.sql")
    for table in ("METRIC_LATEST", "METRIC_HOURLY"):
        ask(connection, f"DROP DYNAMIC TABLE {settings.place}.{table}")
    wanted = dataclasses.replace(settings, target_lag_minutes=lag)
    account.log.clear()
    with pytest.raises(LmdpError, match=r"(?s)this role: METRIC_HOURLY\..*Nothing was changed\.\nRestore it"):
        migrate(connection, wanted, SPEC)
    assert {sql.split()[0] for sql in account.log if "IF NOT EXISTS" not in sql} == {"SELECT", "SHOW"}
    ask(connection, hourly.replace("CREATE OR ALTER", "CREATE OR REPLACE"))
    assert "160_metric_latest.sql" in migrate(connection, wanted, SPEC).applied


def test_what_is_suspended_is_resumed(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """Snowflake suspends after five refreshes that failed, and resumes nothing by itself."""
    migrate(connection, settings, SPEC)
    account.dynamic.tables[f"{settings.place}.POINTS"]["scheduling_state"] = "SUSPENDED"
    assert migrate(connection, settings, SPEC).resumed == ("POINTS",)
    assert migrate(connection, settings, SPEC).resumed == ()


@pytest.mark.parametrize(
    ("there", "expected"),
    [({"LM_FIREHOSE_WH", "LM_REFRESH_WH"}, {"LM_REFRESH_WH"}), ({"LM_FIREHOSE_WH"}, {"LM_FIREHOSE_WH"})],
)
def test_the_refresh_warehouse(
    connection: Any, settings: SnowflakeSettings, account: Account, there: set[str], expected: set[str]
) -> None:
    """An administrator makes it; until then an upgrade refreshes on the one that there was."""
    account.warehouses = there
    migrate(connection, settings, SPEC)
    assert {table["warehouse"] for table in account.dynamic.tables.values()} == expected


def test_an_upgrade_keeps_the_kept_roll_ups(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """Hours whose raw rows are gone stay, in the table and in a copy; dimensions are computed again."""
    place = settings.place
    old = PREVIOUS.read_text().replace("LM_METRICS.PIPELINE", place)
    files = dict(part.split("\n", 1) for part in re.split(r"^-- (?=\d)", old, flags=re.MULTILINE)[1:])
    ask(connection, files.pop("020_row_events.sql").strip().removesuffix(";"))
    snowflake_double.insert(connection, settings, [day.row(day.BEGIN, 1.0), day.row(day.BEGIN + day.HOUR, 3.0)])
    ask(connection, f"CREATE TABLE {place}.MIGRATIONS (NAME VARCHAR, DIGEST VARCHAR, APPLIED_AT TIMESTAMP_NTZ)")
    for file, sql in files.items():
        ask(connection, sql.strip().removesuffix(";"))
        ask(connection, f"INSERT INTO {place}.MIGRATIONS SELECT '{file}', 'old', SYSDATE()")
    ask(connection, f"DELETE FROM {place}.ROW_EVENTS")  # the retention
    snowflake_double.insert(connection, settings, [day.row(NOW_MS, 9.0)])
    done = migrate(connection, settings, SPEC)
    assert {"130_metric_hourly.sql", "140_metric_daily.sql", "150_metric_rates_hourly.sql"} <= set(done.applied)
    for table, expected in (("METRIC_HOURLY", [1.0, 3.0, 9.0]), ("METRIC_DAILY", [3.0, 9.0])):
        found = ask(connection, f"SELECT VALUE_LAST FROM {place}.{table} ORDER BY VALUE_LAST")
        assert [row["value_last"] for row in found] == expected
    (copy,) = _copies(account)
    assert ask(connection, f"SELECT VALUE_LAST FROM {copy} ORDER BY 1") == [{"value_last": 1.0}, {"value_last": 3.0}]
    (device,) = ask(connection, f"SELECT * FROM {place}.DIM_DEVICE")
    assert device["first_ts"].isoformat() == "2025-12-31T00:00:00"
    dropped = [sql for sql in account.log if sql.startswith("DROP DYNAMIC TABLE")]
    assert len(dropped) == 6
    ask(connection, f"DELETE FROM {place}.MIGRATIONS WHERE NAME = '130_metric_hourly.sql'")  # as if interrupted
    assert migrate(connection, settings, SPEC).applied == ("130_metric_hourly.sql",)
    assert [len(ask(connection, f"SELECT * FROM {one}")) for one in _copies(account)] == [2, 3]


def test_each_change_of_a_kept_roll_up_has_its_own_copy(
    connection: Any, settings: SnowflakeSettings, account: Account
) -> None:
    """Also when a setting is changed back and changed again, and when only its refresh mode has changed."""
    migrate(connection, settings, SPEC)
    hourly = f"{settings.place}.METRIC_HOURLY"
    runs = [(5, "INCREMENTAL"), (60, "INCREMENTAL"), (5, "INCREMENTAL"), (5, "FULL")]
    for run, (lag, mode) in enumerate(runs):
        ask(connection, f"INSERT INTO {hourly} (VALUE_LAST) SELECT {run}")
        account.dynamic.tables[hourly]["refresh_mode"] = mode
        migrate(connection, dataclasses.replace(settings, target_lag_minutes=lag), SPEC)
    found = [ask(connection, f"SELECT VALUE_LAST FROM {copy}") for copy in _copies(account)]
    assert found == [[{"value_last": float(run)}] for run in range(4)]


def test_a_change_that_was_interrupted_is_run_again(
    connection: Any, settings: SnowflakeSettings, account: Account
) -> None:
    """Also with the settings of before: how far it came is unknown."""
    migrate(connection, settings, SPEC)
    account.denied = re.compile(r"DYNAMIC TABLE \S+\.METRIC_DAILY\b")
    with pytest.raises(PrivilegeError):
        migrate(connection, dataclasses.replace(settings, target_lag_minutes=5), SPEC)
    account.denied = None
    assert "140_metric_daily.sql" in migrate(connection, settings, SPEC).applied


def test_a_backup_of_the_week_before_is_kept(connection: Any, settings: SnowflakeSettings) -> None:
    """A roll-up that is damaged on a Saturday has a copy of a Sunday before; the first run has none to keep."""
    place = settings.place
    task = next(one.sql for one in statements(SPEC, settings, "rights") if "BACK_UP_METRIC_HOURLY" in one.sql)
    block = task.partition("'BEGIN\n")[2].removesuffix(";\nEND'")
    for week in (1, 2, 3):
        ask(connection, f"CREATE OR REPLACE TABLE {place}.METRIC_HOURLY AS SELECT {week} AS WEEK")
        for sql in block.split(";\n"):
            ask(connection, sql.strip())
    found = [ask(connection, f"SELECT WEEK FROM {place}.METRIC_HOURLY_BACKUP{older}") for older in ("", "_2")]
    assert found == [[{"week": 3}], [{"week": 2}]]


def test_an_older_table_follows_with_its_rows(connection: Any, settings: SnowflakeSettings) -> None:
    """A text `ts`, a default, a missing column and another style of names are altered; no row is lost."""
    place = settings.place
    ask(
        connection,
        f"""CREATE TABLE {place}.ROW_EVENTS ("orgId" VARCHAR NOT NULL, "deviceId" VARCHAR NOT NULL,
        DATASOURCE VARCHAR NOT NULL,
        "metric" VARCHAR NOT NULL, "type" VARCHAR NOT NULL, "ts" VARCHAR NOT NULL, "tsUnixMs" NUMBER(38,0) NOT NULL,
        "value" FLOAT, "attributes" VARIANT, "resource" VARIANT, "scope" VARIANT,
        LOADED_AT VARCHAR DEFAULT 'x', MARK VARCHAR NOT NULL)""",
    )
    ask(
        connection,
        f"""INSERT INTO {place}.ROW_EVENTS SELECT 'demo', '1', 'CPU', 'Load', 'gauge', '2025-11-17T00:00:00Z',
        1768646400000, 2.5, PARSE_JSON('{{}}'), PARSE_JSON('{{}}'), PARSE_JSON('{{}}'), 'x', 'm'""",
    )
    done = migrate(connection, settings, SPEC)
    assert len(done.altered) > 5
    (row,) = ask(connection, f"SELECT DEVICE_ID, DEVICE_NAME, DATASOURCE, TS, VALUE FROM {place}.METRICS")
    assert row["ts"].isoformat() == "2026-01-17T10:40:00"
    assert (row["device_id"], row["device_name"], row["datasource"], row["value"]) == ("1", None, "CPU", 2.5)
    (old,) = ask(connection, f'SELECT "ts_text" FROM {place}.ROW_EVENTS')
    assert old == {"ts_text": "2025-11-17T00:00:00Z"}
    assert migrate(connection, settings, SPEC).altered == ()
    snowflake_double.insert(connection, settings, [day.row(day.BEGIN, 1.0)])


def test_a_table_that_cannot_follow_is_refused(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """Every fault in one message, and nothing was changed."""
    ask(connection, f'CREATE TABLE {settings.place}.ROW_EVENTS ("orgId" VARCHAR NOT NULL, "value" VARCHAR)')
    account.log.clear()
    with pytest.raises(
        SettingsError, match=r"(?s)value is TEXT.*required column deviceId is missing.*Nothing was changed"
    ):
        migrate(connection, settings, SPEC)
    assert not [sql for sql in account.log if sql.startswith("ALTER")]


@pytest.mark.parametrize(
    ("table", "there", "expected"),
    [
        ("POINTS", "DATE_KEY, ORG_ID, DEVICE_ID, DEVICE_NAME, DATASOURCE, INSTANCE, METRIC", None),
        ("POINTS", "ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE", "POINTS has ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE"),
        (
            "METRIC_HOURLY",
            "DEVICE_ID, ORG_ID, DEVICE_NAME, DATASOURCE, INSTANCE",
            "METRIC_HOURLY has DEVICE_ID, ORG_ID",
        ),
        ("OTHER", "ORG_ID", None),
    ],
    ids=["same", "new field", "another order", "another table"],
)
def test_another_field_is_refused(
    connection: Any, settings: SnowflakeSettings, account: Account, table: str, there: str, expected: str | None
) -> None:
    """Before anything is changed: Snowflake adds columns only at the end, and its own would be in the middle."""
    ask(connection, f"CREATE TABLE {settings.place}.{table} ({there.replace(',', ' VARCHAR,')} VARCHAR)")
    account.denied = re.compile("ROW_EVENTS|MIGRATIONS")
    with pytest.raises(LmdpError) as raised:
        migrate(connection, settings, SPEC)
    if expected is None:
        assert isinstance(raised.value, PrivilegeError)
    else:
        assert expected in str(raised.value)
        assert "Nothing was changed.\nSet another SNOWFLAKE_SCHEMA" in str(raised.value)


def test_the_double_adds_columns_only_at_the_end(connection: Any, settings: SnowflakeSettings) -> None:
    """As Snowflake does: https://docs.snowflake.com/en/sql-reference/sql/create-dynamic-table."""
    site = dataclasses.replace(SPEC.fields[0], name="siteCode", required=False)
    spec = dataclasses.replace(SPEC, fields=(site, *SPEC.fields))
    rows, *_ = (one.sql for one in statements(spec, settings) if one.file == "020_row_events.sql")
    points = [
        next(one.sql for one in statements(some, settings) if one.file == "030_points.sql") for some in (SPEC, spec)
    ]
    for sql in (rows, *points[:1]):
        ask(connection, sql)
    with pytest.raises(LmdpError, match="only be added at the end"):
        ask(connection, points[1])


def test_what_the_account_refuses_is_printed(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """The direct writer's pipe is not needed by all; but who needs it sees why there is none."""
    account.denied = re.compile("CREATE PIPE")
    (refused,) = migrate(connection, settings, SPEC).refused
    assert re.match(
        r"960_direct_writer\.sql: a privilege is missing for: CREATE PIPE .* Insufficient privileges", refused
    )
    account.denied = re.compile("CREATE OR REPLACE TASK")
    with pytest.raises(PrivilegeError):
        migrate(connection, settings, SPEC)


def test_a_missing_privilege_is_one_clear_error(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """It names the statement and the way out; the next setup goes on where this one ended."""
    account.denied = re.compile("CREATE OR ALTER DYNAMIC TABLE")
    with pytest.raises(PrivilegeError) as raised:
        migrate(connection, settings, SPEC)
    assert "CREATE OR ALTER DYNAMIC TABLE" in str(raised.value)
    assert "ddl --bootstrap" in str(raised.value)
    account.denied = None
    assert "110_metrics.sql" not in migrate(connection, settings, SPEC).applied


def test_without_a_schema_the_bootstrap_is_named(connection: Any, settings: SnowflakeSettings) -> None:
    """The setup role makes no schema: an administrator does, once."""
    with pytest.raises(ObjectNotFoundError, match=r"no schema LM_.*\.ELSEWHERE"):
        migrate(connection, SnowflakeSettings(database=settings.database, schema="ELSEWHERE"), SPEC)


def test_firehose_may_insert_and_nothing_else(connection: Any, settings: SnowflakeSettings, account: Account) -> None:
    """Of the table's rights, its role is given INSERT alone; and the use of the direct writer's pipe."""
    migrate(connection, settings, SPEC)
    place = settings.place
    wanted = {("INSERT", f"{place}.ROW_EVENTS"), ("OPERATE", f"{place}.ROW_EVENTS_STREAM")}
    assert account.grants["LM_FIREHOSE_ROLE"] == wanted


@pytest.mark.parametrize("part", PARTS)
def test_what_parsing_cannot_show_is_listed(part: Part) -> None:
    """Sqlglot takes these statements as text; everything else it understands."""
    found = set()
    everything = SnowflakeSettings(allowed_ips=("192.0.2.0/24",))
    for statement in statements(SPEC, everything, part):
        if isinstance(sqlglot.parse_one(statement.sql, read="snowflake"), exp.Command):
            found.add(snowflake_double.head(statement.sql))
    assert found == snowflake_double.RAW[part]


def test_what_fakesnow_cannot_run_is_listed() -> None:
    """A kind of statement leaves the list as soon as fakesnow can run it."""
    every = SnowflakeSettings(allowed_ips=("192.0.2.0/24",))
    account_parts: tuple[Part, ...] = ("account", "rights")
    kinds = {snowflake_double.head(one.sql): one.sql for part in account_parts for one in statements(SPEC, every, part)}
    session = FakeSnow().connect("LM_METRICS", "PIPELINE")
    cannot = set()
    for kind, sql in kinds.items():
        try:
            session.cursor().execute(sql)
        except ProgrammingError:
            cannot.add(kind)
    assert cannot == snowflake_double.LACKS


@pytest.mark.parametrize("call", ["OBJECT_DELETE(PARSE_JSON('{}'), 'a')", "MD5_NUMBER_LOWER64('a')"])
def test_what_functions_fakesnow_lacks_is_listed(call: str) -> None:
    """The doubles for these go as soon as it has them."""
    assert call.partition("(")[0] in snowflake_double.LACKS_FUNCTIONS
    with pytest.raises(ProgrammingError, match="does not exist"):
        FakeSnow().connect("LM_METRICS", "PIPELINE").cursor().execute(f"SELECT {call}")

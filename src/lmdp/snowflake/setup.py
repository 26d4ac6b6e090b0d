"""Setup: the landing table, views and roll-ups of this version, in an account that an administrator has prepared.

Every file is recorded in MIGRATIONS with a digest of its statements, and runs when that has changed. Its statements say
CREATE OR ALTER: what is unchanged stays as it is, and of a roll-up that is kept only the hours that are not frozen are
computed again. Each statement may be repeated, so that an interrupted setup is completed by running it again.
https://docs.snowflake.com/en/user-guide/dynamic-tables/modify
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lmdp.core.specification import Spec
from lmdp.errors import LmdpError, ObjectNotFoundError, UnreachableError
from lmdp.snowflake.connection import ask
from lmdp.snowflake.dynamic_tables import KEPT, DynamicTable, read_dynamic_tables
from lmdp.sql.render import Statement, statements
from lmdp.sql.settings import SnowflakeSettings
from lmdp.sql.table_diff import alter_statements, columns_query, promoted_query, read_columns, refuse_new_fields
from lmdp.support.program import program

# An ACCOUNTADMIN makes these; the setup role may not.
_NOT_OURS: Final = "010_database.sql"
# What an account's edition may refuse, and nothing else needs.
_OPTIONAL: Final = frozenset({"950_time_travel.sql", "960_direct_writer.sql"})
_MIGRATIONS: Final = """
CREATE TABLE IF NOT EXISTS {place}.MIGRATIONS (
  NAME VARCHAR NOT NULL, DIGEST VARCHAR NOT NULL, APPLIED_AT TIMESTAMP_NTZ NOT NULL
)
"""
# In place of a digest while a file is changed: after an interruption also the version before runs it again.
_BEGUN: Final = "begun"


@dataclass(frozen=True, slots=True)
class Migrated:
    """Result of a setup: files that it ran, changes to an older table, tables that it resumed; `unchanged` files.

    `refused` has what this account refuses and only some need: file and error, in a line each.
    """

    applied: tuple[str, ...]
    altered: tuple[str, ...]
    unchanged: int
    resumed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def migrate(connection: Any, settings: SnowflakeSettings, spec: Spec) -> Migrated:
    """Bring the schema to this version; running it again changes nothing.

    The connection's role owns the schema. Raises LmdpError: PrivilegeError, ObjectNotFoundError, or SettingsError
    when older tables cannot follow the specification, or a roll-up that is kept was dropped, with nothing changed.
    """
    _check_schema(connection, settings)
    refuse_new_fields(ask(connection, promoted_query(settings)), spec, settings)
    ask(connection, _MIGRATIONS.format(place=settings.place))
    done = _done(connection, settings)
    there = {table.name: table for table in read_dynamic_tables(connection, settings)} if done else {}
    _refuse_dropped(done, there)
    settings = _with_refresh_warehouse(connection, settings)
    altered = _follow(connection, settings, spec)
    applied, unchanged = _run_changed(connection, settings, spec, done, there)
    refused = _run_rights(connection, settings, spec)
    return Migrated(applied, altered, unchanged, _resume(connection, settings), refused)


def setup_statements(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """Return the statements that a setup runs on an empty schema, in order."""
    tables = (statement for statement in statements(spec, settings) if statement.file != _NOT_OURS)
    return (*tables, *rights(settings, spec))


def account_statements(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """Return the statements that an ACCOUNTADMIN runs once."""
    everything = statements(spec, settings, "account")
    return tuple(one for one in everything if settings.allowed_ips or one.file != "050_network.sql")


def rights(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """Grants, tasks and retention; they run every time."""
    other = "920_retention.sql" if settings.retention_days is None else "930_no_retention.sql"
    return tuple(one for one in statements(spec, settings, "rights") if one.file != other)


def _check_schema(connection: Any, settings: SnowflakeSettings) -> None:
    found = ask(
        connection,
        f"SELECT SCHEMA_NAME FROM {settings.database}.INFORMATION_SCHEMA.SCHEMATA"  # noqa: S608 - checked names
        f" WHERE SCHEMA_NAME = '{settings.schema}'",
    )
    if not found:
        raise ObjectNotFoundError(
            f"there is no schema {settings.place}, or {settings.setup_role} cannot see it. Nothing was done.\n"
            f"Have an ACCOUNTADMIN run what `{program()} snowflake ddl --bootstrap` prints, and repeat the command."
        )


def _with_refresh_warehouse(connection: Any, settings: SnowflakeSettings) -> SnowflakeSettings:
    """Return the settings with a warehouse that is there: the readers', until an administrator has made the other."""
    shown = ask(connection, f"SHOW WAREHOUSES LIKE '{settings.refresh_warehouse}'")
    if settings.refresh_warehouse in {str(row["name"]) for row in shown}:
        return settings
    return dataclasses.replace(settings, refresh_warehouse=settings.warehouse)


def _follow(connection: Any, settings: SnowflakeSettings, spec: Spec) -> tuple[str, ...]:
    there = read_columns(ask(connection, columns_query(settings)))
    changes = alter_statements(there, spec, settings) if there else []
    for sql in changes:
        ask(connection, sql)
    return tuple(changes)


def _done(connection: Any, settings: SnowflakeSettings) -> dict[str, str]:
    """Return the digests in MIGRATIONS, the newest of each name."""
    rows = ask(connection, f"SELECT NAME, DIGEST FROM {settings.place}.MIGRATIONS ORDER BY APPLIED_AT")  # noqa: S608 - checked names
    return {str(row["name"]): str(row["digest"]) for row in rows}


def _table(file: str) -> str:
    return file.partition("_")[2].removesuffix(".sql").upper()


def _refuse_dropped(done: Mapping[str, str], there: Mapping[str, DynamicTable]) -> None:
    """Raise LmdpError for a kept roll-up that was made and is gone: a short one would be copied over its backups."""
    dropped = sorted({_table(file) for file in done}.intersection(KEPT).difference(there))
    if dropped:
        raise LmdpError(
            f"no longer there, or not visible to this role: {', '.join(dropped)}. The setup does not create what has "
            "history that exists nowhere else. Nothing was changed.\n"
            "Restore it from its copy, as docs/snowflake-tables.md shows, and repeat the command."
        )


def _record(connection: Any, settings: SnowflakeSettings, name: str, digest: str) -> None:
    place = settings.place
    ask(
        connection,
        f"INSERT INTO {place}.MIGRATIONS (NAME, DIGEST, APPLIED_AT) SELECT %s, %s, SYSDATE()",
        (name, digest),
    )


def _run_changed(
    connection: Any,
    settings: SnowflakeSettings,
    spec: Spec,
    done: Mapping[str, str],
    there: Mapping[str, DynamicTable],
) -> tuple[tuple[str, ...], int]:
    """Run the files that have changed, and those of tables that refresh FULL or were dropped.

    Return them, and how many were left.
    """
    _upgrade(connection, settings, spec, done)
    files = _files(statements(spec, settings))
    del files[_NOT_OURS]
    applied: list[str] = []
    for file, parts in files.items():
        digest = hashlib.sha256(";\n".join(parts).encode()).hexdigest()[:16]
        table = _table(file)
        is_full = table in there and there[table].mode == "FULL"
        is_dropped = table not in {*there, *KEPT} and "DYNAMIC TABLE" in parts[0]
        if done.get(file) == digest and not (is_full or is_dropped):
            continue
        if table in KEPT and table in there and there[table].data:
            # Its own copy each time: a repeat may find the table changed, and an older copy lacks the hours since.
            copy = f"{settings.place}.{table}_BACKUP_{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            ask(connection, f"CREATE TABLE {copy} CLONE {settings.place}.{table}")
        if file in done:
            _record(connection, settings, file, _BEGUN)
        for sql in parts:
            ask(connection, sql)
        _record(connection, settings, file, digest)
        applied.append(file)
    return tuple(applied), len(files) - len(applied)


def _run_rights(connection: Any, settings: SnowflakeSettings, spec: Spec) -> tuple[str, ...]:
    """Run grants and tasks; return what the account refuses of those that it may refuse."""
    refused = []
    for statement in rights(settings, spec):
        try:
            ask(connection, statement.sql)
        except LmdpError as error:
            if statement.file not in _OPTIONAL or isinstance(error, UnreachableError):
                raise
            refused.append(f"{statement.file}: {' '.join(str(error).split())}")
    return tuple(refused)


def _upgrade(connection: Any, settings: SnowflakeSettings, spec: Spec, done: Mapping[str, str]) -> None:
    """Run what an older schema needs before its files, once; an empty one needs nothing."""
    for file, parts in _files(statements(spec, settings, "upgrades")).items():
        if file not in done:
            for sql in parts if done else ():
                ask(connection, sql)
            _record(connection, settings, file, "once")


def _files(found: tuple[Statement, ...]) -> defaultdict[str, list[str]]:
    files: defaultdict[str, list[str]] = defaultdict(list)
    for statement in found:
        files[statement.file].append(statement.sql)
    return files


def _resume(connection: Any, settings: SnowflakeSettings) -> tuple[str, ...]:
    """Resume what is suspended: Snowflake suspends a table after five failed refreshes, and resumes none itself."""
    suspended = [table.name for table in read_dynamic_tables(connection, settings) if table.is_suspended]
    for name in suspended:
        ask(connection, f"ALTER DYNAMIC TABLE {settings.place}.{name} RESUME")
    return tuple(suspended)

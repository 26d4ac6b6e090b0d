"""Setup: the landing table, views and roll-ups of this version, in an account that an administrator has prepared.

Every file is recorded in MIGRATIONS with a digest of its statements. A roll-up that is kept runs once and never again,
since the rows that it was made of are gone; another file runs again when it, or one before it, has changed. Each
statement may be repeated, so that an interrupted setup is completed by running it again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from lmdp.core.specification import Spec
from lmdp.errors import ObjectNotFoundError
from lmdp.snowflake.connection import ask
from lmdp.sql.render import Statement, statements
from lmdp.sql.settings import SnowflakeSettings
from lmdp.sql.table_diff import alter_statements, columns_query, read_columns
from lmdp.support.program import program

# An ACCOUNTADMIN makes these; the setup role may not.
_NOT_OURS: Final = "010_database.sql"
_TABLE: Final = "020_row_events.sql"
_CLOSED: Final = "905_closed_hours.sql"
_RETENTION: Final = "RETENTION_DAYS"
# The sign of what is made once: everything else says OR REPLACE.
_ONCE: Final = "CREATE DYNAMIC TABLE IF NOT EXISTS"

_MIGRATIONS: Final = """
CREATE TABLE IF NOT EXISTS {place}.MIGRATIONS (
  NAME VARCHAR NOT NULL, DIGEST VARCHAR NOT NULL, APPLIED_AT TIMESTAMP_NTZ NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a setup did: the files that it ran, the changes to an older table; `unchanged` files had nothing to do."""

    applied: tuple[str, ...]
    altered: tuple[str, ...]
    unchanged: int


def migrate(connection: Any, settings: SnowflakeSettings, spec: Spec) -> Migrated:
    """Bring the schema to this version; running it again changes nothing.

    The connection's role owns the schema. Raises LmdpError: PrivilegeError, ObjectNotFoundError, or SettingsError
    when an older table cannot follow the specification.
    """
    _check_schema(connection, settings)
    ask(connection, _MIGRATIONS.format(place=settings.place))
    altered = _follow(connection, settings, spec)
    applied, unchanged = _run_changed(connection, settings, spec, again=bool(altered))
    _close_earlier(connection, settings, spec)
    for statement in rights(settings, spec):
        ask(connection, statement.sql)
    return Migrated(applied, altered, unchanged)


def setup_statements(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """What a setup runs on an empty schema, in order."""
    tables = (statement for statement in statements(spec, settings) if statement.file != _NOT_OURS)
    return (*tables, *rights(settings, spec))


def account_statements(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """What an ACCOUNTADMIN runs once."""
    everything = statements(spec, settings, "account")
    return tuple(one for one in everything if settings.allowed_ips or one.file != "050_network.sql")


def rights(settings: SnowflakeSettings, spec: Spec) -> tuple[Statement, ...]:
    """Grants and the retention task; they run every time."""
    others = {_CLOSED, "920_retention.sql" if settings.retention_days is None else "930_no_retention.sql"}
    return tuple(one for one in statements(spec, settings, "rights") if one.file not in others)


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


def _follow(connection: Any, settings: SnowflakeSettings, spec: Spec) -> tuple[str, ...]:
    there = read_columns(ask(connection, columns_query(settings)))
    changes = alter_statements(there, spec, settings) if there else []
    for sql in changes:
        ask(connection, sql)
    return tuple(changes)


def _close_earlier(connection: Any, settings: SnowflakeSettings, spec: Spec) -> None:
    """With a shorter retention, close the kept roll-ups' hours earlier, before their rows go.

    Never later: hours that were closed would be computed again, from rows that are gone.
    """
    days = settings.retention_days
    before = _done(connection, settings).get(_RETENTION)
    if days is None or (before is not None and before != "forever" and int(before) <= days):
        if before is None:
            _record(connection, settings, _RETENTION, "forever")
        return
    if before is not None:
        for statement in statements(spec, settings, "rights"):
            if statement.file == _CLOSED:
                ask(connection, statement.sql)
    _record(connection, settings, _RETENTION, str(days))


def _done(connection: Any, settings: SnowflakeSettings) -> dict[str, str]:
    """Return the digests in MIGRATIONS, the newest of each name."""
    rows = ask(connection, f"SELECT NAME, DIGEST FROM {settings.place}.MIGRATIONS ORDER BY APPLIED_AT")  # noqa: S608 - checked names
    return {str(row["name"]): str(row["digest"]) for row in rows}


def _record(connection: Any, settings: SnowflakeSettings, name: str, digest: str) -> None:
    place = settings.place
    ask(
        connection,
        f"INSERT INTO {place}.MIGRATIONS (NAME, DIGEST, APPLIED_AT) SELECT %s, %s, SYSDATE()",
        (name, digest),
    )


def _run_changed(
    connection: Any, settings: SnowflakeSettings, spec: Spec, *, again: bool
) -> tuple[tuple[str, ...], int]:
    done = _done(connection, settings)
    files: defaultdict[str, list[str]] = defaultdict(list)
    for statement in statements(spec, settings):
        files[statement.file].append(statement.sql)
    del files[_NOT_OURS]
    applied: list[str] = []
    for file, parts in files.items():
        digest = hashlib.sha256(";\n".join(parts).encode()).hexdigest()[:16]
        is_once = file in done and (file == _TABLE or parts[0].startswith(_ONCE))
        if is_once or (done.get(file) == digest and not again):
            continue
        for sql in parts:
            ask(connection, sql)
        _record(connection, settings, file, digest)
        applied.append(file)
        # What reads a view that changed is made again, too: `*` in it is fixed when it is made.
        again = True
    return tuple(applied), len(files) - len(applied)

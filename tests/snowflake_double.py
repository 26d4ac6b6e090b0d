"""fakesnow, with what it lacks of an account: grants, users, tasks, dynamic tables, two functions.

Used through the real connector.

`RAW` and `LACKS` are the one place that says what these tests cannot show; a test keeps both true.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fakesnow
import pytest
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from lmdp.core.column_names import KeyStyle
from lmdp.core.specification import load_spec
from lmdp.snowflake.connection import ask
from lmdp.sql.render import column
from lmdp.sql.settings import SnowflakeSettings
from snowflake_dynamic import OK, DynamicTables

# The function: once it runs, a module of the same name takes its place.
_SERVE = fakesnow.server
_TRANSLATED: dict[tuple[str, str, str], exp.Expr] = {}

RAW = {
    "account": {
        "ALTER NETWORK POLICY", "ALTER RESOURCE MONITOR", "ALTER USER", "ALTER WAREHOUSE", "CREATE NETWORK POLICY",
        "CREATE RESOURCE MONITOR",
        "CREATE ROLE", "CREATE USER", "GRANT OWNERSHIP ON", "GRANT ROLE", "GRANT SELECT ON FUTURE",
    },
    "rights": {"ALTER TASK", "CREATE PIPE", "CREATE TASK", "DROP TASK", "GRANT OPERATE", "GRANT SELECT ON ALL"},
    "upgrades": {"DROP DYNAMIC TABLE"},
    # the clause FROZEN WHERE
    "tables": {"CREATE DYNAMIC TABLE"},
}  # fmt: skip
"""What sqlglot takes only as a raw command: that it parses proves nothing."""

LACKS = {
    "ALTER NETWORK POLICY", "ALTER RESOURCE MONITOR", "ALTER TABLE SET", "ALTER TASK", "ALTER USER",
    "ALTER WAREHOUSE", "CREATE NETWORK POLICY", "CREATE PIPE", "CREATE RESOURCE MONITOR", "CREATE ROLE",
    "CREATE TASK", "CREATE USER", "CREATE WAREHOUSE", "DROP TASK", "GRANT EXECUTE TASK", "GRANT INSERT",
    "GRANT OPERATE", "GRANT OWNERSHIP ON", "GRANT ROLE", "GRANT SELECT ON ALL", "GRANT SELECT ON FUTURE",
    "GRANT SELECT ON TABLE",
    "GRANT USAGE",
}  # fmt: skip
"""What fakesnow cannot run. It also makes a dynamic table a table of its first answer, and knows no case in a name."""

LACKS_FUNCTIONS = {"OBJECT_DELETE", "MD5_NUMBER_LOWER64"}

_KEY_SET = re.compile(r"ALTER USER (?P<user>\w+) SET (?P<slot>\w+) = '(?P<key>[^']+)'")
_KEY_UNSET = re.compile(r"ALTER USER (?P<user>\w+) UNSET (?P<slot>\w+)")
_PIPE = re.compile(r"CREATE PIPE IF NOT EXISTS \S+\.(?P<name>\w+) AS")
_TASK = re.compile(r"(?P<change>CREATE OR REPLACE|ALTER|DROP) TASK (?:IF EXISTS )?\S+\.(?P<name>\w+)")
_GRANT = re.compile(
    r"GRANT (?P<right>INSERT|OPERATE|USAGE) ON (?:TABLE|DATABASE|PIPE|SCHEMA) (?P<on>\S+) TO ROLE (?P<role>\w+)"
)


def head(sql: str) -> str:
    """A statement's kind, as RAW and LACKS name it."""
    words = re.sub(r"OR (?:REPLACE|ALTER) |TRANSIENT |,", "", sql).split()
    if words[:2] == ["ALTER", "TABLE"]:
        return f"ALTER TABLE {words[3]}"
    if words[1] in {"DYNAMIC", "NETWORK", "RESOURCE", "EXECUTE"}:
        return " ".join(words[:3])
    if words[:2] == ["GRANT", "SELECT"]:
        return " ".join(words[:4])
    return " ".join(words[:3] if words[:2] == ["GRANT", "OWNERSHIP"] else words[:2])


@dataclass
class Account:
    """The account's state: grants by role, users' keys by slot. What matches `denied` is refused as not permitted."""

    url: str = ""
    grants: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    denied: re.Pattern[str] | None = None
    waiting: re.Pattern[str] | None = None
    log: list[str] = field(default_factory=list)
    warehouses: set[str] = field(default_factory=lambda: {"LM_FIREHOSE_WH", "LM_REFRESH_WH"})
    dynamic: DynamicTables = field(default_factory=DynamicTables)
    pipes: set[str] = field(default_factory=set)
    tasks: dict[str, str] = field(default_factory=dict)
    task_errors: dict[str, str] = field(default_factory=dict)
    error_table: list[bytes] = field(default_factory=list)
    failed_inserts: int = 0

    def rewrite(self, sql: str) -> str:
        """The statement for fakesnow; what it lacks is done here."""
        if self.denied is not None and self.denied.search(sql):
            raise ProgrammingError(
                msg="SQL access control error: Insufficient privileges", errno=3001, sqlstate="42501"
            )
        if self.waiting is not None and self.waiting.search(sql):
            raise ProgrammingError(msg="Dynamic Table is not initialized.", errno=2741, sqlstate="55000")
        if (dynamic := self.dynamic.rewrite(sql)) is not None:
            return dynamic
        return self._answered(sql) or self._done(sql)

    def _answered(self, sql: str) -> str | None:
        """The answer of SHOW and DESCRIBE, and of who is signed in."""
        last = sql.rsplit(maxsplit=1)[-1]
        answers: dict[str, Callable[[], str]] = {
            "SHOW GRANTS TO ROLE ": lambda: _values(sorted(self.grants.get(last, set())), "privilege", "name"),
            "DESCRIBE USER ": lambda: _values(self._fingerprints(last), "property", "value"),
            "SHOW TASKS IN SCHEMA ": lambda: _values([*self.tasks.items()], "name", "state"),
            "SELECT NAME, ERROR_MESSAGE": lambda: _values([*self.task_errors.items()], "name", "error_message"),
        }
        for start, found in answers.items():
            if sql.lstrip().startswith(start):
                return found()
        if sql.startswith(("SHOW WAREHOUSES LIKE ", "SHOW PIPES LIKE ")):
            shown = [(name, "") for name in self.warehouses | self.pipes if f"'{name}'" in sql]
            return _values(shown, "name", "state") + " WHERE \"name\" <> ''"
        if "FROM ERROR_TABLE(" in sql:
            return self._refused(sql)
        if "CURRENT_ROLE()" in sql or "CURRENT_USER()" in sql:
            return re.sub(r"CURRENT_(ROLE|USER)\(\)", "'LM_SETUP_ROLE'", sql)
        return None

    def _done(self, sql: str) -> str:
        """Note rights, keys and tasks."""
        if grant := _GRANT.match(sql):
            self.grants.setdefault(grant["role"], set()).add((grant["right"], grant["on"]))
        elif pipe := _PIPE.match(sql):
            self.pipes.add(pipe["name"])
        elif task := _TASK.match(sql):
            self._task(task["change"], task["name"])
        elif change := _KEY_SET.match(sql):
            self.keys.setdefault(change["user"], {})[change["slot"]] = change["key"]
        elif change := _KEY_UNSET.match(sql):
            self.keys[change["user"]].pop(change["slot"], None)
        return OK if head(sql) in LACKS else sql

    def _task(self, change: str, name: str) -> None:
        """A task that is created has to be resumed, as ours are in the next statement."""
        if change == "DROP":
            self.tasks.pop(name, None)
        else:
            self.tasks[name] = "started" if change == "ALTER" else "suspended"

    def _refused(self, sql: str) -> str:
        """The rows that Snowflake refused, of streams and of statements, or how many they are."""
        found = [row.decode() for row in self.error_table]
        for negated, text in re.findall(r"AND (NOT COALESCE\()?CONTAINS\(ERROR_DATA:\"\$1\"::STRING, '([^']+)'\)", sql):
            found = [row for row in found if (text in row) != bool(negated)]
        rows: list[str | None] = [*found]
        if "ERROR_METADATA:service::STRING = 'snowpipe_streaming'" not in sql:
            rows += [None] * self.failed_inserts
        if "COUNT(*)" in sql:
            return f"SELECT {len(rows)} AS {sql.split()[3]}"
        lines = [
            f"(TIMESTAMP '2026-01-02 03:04:05', 100038, 'no number', 'json', {_literal(row)})" for row in rows
        ] or ["(NULL, NULL, NULL, NULL, NULL)"]
        names = '"AT", "CODE", "REASON", "KIND", "PAYLOAD"'
        return f'SELECT * FROM (VALUES {", ".join(lines)}) AS V({names}) WHERE "KIND" IS NOT NULL'

    def _fingerprints(self, user: str) -> list[tuple[str, str]]:
        def of(key: str | None) -> str:
            if key is None:
                return "null"
            return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode()

        held = self.keys.get(user, {})
        return [(f"{slot}_FP", of(held.get(slot))) for slot in ("RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2")]


def _values(rows: list[tuple[str, str]], *names: str) -> str:
    lines = ", ".join("(" + ", ".join(f"'{value}'" for value in row) + ")" for row in rows) or "('', '')"
    return f'SELECT * FROM (VALUES {lines}) AS V("{names[0]}", "{names[1]}")'


@functools.cache
def _parsed(sql: str) -> exp.Expr:
    found: exp.Expr = sys.modules["fakesnow.dialect"].parse_one(sql)
    return found


def _quick(transform: Callable[..., exp.Expr]) -> Callable[..., exp.Expr]:
    """Translate each view and table once: fakesnow walks their long statements seventy times."""

    def translate(cursor: Any, statement: exp.Expr, params: Any) -> exp.Expr:
        if not isinstance(statement, exp.Create) or params:
            return transform(cursor, statement, params)
        key = cursor._conn.database, cursor._conn.schema, statement.sql()
        if key not in _TRANSLATED:
            _TRANSLATED[key] = transform(cursor, statement, params)
        return _TRANSLATED[key].copy()

    return translate


@contextlib.contextmanager
def served(monkeypatch: pytest.MonkeyPatch, database: str, schema: str = "PIPELINE") -> Iterator[Account]:
    """The server, new for each test, with an account in front."""
    account = Account()
    with _SERVE() as where:
        account.url = f"http://{where['host']}:{where['port']}"
        module = sys.modules["fakesnow.server"]
        cursors = sys.modules["fakesnow.cursor"].FakeSnowflakeCursor
        execute = cursors.execute

        def columns(name: str) -> list[str]:
            place, _, table = name.rpartition(".")
            rows = shared.duck_conn.execute(
                "SELECT column_name FROM information_schema.columns"
                " WHERE upper(table_catalog || '.' || table_schema) = ? AND upper(table_name) = ?"
                " ORDER BY ordinal_position",
                [place.upper(), table.upper()],
            )
            return [str(row[0]) for row in rows.fetchall()]

        def front(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
            account.log.append(command)
            altered = account.dynamic.altered(command)
            before = columns(altered) if altered else []
            done = ran(self, command, *args, **kwargs)
            if altered and columns(altered)[: len(before)] != before:
                raise ProgrammingError(msg="New columns can only be added at the end of existing columns.", errno=2)
            return done

        def ran(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
            frozen = account.dynamic.frozen(command)
            if frozen is None:
                return execute(self, account.rewrite(command), *args, **kwargs)
            name, rows = frozen
            execute(self, f"CREATE OR REPLACE TABLE {name}_FROZEN AS SELECT * FROM {name} WHERE {rows}")
            execute(self, account.rewrite(command))
            execute(self, f"DELETE FROM {name} WHERE {rows}")
            return execute(self, f"INSERT INTO {name} SELECT * FROM {name}_FROZEN")

        def parse_what_is_run(command: str) -> exp.Expr:
            quiet = Account(denied=None)
            return _parsed(OK if command.startswith("ALTER USER") else quiet.rewrite(command))

        monkeypatch.setattr(cursors, "execute", front)
        monkeypatch.setattr(cursors, "_transform", _quick(cursors._transform))
        monkeypatch.setattr(sys.modules["fakesnow.cursor"], "parse_one", lambda sql: _parsed(sql).copy())
        monkeypatch.setattr(module, "parse_one", parse_what_is_run)
        shared = FakeSnow()
        monkeypatch.setattr(module, "shared_fs", shared)
        shared.connect(database, schema)
        for macro in _macros(database):
            shared.duck_conn.execute(macro)
        yield account
        monkeypatch.undo()


def _macros(database: str) -> list[str]:
    overloads = []
    for count in range(1, 7):
        names = [f"k{n}" for n in range(count)]
        patch = " || ',' || ".join(f"to_json({name}) || ':null'" for name in names)
        body = (
            f"CASE WHEN o IS NOT NULL THEN json_merge_patch(CAST(o AS JSON), CAST('{{' || {patch} || '}}' AS JSON)) END"
        )
        overloads.append(f"(o, {', '.join(names)}) AS {body}")
    half = "CAST(CAST('0x' || right(md5(t), 16) AS UBIGINT) AS HUGEINT)"
    # fakesnow's translator writes the second one's name so.
    return [
        f"CREATE MACRO {database}.main.object_delete{', '.join(overloads)}",
        f"CREATE MACRO {database}.main.m_d5_number_lower64(t) AS {half}",
    ]


def insert(
    connection: Any, settings: SnowflakeSettings, rows: list[tuple[Any, ...]], style: KeyStyle = "quoted"
) -> None:
    """Put row events into the landing table, as streaming would."""
    fields = load_spec().fields
    names = [field.name for field in fields]
    maps = {field.name for field in fields if field.sql_type == "VARIANT"}
    into = ", ".join(column(name, style) for name in names)
    take = ", ".join(f"PARSE_JSON(V.C{n})" if name in maps else f"V.C{n}" for n, name in enumerate(names))
    columns = ", ".join(f"C{n}" for n in range(len(names)))
    for begin in range(0, len(rows), 500):
        lines = ", ".join("(" + ", ".join(_literal(value) for value in one) + ")" for one in rows[begin : begin + 500])
        ask(
            connection,
            f"INSERT INTO {settings.place}.ROW_EVENTS ({into}) SELECT {take} FROM (VALUES {lines}) AS V({columns})",
        )


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return "'" + str(value).replace("'", "''") + "'" if isinstance(value, str) else repr(value)

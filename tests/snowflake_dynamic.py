"""What fakesnow lacks of dynamic tables: their state, frozen rows, clones and refresh history."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlglot
from sqlglot import exp

OK = "SELECT 'Statement executed successfully.' AS STATUS"
_MADE_BY = re.compile(
    r"CREATE (?:OR (?:REPLACE|ALTER) )?(?:TRANSIENT )?DYNAMIC TABLE (?:IF NOT EXISTS )?(?P<name>\S+).*?"
    r"WAREHOUSE = (?P<warehouse>\w+)",
    re.DOTALL,
)
_CHANGED = re.compile(r"(?P<change>ALTER|DROP) DYNAMIC TABLE (?:IF EXISTS )?(?P<name>\S+)")
_FROZEN = re.compile(r"^\s*(?:FROZEN|IMMUTABLE) WHERE (?P<rows>.*)$", re.MULTILINE)
_CLONE = re.compile(r"(?P<create>CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?)(?P<copy>\S+) CLONE (?P<name>\S+)")
_SHOWN = "SHOW DYNAMIC TABLES IN SCHEMA "


def parsed(sql: str) -> exp.Create:
    """The statement without the clause that no parser knows."""
    tree = sqlglot.parse_one(re.sub(r"FROZEN WHERE .*", "", sql), read="snowflake")
    assert isinstance(tree, exp.Create)
    return tree


@dataclass
class DynamicTables:
    """The dynamic tables by their whole name, as SHOW has them, with the error of the last refresh (`error`)."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rewrite(self, sql: str) -> str | None:
        """The statement for fakesnow; None for one that concerns no dynamic table."""
        if sql.startswith(_SHOWN):
            return _shown([table for table in self.tables.values() if table["place"] == sql.removeprefix(_SHOWN)])
        if "DYNAMIC_TABLE_REFRESH_HISTORY(" in sql:
            return _refreshed([table for table in self.tables.values() if f"'{table['place']}'" in sql])
        if clone := _CLONE.match(sql):
            return f"{clone['create']}{clone['copy']} AS SELECT * FROM {clone['name']}"
        if made := _MADE_BY.match(sql):
            self._make(made["name"], made["warehouse"])
            return _FROZEN.sub("", sql)
        if change := _CHANGED.match(sql):
            return self._change(change["change"], change["name"], sql)
        return None

    def altered(self, sql: str) -> str | None:
        """Name of a table that is there, and that CREATE OR ALTER changes; it may add columns at the end alone."""
        made = _MADE_BY.match(sql)
        return made["name"] if made and "OR ALTER" in sql and made["name"] in self.tables else None

    def frozen(self, sql: str) -> tuple[str, str] | None:
        """Name and predicate of the rows that a statement leaves as they are, in a table that is there."""
        made, rows = _MADE_BY.match(sql), _FROZEN.search(sql)
        if made and rows and made["name"] in self.tables:
            return made["name"], rows["rows"]
        return None

    def _make(self, name: str, warehouse: str) -> None:
        place, _, short = name.rpartition(".")
        made = datetime.now(UTC)  # the commands under test read the clock, too
        new = {
            "name": short, "place": place, "scheduling_state": "ACTIVE", "refresh_mode_reason": "", "error": "",
            "created_on": made, "data_timestamp": made,
        }  # fmt: skip
        now = {"refresh_mode": "INCREMENTAL", "warehouse": warehouse}
        self.tables[name] = {**new, **self.tables.get(name, {}), **now}

    def _change(self, change: str, name: str, sql: str) -> str:
        if change == "DROP":
            return f"DROP TABLE {name}" if self.tables.pop(name, None) else OK
        if sql.endswith("RESUME") and name in self.tables:
            self.tables[name]["scheduling_state"] = "ACTIVE"
        return OK


def _shown(tables: list[dict[str, Any]]) -> str:
    names = ("name", "scheduling_state", "refresh_mode", "refresh_mode_reason", "warehouse")
    lines = []
    for table in tables:
        texts = [f"'{table[name]}' AS \"{name}\"" for name in names]
        moments = [f'{_moment(table[name])} AS "{name}"' for name in ("created_on", "data_timestamp")]
        lines.append(", ".join(texts + moments))
    return " UNION ALL ".join(f"SELECT {line}" for line in lines or ["1 WHERE FALSE"])


def _refreshed(tables: list[dict[str, Any]]) -> str:
    """The answer of the refresh history: a line a table."""
    rows = [(table["name"], *(str(table["error"]).partition(": ")[::2])) for table in tables] or [("", "", "")]
    lines = ", ".join(
        f"('{name}', '{'FAILED' if code else 'SUCCEEDED'}', '{code}', '{text}')" for name, code, text in rows
    )
    return f'SELECT * FROM (VALUES {lines}) AS V("name", "state", "state_code", "state_message")'


def _moment(at: datetime | None) -> str:
    return "NULL::TIMESTAMP" if at is None else f"'{at.replace(tzinfo=None)}'::TIMESTAMP"

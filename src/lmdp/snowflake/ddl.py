"""The SQL as one script, for one who would rather paste it."""

from __future__ import annotations

from lmdp.core.specification import Spec
from lmdp.snowflake.setup import account_statements, setup_statements
from lmdp.sql.render import Statement
from lmdp.sql.settings import SnowflakeSettings

_BOOTSTRAP = """-- lmdp: run once, as an ACCOUNTADMIN. It may be run again.
"""
_SETUP = """-- lmdp: what `lmdp snowflake setup` runs on an empty schema, as its owner; it also migrates older tables.
USE ROLE {role};
USE WAREHOUSE {warehouse};
ALTER SESSION SET QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE;
"""


def script(settings: SnowflakeSettings, spec: Spec, *, bootstrap: bool) -> str:
    """Return the script that an administrator runs once, or that of the setup."""
    if bootstrap:
        return _BOOTSTRAP + _text(account_statements(settings, spec))
    head = _SETUP.format(role=settings.setup_role, warehouse=settings.warehouse)
    return head + _text(setup_statements(settings, spec))


def _text(statements: tuple[Statement, ...]) -> str:
    parts, last = [], ""
    for statement in statements:
        parts.append(f"\n-- {statement.file}\n" if statement.file != last else "\n")
        parts.append(f"{statement.sql};\n")
        last = statement.file
    return "".join(parts)

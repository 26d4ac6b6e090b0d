"""Differences of the landing table from the specification, and statements that remove them without losing a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lmdp.core.specification import Field, Spec
from lmdp.errors import SettingsError
from lmdp.sql.render import clean_name, column
from lmdp.sql.settings import SnowflakeSettings
from lmdp.support.program import program

# As INFORMATION_SCHEMA.COLUMNS names them: https://docs.snowflake.com/en/sql-reference/info-schema/columns
_TYPES: Final = {
    "VARCHAR": "TEXT",
    "TIMESTAMP_NTZ": "TIMESTAMP_NTZ",
    "NUMBER(38,0)": "NUMBER",
    "FLOAT": "FLOAT",
    "VARIANT": "VARIANT",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the account has it."""

    name: str
    type: str
    required: bool
    has_default: bool = False


def read_columns(rows: list[dict[str, Any]]) -> dict[str, Column]:
    """Return rows of COLUMNS, by the column's name."""
    return {
        str(row["column_name"]): Column(
            str(row["column_name"]),
            str(row["data_type"]),
            row["is_nullable"] == "NO",
            row["column_default"] is not None,
        )
        for row in rows
    }


def columns_query(settings: SnowflakeSettings) -> str:
    """Return the query for the landing table's columns; no row when there is no such table."""
    return (
        "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, COLUMN_DEFAULT"  # noqa: S608 - names that the settings have checked
        f" FROM {settings.database}.INFORMATION_SCHEMA.COLUMNS"
        f" WHERE TABLE_SCHEMA = '{settings.schema}' AND TABLE_NAME = 'ROW_EVENTS' ORDER BY ORDINAL_POSITION"
    )


def promoted_query(settings: SnowflakeSettings) -> str:
    """Return the query for the columns of the first dynamic table, and of one that is kept, in their order."""
    return (
        "SELECT TABLE_NAME, COLUMN_NAME"  # noqa: S608 - names that the settings have checked
        f" FROM {settings.database}.INFORMATION_SCHEMA.COLUMNS"
        f" WHERE TABLE_SCHEMA = '{settings.schema}' AND TABLE_NAME IN ('POINTS', 'METRIC_HOURLY')"
        " ORDER BY TABLE_NAME, ORDINAL_POSITION"
    )


def refuse_new_fields(rows: list[dict[str, Any]], spec: Spec, settings: SnowflakeSettings) -> None:
    """Raise SettingsError if the dynamic tables lack a promoted field, which belongs before their other columns.

    "New columns can only be added at the end": https://docs.snowflake.com/en/sql-reference/sql/create-dynamic-table
    """
    wanted = [clean_name(field.name) for field in spec.promoted]
    for table in sorted({str(row["table_name"]) for row in rows}):
        there = [str(row["column_name"]) for row in rows if row["table_name"] == table]
        known = [name for name in there if name in wanted]
        if known != wanted:
            raise SettingsError(
                f"the specification's promoted fields are {', '.join(wanted)}, and {table} has {', '.join(known)}: "
                "Snowflake adds columns to a dynamic table only at its end. Nothing was changed.\n"
                f"Set another SNOWFLAKE_SCHEMA, have an ACCOUNTADMIN run what `{program()} snowflake ddl --bootstrap` "
                f"prints, and repeat the command. The rows in {settings.place} stay."
            )


def faults(there: Mapping[str, Column], spec: Spec, settings: SnowflakeSettings) -> list[str]:
    """Return each difference in a sentence; an additional column that may be NULL is none."""
    wanted = _wanted(spec, settings)
    found = []
    for name, field in wanted.items():
        old = there.get(name)
        if old is None:
            found.append(f"the column {name} is missing")
        elif old.type != _TYPES[field.sql_type]:
            found.append(f"the column {name} is {old.type}, and the specification says {field.sql_type}")
        elif old.required != field.required:
            found.append(f"the column {name} is {'' if old.required else 'not '}NOT NULL, against the specification")
    others = [there[name] for name in there.keys() - wanted.keys()]
    found += [f"the column {old.name} is NOT NULL, and no row has it" for old in others if old.required]
    found += [
        f"the column {old.name} has a default, which streaming ingest refuses"
        for old in there.values()
        if old.has_default
    ]
    return sorted(found)


def alter_statements(there: Mapping[str, Column], spec: Spec, settings: SnowflakeSettings) -> list[str]:
    """Return the ALTER statements, in order, that bring an older table to the specification; each may be repeated.

    A text `ts` stays next to the new one, as `ts_text`. Raises SettingsError with the columns that cannot be changed.
    """
    wanted = _wanted(spec, settings)
    table = f"ALTER TABLE {settings.place}.ROW_EVENTS"
    known = dict(there)
    done: list[str] = []
    for name in wanted:
        other = next((old for old in known if old.upper() == name.upper() and old != name), None)
        if name not in known and other is not None:
            done.append(f"{table} RENAME COLUMN {_quoted(other)} TO {_quoted(name)}")
            known[name] = known.pop(other)
    moment = _name(spec.column("time text"), settings)
    if moment in known and known[moment].type == "TEXT":
        done.append(f"{table} RENAME COLUMN {_quoted(moment)} TO {_quoted(f'{moment}_text')}")
        known[f"{moment}_text"] = known.pop(moment)
    done += _added(known, wanted, spec, settings)
    for name, old in known.items():
        if old.has_default:
            done.append(f"{table} ALTER COLUMN {_quoted(name)} DROP DEFAULT")
        if old.required and (name not in wanted or not wanted[name].required):
            done.append(f"{table} ALTER COLUMN {_quoted(name)} DROP NOT NULL")
        elif not old.required and name in wanted and wanted[name].required:
            done.append(f"{table} ALTER COLUMN {_quoted(name)} SET NOT NULL")
    _refuse(known, wanted)
    return done


def _added(known: Mapping[str, Column], wanted: dict[str, Field], spec: Spec, settings: SnowflakeSettings) -> list[str]:
    """Return statements for missing columns; the time is computed from its milliseconds."""
    table = f"ALTER TABLE {settings.place}.ROW_EVENTS"
    moment, ms = _name(spec.column("time text"), settings), _name(spec.column("time ms"), settings)
    found: list[str] = []
    for name, field in wanted.items():
        if name in known and not (name == moment and not known[name].required):
            continue
        if name not in known:
            found.append(f"{table} ADD COLUMN {_quoted(name)} {field.sql_type}")
        if name == moment:
            found.append(
                f"UPDATE {settings.place}.ROW_EVENTS SET {_quoted(name)} = TO_TIMESTAMP_NTZ({_quoted(ms)}, 3)"  # noqa: S608 - checked names
                f" WHERE {_quoted(name)} IS NULL"
            )
            if name not in known:
                found.append(f"{table} ALTER COLUMN {_quoted(name)} SET NOT NULL")
    return found


def _refuse(known: Mapping[str, Column], wanted: dict[str, Field]) -> None:
    moments = {name for name, field in wanted.items() if field.computed == "time text"}
    against = [
        f"the required column {name} is missing"
        for name, field in wanted.items()
        if field.required and name not in known and name not in moments
    ]
    against += [
        f"the column {name} is {old.type}, and the specification says {wanted[name].sql_type}"
        for name, old in known.items()
        if name in wanted and old.type != _TYPES[wanted[name].sql_type]
    ]
    if against:
        raise SettingsError(
            "the rows in ROW_EVENTS do not fit the specification:\n  - "
            + "\n  - ".join(sorted(against))
            + "\nNothing was changed. Rename that table (its rows stay), and repeat the command; a new one is made."
        )


def _wanted(spec: Spec, settings: SnowflakeSettings) -> dict[str, Field]:
    return {_name(field, settings): field for field in spec.fields}


def _name(field: Field, settings: SnowflakeSettings) -> str:
    """Return the column's name as Snowflake stores it."""
    return column(field.name, settings.identifiers).strip('"')


def _quoted(name: str) -> str:
    return f'"{name}"'

"""The SQL files, filled in from the specification: statements in Snowflake's dialect, in the order to run them.

A file is a `string.Template`. `${orgId}` is that column of the landing table in the identifier style at hand; the other
names are settings (`${schema}`), lists that repeat the specification's fields (`${series_columns}`), and the keys of
the star schema (`${device_key}`), so that no file repeats them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Literal, TypeAlias

from lmdp.core.column_names import KeyStyle
from lmdp.core.specification import Field, Spec
from lmdp.errors import SettingsError
from lmdp.sql.settings import SnowflakeSettings

Part: TypeAlias = Literal["tables", "account", "rights", "upgrades"]
"""Tables and views, which one machine has too; the account's objects; rights and tasks; an upgrade's first steps."""

_FOLDERS: dict[Part, str] = {"tables": "", "account": "account", "rights": "rights", "upgrades": "upgrades"}
_STATEMENT_END = re.compile(r";[ \t]*(?:\n\s*(?:\n|\Z)|\Z)")  # and an empty line: a task's block has semicolons, too
_SQL_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)
_EMPTY_LINE = re.compile(r"^[ \t]+\n", re.MULTILINE)
_NO_KEY_OF_A_SERIES = ("time text", "time ms", "point value")
_SIGN = 2**63
FROZEN_DAYS = 3
"""Age in days at which the hours of a kept roll-up are frozen, with a retention of five days or more."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement, and the file that it came from (`110_metrics.sql`)."""

    file: str
    sql: str


def statements(spec: Spec, settings: SnowflakeSettings | None = None, part: Part = "tables") -> tuple[Statement, ...]:
    """Every statement of every file of that part, files in the order of their names.

    Raises SettingsError when a file needs a field that the specification does not have.
    """
    words = placeholders(spec, settings or SnowflakeSettings())
    folder = resources.files(__package__).joinpath(_FOLDERS[part])
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(
        Statement(file.name, sql) for file in files for sql in _split(_fill(file.name, file.read_text("utf-8"), words))
    )


def column(name: str, style: KeyStyle = "quoted") -> str:
    """A column of the landing table, as SQL names it in this style."""
    return name.upper() if style == "upper" else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def clean_name(name: str) -> str:
    """The name of a field in the views: `tsUnixMs` is `TS_UNIX_MS`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def key(*columns: str) -> str:
    """A signed 64-bit key of text columns: the lower half of the MD5 of their values with a unit separator between.

    The one expression for every key, so that both engines, and each view, give the same.
    https://docs.snowflake.com/en/sql-reference/functions/md5_number_lower64 is unsigned, hence the shift.
    """
    text = " || CHR(31) || ".join(f"COALESCE({name}, '')" for name in columns)
    return f"(MOD(MD5_NUMBER_LOWER64({text}) + {_SIGN}, {2 * _SIGN}) - {_SIGN})::NUMBER(38,0)"


def placeholders(spec: Spec, settings: SnowflakeSettings) -> dict[str, str]:
    """Return the values that the files may ask for, by name."""
    style = settings.identifiers
    value = spec.column("point value")
    series = [field for field in spec.fields if field.computed not in _NO_KEY_OF_A_SERIES and not _is_map(field)]
    return {
        **{field.name: column(field.name, style) for field in spec.fields},
        **_settings(settings),
        **_keys(),
        "row_events_columns": ",\n  ".join(definition(field, style) for field in spec.fields),
        "points_columns": ",\n    ".join(f"{_plain(f, style)} AS {clean_name(f.name)}" for f in spec.fields),
        "points_identity": ", ".join(clean_name(field.name) for field in spec.fields if field is not value),
        "metrics_columns": ",\n  ".join(_shown(field) for field in spec.fields),
        "series_text": " || CHR(31) || ".join(f"COALESCE({column(field.name, style)}, '')" for field in series),
        "series_columns": ", ".join(clean_name(field.name) for field in series),
        "histogram_columns": ", ".join(clean_name(f.name) for f in series if f.computed != "metric name"),
    }


def definition(field: Field, style: KeyStyle) -> str:
    """A column of the landing table, as CREATE TABLE has it."""
    null = " NOT NULL" if field.required else ""
    return f"{column(field.name, style)} {field.sql_type}{null} COMMENT {literal(field.about)}"


def _settings(settings: SnowflakeSettings) -> dict[str, str]:
    days = settings.retention_days
    lag = settings.target_lag_minutes
    ips = ", ".join(f"'{text}'" for text in settings.allowed_ips)
    return {
        "database": settings.database,
        "schema": settings.place,
        "warehouse": settings.warehouse,
        "refresh_warehouse": settings.refresh_warehouse,
        "setup_role": settings.setup_role,
        "firehose_role": settings.firehose_role,
        "reader_role": settings.reader_role,
        "setup_user": settings.setup_user,
        "firehose_user": settings.firehose_user,
        "credit_quota": str(settings.credit_quota),
        "refresh_credit_quota": str(settings.refresh_credit_quota),
        "allowed_ips": ips,
        "target_lag": f"{lag} minute{'s' if lag > 1 else ''}",
        "retention_days": str(days),
        "frozen_hours": _frozen("HOUR_TS", days),
        # A day is made of hours that stay, so no retention ends it early.
        "frozen_days": _frozen("DAY_TS", None),
    }


def _frozen(moment: str, days: int | None) -> str:
    """Return the clause that keeps a roll-up's old rows when the raw ones are deleted, and that no refresh reads.

    An hour is frozen three days after its measurement: LogicMonitor's rows come within minutes. It is two days before
    its rows are deleted in any case: a rate needs the point before it, which may be of the day before, and
    CURRENT_TIMESTAMP is the session's, up to 14 hours from UTC. The clause is there with RETENTION_DAYS=forever too:
    to remove it later would compute all hours again, from rows that may be gone.
    https://docs.snowflake.com/en/user-guide/dynamic-tables/frozen-regions
    """
    age = FROZEN_DAYS if days is None else min(FROZEN_DAYS, days - 2)
    return f"FROZEN WHERE ({moment} < DATEADD(day, -{age}, CURRENT_TIMESTAMP()::TIMESTAMP_NTZ))"


def _keys() -> dict[str, str]:
    return {
        "device_key": key("ORG_ID", "DEVICE_ID"),
        "datasource_key": key("DATASOURCE"),
        "metric_key": key("DATASOURCE", "METRIC", "UNIT", "TYPE"),
        "instance_key": key("ORG_ID", "DEVICE_ID", "DATASOURCE", "INSTANCE"),
        **{f"{name}_date_key": _date_key(f"{name.upper()}_TS") for name in ("hour", "day")},
        "ts_date_key": _date_key("TS"),
        "last_ts_digits": _digits("LAST_TS"),
    }


def _date_key(moment: str) -> str:
    return f"(YEAR({moment}) * 10000 + MONTH({moment}) * 100 + DAY({moment}))::NUMBER(38,0)"


def _digits(moment: str) -> str:
    """Return a time as 15 digits, which sort as times do."""
    return f"LPAD(DATEDIFF(millisecond, '0001-01-01'::TIMESTAMP_NTZ, {moment})::VARCHAR, 15, '0')"


def _is_map(field: Field) -> bool:
    return field.sql_type == "VARIANT"


def _plain(field: Field, style: KeyStyle) -> str:
    """Return the column of the landing table; a map as its text."""
    name = column(field.name, style)
    return f"TO_JSON({name})" if _is_map(field) else name


def _shown(field: Field) -> str:
    """Return the column of METRICS, where a map is one again."""
    name = clean_name(field.name)
    return f"PARSE_JSON({name}) AS {name}" if _is_map(field) else name


def _fill(file: str, text: str, words: dict[str, str]) -> str:
    try:
        filled = Template(_SQL_COMMENT.sub("", text)).substitute(words)
    except KeyError as error:
        raise SettingsError(
            f"the specification has no field {error}, which the SQL file {file} reads; name it so, or change the file"
        ) from error
    return _EMPTY_LINE.sub("", filled)


def _split(text: str) -> list[str]:
    return [part.strip() for part in _STATEMENT_END.split(text) if part.strip()]

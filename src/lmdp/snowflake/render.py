"""The SQL files, filled in from the specification: statements in Snowflake's dialect, in the order to run them.

A file is a `string.Template`. `${orgId}` is that column of the landing table in the identifier style at hand; the other
names (`${row_events_columns}`, …) are lists that repeat the specification's fields, so no file does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Literal, TypeAlias

from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from lmdp.spec_loader import Field, Spec

IdentifierStyle: TypeAlias = Literal["quoted", "wrapped", "upper"]
"""How the landing table's columns are named: `"orgId"` (quoted, wrapped: the same table, other keys), or `ORGID`."""

_STATEMENT_END = re.compile(r";[ \t]*(?:\n|\Z)")
_SQL_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)
_NO_KEY_OF_A_SERIES = ("time text", "time ms", "point value")


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement, and the file that it came from (`110_metrics.sql`)."""

    file: str
    sql: str


def statements(spec: Spec, style: IdentifierStyle = "quoted") -> tuple[Statement, ...]:
    """Every statement of every file, files in the order of their names.

    Raises SettingsError when a file needs a field that the specification does not have.
    """
    words = placeholders(spec, style)
    folder = resources.files("lmdp.snowflake").joinpath("sql")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(
        Statement(file.name, sql) for file in files for sql in _split(_fill(file.name, file.read_text("utf-8"), words))
    )


def column(name: str, style: IdentifierStyle = "quoted") -> str:
    """A column of the landing table, as SQL names it in this style."""
    return name.upper() if style == "upper" else '"' + name.replace('"', '""') + '"'


def clean_name(name: str) -> str:
    """The name of a field in the views: `tsUnixMs` is `TS_UNIX_MS`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def placeholders(spec: Spec, style: IdentifierStyle) -> dict[str, str]:
    """What the files may ask for, by name."""
    value = spec.column("point value")
    series = [field for field in spec.fields if field.computed not in _NO_KEY_OF_A_SERIES and not _is_map(field)]
    return {
        **{field.name: column(field.name, style) for field in spec.fields},
        "row_events_columns": ",\n  ".join(_definition(field, style) for field in spec.fields),
        "metrics_columns": ",\n  ".join(f"{column(f.name, style)} AS {clean_name(f.name)}" for f in spec.fields),
        "metrics_identity": ", ".join(_key(field, style) for field in spec.fields if field is not value),
        "series_text": " || CHR(31) || ".join(f"COALESCE({column(field.name, style)}, '')" for field in series),
        "series_columns": ", ".join(clean_name(field.name) for field in series),
    }


def _is_map(field: Field) -> bool:
    return field.snowflake == "VARIANT"


def _definition(field: Field, style: IdentifierStyle) -> str:
    null = " NOT NULL" if field.required else ""
    about = field.about.replace("'", "''")
    return f"{column(field.name, style)} {field.snowflake}{null} COMMENT '{about}'"


def _key(field: Field, style: IdentifierStyle) -> str:
    name = column(field.name, style)
    return f"TO_JSON({name})" if _is_map(field) else name


def _fill(file: str, text: str, words: dict[str, str]) -> str:
    try:
        return Template(_SQL_COMMENT.sub("", text)).substitute(words)
    except KeyError as error:
        raise SettingsError(
            f"the specification has no field {error}, which the SQL file {file} reads; name it so, or change the file"
        ) from error


def _split(text: str) -> list[str]:
    return [part.strip() for part in _STATEMENT_END.split(text) if part.strip()]

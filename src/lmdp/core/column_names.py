"""The keys of a row, written so that Firehose finds the landing table's columns.

The style is one setting, `SNOWFLAKE_IDENTIFIERS`. Snowflake's ingest SDK upper-cases a key that is not wrapped in
double quotes, and keeps the case of one that is:
https://github.com/snowflakedb/snowflake-ingest-java (LiteralQuoteUtils.java)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, TypeAlias, get_args

from lmdp.core.specification import Spec

KeyStyle: TypeAlias = Literal["quoted", "wrapped", "upper"]

KEY_STYLES: Final[tuple[KeyStyle, ...]] = get_args(KeyStyle)

_KEY: Final[dict[KeyStyle, Callable[[str], str]]] = {
    "quoted": lambda name: name,
    "wrapped": lambda name: f'"{name}"',
    "upper": lambda name: name.upper(),
}


def row_key(field: str, style: KeyStyle) -> str:
    """The key of `field` in a row's JSON: `orgId`, `"orgId"` with the quotes in it, or `ORGID`."""
    return _KEY[style](field)


def styled(spec: Spec, style: KeyStyle) -> Spec:
    """`spec` with its fields named as the keys of a row in this style: what `encode` takes."""
    return replace(spec, fields=tuple(replace(field, name=row_key(field.name, style)) for field in spec.fields))


def key_overhead(spec: Spec, style: KeyStyle) -> int:
    """Return by how many bytes a row with every field grows in this style: wrapped keys have two escaped quotes."""
    return 4 * len(spec.fields) if style == "wrapped" else 0

"""Snowflake's SQL, rewritten for DuckDB.

A translator that does not know a construct passes it on, and DuckDB then answers something else, silently: a map's text
comes back in JSON quotes, a number of 38 digits loses its integer type. So what is met here is rewritten by name, and
whatever is left must be on the list of constructs that tests have seen give the same answer; anything else is refused.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import ErrorLevel, exp

from lmdp.errors import LmdpError

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("SCHEMA", "TABLE", "VIEW")
"""Objects that a file may create. A database is one too, and is none of DuckDB's business: it is the attached file."""

DROPPED = (exp.SchemaCommentProperty, exp.ClusterProperty)
"""Properties that change no answer, and that DuckDB has no word for."""

TYPES = {
    exp.DType.VARIANT: "JSON",
    exp.DType.OBJECT: "JSON",
    exp.DType.VARCHAR: "TEXT",
    exp.DType.TEXT: "TEXT",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
    exp.DType.TIMESTAMP: "TIMESTAMP",
    exp.DType.FLOAT: "DOUBLE",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.BIGINT: "BIGINT",
}
"""Column and cast types. A DECIMAL(38, 0) is Snowflake's integer: BIGINT."""

TESTED: frozenset[type[exp.Expr]] = frozenset({
    # statements and clauses
    exp.Create, exp.Schema, exp.ColumnDef, exp.ColumnConstraint, exp.NotNullColumnConstraint, exp.DataType,
    exp.DataTypeParam, exp.Select, exp.With, exp.CTE, exp.From, exp.Where, exp.Qualify, exp.Order, exp.Ordered,
    exp.Window, exp.Table, exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Literal, exp.Null,
    exp.Boolean, exp.Var, exp.Paren, exp.Group, exp.Join, exp.Union, exp.WindowSpec,
    # operators
    exp.And, exp.Or, exp.Not, exp.Is, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Add, exp.Sub, exp.Mul,
    exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.In, exp.Like, exp.Case, exp.If,
    # functions
    exp.Abs, exp.Cast, exp.Chr, exp.Coalesce, exp.Floor, exp.Greatest, exp.Least, exp.Ln, exp.Lower, exp.Sign,
    exp.Lag, exp.Lead, exp.MD5, exp.Nullif, exp.RowNumber, exp.DateDiff, exp.ToBoolean, exp.ToDouble, exp.ToNumber,
    exp.Length, exp.Pad, exp.Substring,
    # aggregates
    exp.ArgMax, exp.Count, exp.Max, exp.Min, exp.Sum,
    # times
    exp.CurrentTimestamp, exp.DateAdd, exp.Day, exp.DayOfWeekIso, exp.Month, exp.Quarter, exp.TimestampTrunc,
    exp.WeekOfYear, exp.Year,
    # what the rewrites below put in the place of a map's functions
    exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey,
})  # fmt: skip
"""The constructs that may be left. Add one together with a test that reads its answer."""

CALLED = frozenset({"JSON_MERGE_PATCH", "EPOCH_MS", "RIGHT"})
"""DuckDB functions that the rewrites put in by name."""


_FROZEN = re.compile(r"^\s*FROZEN WHERE .*$", re.MULTILINE)


def to_duckdb(sql: str) -> str | None:
    """One statement in DuckDB's dialect; None when DuckDB needs no such statement.

    Raises LmdpError when it says something that is not known to mean the same there.
    """
    # No parser knows this clause, and a view has no rows to keep.
    tree = sqlglot.parse_one(_FROZEN.sub("", sql), read="snowflake")
    if isinstance(tree, exp.Create) and tree.kind == "DATABASE":
        return None
    tree = _as_view(tree)
    for rewrite in REWRITES:
        tree = tree.transform(rewrite, copy=False) or tree
    _refuse_unknown(tree, sql)
    try:
        return tree.sql("duckdb", copy=False, unsupported_level=ErrorLevel.RAISE)
    except sqlglot.errors.UnsupportedError as error:
        raise _refused(str(error), sql) from error


def _as_view(tree: exp.Expr) -> exp.Expr:
    """Make a dynamic table a view, and leave out the properties that say nothing about the answer."""
    properties = tree.args.get("properties")
    if not isinstance(tree, exp.Create) or not isinstance(properties, exp.Properties):
        return tree
    dynamic = properties.find(exp.DynamicProperty) is not None
    kept = [] if dynamic else [node for node in properties.expressions if not isinstance(node, DROPPED)]
    tree.set("properties", exp.Properties(expressions=kept) if kept else None)
    if dynamic:
        # A view has no rows to lose, so it always follows the program.
        tree.args.update(kind="VIEW", replace=True, exists=False)
    return tree


def _map_text(node: exp.Expr) -> exp.Expr:
    """`map:"key"::VARCHAR`: the text itself, where DuckDB's `->` would give it in JSON quotes."""
    if not isinstance(node, exp.Cast) or not isinstance(node.this, exp.JSONExtract):
        return node
    inner = node.this
    text = exp.JSONExtractScalar(this=inner.this.copy(), expression=inner.expression.copy())
    plain = node.to.this in (exp.DType.VARCHAR, exp.DType.TEXT)
    # In parentheses: DuckDB's `->>` binds weaker than a comparison.
    return exp.paren(text) if plain else exp.cast(exp.paren(text), node.to.copy())


def _map_without(node: exp.Expr) -> exp.Expr:
    """`OBJECT_DELETE(map, 'a', 'b')`: a merge patch in which a null deletes (RFC 7396)."""
    if not isinstance(node, exp.Anonymous) or node.name.upper() != "OBJECT_DELETE":
        return node
    target, *keys = node.expressions
    if not keys or not all(isinstance(key, exp.Literal) and key.is_string for key in keys):
        raise LmdpError("OBJECT_DELETE can be translated for DuckDB only with literal keys")
    patch = json.dumps(dict.fromkeys(key.name for key in keys), separators=(",", ":"))
    without = exp.Anonymous(this="JSON_MERGE_PATCH", expressions=[target, exp.Literal.string(patch)])
    # The patch of NULL is the patch itself there; NULL without a key is NULL.
    return exp.case().when(target.is_(exp.null()).not_(), without)


def _json_text(node: exp.Expr) -> exp.Expr:
    """`TO_JSON(map)`: a JSON value is its own text in DuckDB.

    A bare column stays bare: with a cast around it (or NULLS FIRST behind it), DuckDB sorts for ROW_NUMBER() = 1 where
    it could aggregate, and takes three times as long.
    """
    if not isinstance(node, exp.JSONFormat):
        return node
    return node.this if isinstance(node.this, exp.Column) else exp.cast(node.this, "TEXT")


def _json_of_text(node: exp.Expr) -> exp.Expr:
    """`PARSE_JSON(text)` of a column: the column itself, since `_json_text` leaves a map as it is."""
    return node.this if isinstance(node, exp.ParseJSON) and isinstance(node.this, exp.Column) else node


def _moment(node: exp.Expr) -> exp.Expr:
    """`TO_TIMESTAMP_NTZ(ms, 3)`."""
    if not isinstance(node, exp.UnixToTime):
        return node
    scale = node.args.get("scale")
    if not isinstance(scale, exp.Literal) or scale.name != "3":
        raise LmdpError("TO_TIMESTAMP_NTZ can be translated for DuckDB only from milliseconds (scale 3)")
    return exp.Anonymous(this="EPOCH_MS", expressions=[exp.cast(node.this, "BIGINT")])


def _lower_half(node: exp.Expr) -> exp.Expr:
    """`MD5_NUMBER_LOWER64(text)`: the last 16 hexadecimal digits, unsigned. DuckDB's own function swaps the bytes."""
    if not isinstance(node, exp.MD5NumberLower64):
        return node
    digits = exp.Anonymous(this="RIGHT", expressions=[exp.MD5(this=node.this.copy()), exp.Literal.number(16)])
    number = exp.paren(exp.DPipe(this=exp.Literal.string("0x"), expression=digits))
    return exp.cast(exp.cast(number, "UBIGINT", dialect="duckdb"), "HUGEINT", dialect="duckdb")


def _type(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.DataType):
        return node
    if node.this in (exp.DType.UBIGINT, exp.DType.INT128):
        return node
    if node.this == exp.DType.DECIMAL and [part.name for part in node.expressions] == ["38", "0"]:
        return exp.DataType.build("BIGINT", dialect="duckdb")
    if node.this not in TYPES:
        raise LmdpError(f"the type {node.sql('snowflake')} has no known counterpart in DuckDB")
    return exp.DataType.build(TYPES[node.this], dialect="duckdb")


def _no_comment(node: exp.Expr) -> exp.Expr | None:
    """Column comments: said once, in the specification."""
    unneeded = isinstance(node, exp.ColumnConstraint) and isinstance(node.kind, exp.CommentColumnConstraint)
    return None if unneeded else node


REWRITES: tuple[Callable[[exp.Expr], exp.Expr | None], ...] = (
    _map_text,
    _map_without,
    _json_text,
    _json_of_text,
    _moment,
    _lower_half,
    _type,
    _no_comment,
)


def _refuse_unknown(tree: exp.Expr, sql: str) -> None:
    if isinstance(tree, exp.Create) and tree.kind not in KINDS:
        raise _refused(f"CREATE {tree.kind}", sql)
    for node in tree.walk():
        called = isinstance(node, exp.Anonymous) and node.name.upper() in CALLED
        if not called and type(node) not in TESTED:
            raise _refused(f"{type(node).__name__}: {node.sql('snowflake')[:80]}", sql)


def _refused(what: str, sql: str) -> LmdpError:
    return LmdpError(
        f"this SQL is not known to mean the same in DuckDB: {what}\n  in: {sql[:120]}\n"
        "Nothing was run. Add the construct to the rewrites, with a test that reads its answer."
    )

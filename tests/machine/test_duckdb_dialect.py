"""Snowflake's SQL in DuckDB: the same answer, or none."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from lmdp.errors import LmdpError
from lmdp.sql.duckdb_dialect import TESTED, to_duckdb

MAP = """{"a":"text","n":7,"flag":true,"none":null,"otlp.temporality":"delta","inner":{"x":"y"}}"""


def _answer(expression: str) -> Any:
    sql = to_duckdb(f"SELECT {expression} FROM T")
    assert sql is not None
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE T (m JSON, s VARCHAR, n BIGINT, f DOUBLE, t TIMESTAMP)")
        connection.execute("INSERT INTO T VALUES (?, 'text', 7, 0.5, TIMESTAMP '2026-01-02 03:04:05.678')", [MAP])
        row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # a map's text has no JSON quotes, whatever its key
        ('m:"a"::VARCHAR', "text"),
        ('m:"otlp.temporality"::VARCHAR', "delta"),
        ("m:a::STRING", "text"),
        ('m:"n"::VARCHAR', "7"),
        ('m:"flag"::VARCHAR', "true"),
        ('m:"inner"::VARCHAR', '{"x":"y"}'),
        ('m:"none"::VARCHAR', None),
        ('m:"absent"::VARCHAR', None),
        ('m:"n"::FLOAT', 7.0),
        ("m:\"a\"::VARCHAR = 'text'", True),
        # TRY_ forms give NULL for what they cannot read
        ("TRY_TO_DOUBLE(m:\"n\"::VARCHAR)", 7.0),
        ("TRY_TO_DOUBLE(s)", None),
        ("TRY_TO_BOOLEAN(m:\"flag\"::VARCHAR)", True),
        ("TRY_TO_BOOLEAN(s)", None),
        ("TRY_TO_NUMBER(m:\"n\"::VARCHAR, 14, 0) = 7", True),
        ("TRY_TO_NUMBER('123456789012345', 14, 0)", None),
        ("'inf'::FLOAT", float("inf")),
        ("'inf'::FLOAT > f", True),
        # times
        ("TO_TIMESTAMP_NTZ(1767323045678, 3)", dt.datetime(2026, 1, 2, 3, 4, 5, 678000)),  # noqa: DTZ001 - NTZ
        ("TO_TIMESTAMP_NTZ(TRY_TO_NUMBER('1', 14, 0), 3)", dt.datetime(1970, 1, 1, 0, 0, 0, 1000)),  # noqa: DTZ001 - NTZ
        ("DATEDIFF(millisecond, TO_TIMESTAMP_NTZ(1767323045000, 3), t)", 678),
        ("DATEDIFF(millisecond, t, TO_TIMESTAMP_NTZ(1767323045000, 3)) / 1000.0", -0.678),
        # maps as text, and without some keys
        ("TO_JSON(m)", MAP),
        ("TO_JSON(OBJECT_DELETE(m::OBJECT, 'a', 'inner', 'absent'))",
         '{"n":7,"flag":true,"none":null,"otlp.temporality":"delta"}'),
        ("COALESCE(TO_JSON(OBJECT_DELETE(NULL::OBJECT, 'a')), '{}')", "{}"),
        # plain SQL
        ("n / 2", 3.5),
        ("n - 2.5", 4.5),
        ("s || CHR(31) || 'x'", "text\x1fx"),
        ("MD5(s)", "1cb251ec0d568de6a929b520c4aed8d1"),  # pragma: allowlist secret
        ("NULLIF(n, 7)", None),
        ("CASE WHEN n >= 8 THEN 1 WHEN NOT (n IS NULL OR n <= 6) AND n <> 9 THEN 2 END", 2),
        ("CASE s WHEN 'text' THEN TRUE ELSE FALSE END", True),
        ("s || NULL", None),
        ("n * 2 + 1", 15),
        ("MOD(n + 3, 4)", 2),
        ("n IN (1, 7)", True),
        ("s LIKE '%xt'", True),
        ("LENGTH(s)", 4),
        ("SUBSTR(s, 2, LENGTH(s) - 2)", "ex"),
        # the lower half of the hash, unsigned, then signed
        ("MD5_NUMBER_LOWER64(s)", 12189473018798332113),
        # calendars
        ("DATE_TRUNC('hour', t)", dt.datetime(2026, 1, 2, 3)),  # noqa: DTZ001 - NTZ
        ("DATE_TRUNC('year', DATEADD(day, n, t))", dt.datetime(2026, 1, 1)),  # noqa: DTZ001 - NTZ
        ("DATEADD(day, 31, t)::DATE", dt.date(2026, 2, 2)),
        ("YEAR(t) * 10000 + MONTH(t) * 100 + DAY(t)", 20260102),
        ("QUARTER(t) * 10 + DAYOFWEEKISO(t)", 15),
        ("WEEKISO(t)", 1),
        ("WEEKISO(DATEADD(day, 365, t))", 53),
        ("DATEDIFF(second, SYSDATE(), SYSDATE())", 0),
    ],
)  # fmt: skip
def test_an_expression_means_the_same(expression: str, expected: object) -> None:
    """Each construct gives the answer that Snowflake documents for it."""
    answer = _answer(expression)
    assert answer == expected
    assert type(answer) is type(expected) or isinstance(expected, (int, float))


def test_windows_mean_the_same() -> None:
    """QUALIFY keeps the greatest of each partition; LAG gives the one before, NULL for the first."""
    sql = to_duckdb(
        "WITH W AS (SELECT k, v, LAG(v) OVER (PARTITION BY k ORDER BY v) AS before FROM T)"
        " SELECT * FROM W WHERE v > 0 QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) = 1"
    )
    assert sql is not None
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE T AS SELECT * FROM (VALUES ('a', 1), ('a', 3), ('b', 2), ('c', -1)) AS t (k, v)"
        )
        assert sorted(connection.execute(sql).fetchall()) == [("a", 3, 1), ("b", 2, None)]


def test_groups_joins_and_unions_mean_the_same() -> None:
    """Aggregates leave NULL out; a union is of bags with ALL and of sets without; a window may have a frame."""
    sql = to_duckdb(
        "WITH A AS (SELECT k, v FROM T UNION ALL SELECT k, v FROM T), B AS (SELECT k FROM T UNION SELECT k FROM T),"
        " O AS (SELECT 1 AS one)"
        " SELECT B.k, COUNT(*), COUNT(v), SUM(v), MIN(v), MAX(v), SUM(COUNT(*)) OVER"
        " (ORDER BY B.k ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        " FROM B LEFT JOIN A ON A.k = B.k AND A.v > 1 CROSS JOIN O GROUP BY B.k"
    )
    assert sql is not None
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE T AS SELECT * FROM (VALUES ('a', 2), ('a', 3), ('b', 1)) AS t (k, v)")
        answer = sorted(connection.execute(sql).fetchall())
    assert answer == [("a", 4, 4, 10, 2, 3, 4), ("b", 1, 0, None, None, None, 5)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE DATABASE IF NOT EXISTS LM_METRICS", None),
        ("CREATE SCHEMA IF NOT EXISTS A.B", "CREATE SCHEMA IF NOT EXISTS A.B"),
        (
            """CREATE TABLE A.B.T ("orgId" VARCHAR NOT NULL COMMENT 'who', "ts" TIMESTAMP_NTZ, "n" NUMBER(38,0),
              "v" FLOAT, "m" VARIANT) COMMENT = 'rows' CLUSTER BY ("ts")""",
            """CREATE TABLE A.B.T ("orgId" TEXT NOT NULL, "ts" TIMESTAMP, "n" BIGINT, "v" DOUBLE, "m" JSON)""",
        ),
        (
            """CREATE OR REPLACE DYNAMIC TABLE A.B.D TARGET_LAG = '1 hour' WAREHOUSE = W REFRESH_MODE = INCREMENTAL
              AS SELECT N FROM A.B.T""",
            "CREATE OR REPLACE VIEW A.B.D AS SELECT N FROM A.B.T",
        ),
    ],
)
def test_a_statement_is_rewritten(sql: str, expected: str | None) -> None:
    """Types have their DuckDB names, a dynamic table is a view, a database is the attached file itself."""
    assert to_duckdb(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT m:a FROM T",  # text in JSON quotes there
        "SELECT GET(m, 'a') FROM T",
        "SELECT OBJECT_DELETE(m, s) FROM T",
        "SELECT TO_TIMESTAMP_NTZ(n, 9) FROM T",
        "SELECT n::NUMBER(10,2) FROM T",
        "SELECT t::TIMESTAMP_LTZ FROM T",
        "SELECT SOME_FUNCTION(n) FROM T",
        "SELECT TO_CHAR(t, 'YYYY') FROM T",
        "SELECT * FROM T, LATERAL FLATTEN(input => m)",
        "CREATE TABLE T (a INT DEFAULT 1)",
        "CREATE TRANSIENT TABLE T (a BIGINT)",
        "CREATE WAREHOUSE W WAREHOUSE_SIZE = XSMALL",
        "CREATE ROLE R",
        "GRANT SELECT ON TABLE T TO ROLE R",
        "ALTER USER U SET RSA_PUBLIC_KEY_2 = 'x'",
        "DROP TABLE T",
        "INSERT INTO T SELECT 1",
    ],
)
def test_what_is_not_known_is_refused(sql: str) -> None:
    """Nothing passes that no test has read the answer of: a translator would pass it on, and DuckDB differ silently."""
    with pytest.raises(LmdpError):
        to_duckdb(sql)


def test_the_list_holds_no_raw_command() -> None:
    """What the parser took only as text can never be let through."""
    assert not {kind.__name__ for kind in TESTED} & {"Command", "Anonymous", "JSONExtract"}

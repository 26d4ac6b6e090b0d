"""Make docs/cookbook.md from the cookbook, for `make docs`."""

from __future__ import annotations

from pathlib import Path

from lmdp.sql.dictionary import recipes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cookbook.md"

HEAD = """\
# SQL cookbook

Queries that run as they are in `lmdp query` (at its prompt, end them with `;`), in the page's SQL tab (*Cookbook*) and,
with the schema `PIPELINE` in use, in Snowflake. Times are UTC, and so is `SYSDATE()`. All tables and columns are in
[the column dictionary](columns.md). On one machine nothing is computed beforehand: each query has a short time, or a
metric, or reads the landing table `ROW_EVENTS`, whose columns are quoted (`SNOWFLAKE_IDENTIFIERS=quoted`, the default).
Over a million rows each answered within two seconds.

Made by `make docs` from `src/lmdp/sql/cookbook.toml`; tests run each query in DuckDB and through a Snowflake double;
none was run on an account.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [HEAD]
        + [
            f"## {one.title}\n\n{one.about}{' On one machine only.' if one.machine else ''}\n\n```sql\n{one.sql}\n```\n"
            for one in recipes()
        ]
    )

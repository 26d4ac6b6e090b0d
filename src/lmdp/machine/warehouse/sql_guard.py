"""Checks a query: one SELECT, which DuckDB can read in time.

DuckDB 2.0's parser takes exponential time for some texts of 300 characters (`((with x as (` over and over), holds
Python's lock meanwhile, and cannot be interrupted: the consumer of the same process would stop. So what is long
or deep is read first by a process of its own, within limits of time and of memory. Of the random texts that two minutes
of trying made within the limits here, the slowest took 0.2 s.

What DuckDB then plans for long, it cannot be stopped at either, and there is no bound on the memory of it: a consumer
continues meanwhile, and who asks is the run's own user.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from typing import Final

import duckdb

from lmdp.errors import SettingsError

LONGEST: Final = 100_000  # characters
READ_SECONDS: Final = 2  # of a processor, so that a busy machine refuses nothing
_PATIENCE_S: Final = 60.0
_SHORT: Final = 10_000
_FLAT: Final = 12  # brackets within brackets
_SIGNS: Final = re.compile(r"(?:[-+]\s*){21}")
# Comments and text, which count for nothing.
_QUOTED: Final = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""", re.DOTALL
)
_PRODUCTS: Final = ("levenshtein", "editdist3", "damerau_levenshtein")
_MOST_PRODUCT: Final = 10_000  # 2.5 s for 2,048 rows of the slowest
_PAST_MACROS: Final = re.compile(r'main"?\s*\.\s*"?(?:levenshtein|editdist3|damerau_levenshtein)')
_GUARD: Final = """
CREATE OR REPLACE TEMP MACRO {name}(a, b) AS system.main.{name}(
  CASE WHEN length(a) * length(b) > {most}
    THEN error('{name} takes texts of which the lengths multiply to {most} at most: it cannot be interrupted')
    ELSE a END, b)
"""
_STEPS: Final = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)
_MEMORY: Final = 512 * 2**20  # bytes; reading 4,000 signs takes 3 GB
_WRONG: Final = 3  # of a reader that has read it, and found no SQL
_READER: Final = """
import resource, sys
for limit, most in ((resource.RLIMIT_CPU, sys.argv[1]), (resource.RLIMIT_DATA, sys.argv[2])):
    resource.setrlimit(limit, (int(most), int(most)))
import duckdb
try:
    duckdb.connect(config={"threads": 1}).extract_statements(sys.stdin.buffer.read().decode())
except duckdb.OutOfMemoryException:
    raise
except duckdb.Error:
    sys.exit(int(sys.argv[3]))
"""


def check_query(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is no single SELECT, or not read in time (SettingsError), and what is no SQL (duckdb.Error)."""
    if len(sql) > LONGEST:
        raise SettingsError(f"a query has {LONGEST:,} characters at most, this one {len(sql):,}; nothing was run")
    if not (_is_plain(sql) or _is_read_in_time(sql)):
        raise SettingsError(
            f"the query could not be read within {READ_SECONDS} s and {_MEMORY >> 20} MiB; write it shorter, or "
            "with fewer brackets within brackets"
        )
    parsed = cursor.extract_statements(sql)
    if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
        raise SettingsError("a query is one SELECT statement; nothing was run")


def guards(sql: str) -> list[str]:
    """Temporary macros around the functions of `sql` that take as long as the product of two lengths for each row.

    DuckDB interrupts nothing within a vector of 2,048 rows; two texts of a megabyte took hours (2.0.0). The check is in
    the argument, since DuckDB computes constants beforehand, whatever CASE they are in. Raises SettingsError for a name
    that evades the macro.
    """
    text = sql.lower()
    named = [name for name in _PRODUCTS if name in text]
    if named and _PAST_MACROS.search(text):
        raise SettingsError(f"write {named[0]}(a, b) without a schema before it; nothing was run")
    return [_GUARD.format(name=name, most=_MOST_PRODUCT) for name in named]


def _is_plain(sql: str) -> bool:
    """Return whether it is short and flat enough to be read at once."""
    plain = _QUOTED.sub(" ", sql)
    depth = deepest = 0
    for sign in re.findall(r"[()\[\]{}]", plain):
        depth += _STEPS[sign]
        deepest = max(deepest, depth)
    return len(sql) <= _SHORT and deepest <= _FLAT and not _SIGNS.search(plain)


@functools.lru_cache(maxsize=256)
def _is_read_in_time(sql: str) -> bool:
    """Return whether another process reads it in time; right or wrong, this one then does too."""
    try:
        ended = subprocess.run(  # noqa: S603 - our own program; the query comes as data
            [sys.executable, "-I", "-c", _READER, str(READ_SECONDS), str(_MEMORY), str(_WRONG)],
            input=sql.encode(errors="replace"),
            env={},
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode in (0, _WRONG)  # else it was killed at its limit, had no memory, or could not be started

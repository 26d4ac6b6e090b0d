"""The prompt of `lmdp query` without SQL: history in the home, completion of tables, columns and keywords."""

import contextlib
import os
import re
import readline
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

from lmdp.cli.query import Form, QueryOptions
from lmdp.errors import LmdpError
from lmdp.support import stdio
from lmdp.support.printable import printable

HISTORY: Final = "query.history"
_MOST_LINES: Final = 1_000
_NAMES: Final = """
SELECT table_name FROM information_schema.tables UNION SELECT column_name FROM information_schema.columns
UNION SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'
"""
_HELP: Final = """\
End a query with ; and Enter. Tab completes names, the arrow keys bring back earlier queries, Ctrl-C drops one.
.tables         list tables and views
.format NAME    table, line, markdown, json or csv
.quit           end, as Ctrl-D does
"""
_TABLES: Final = "SELECT table_name FROM information_schema.tables ORDER BY 1"


def run(options: QueryOptions) -> None:
    """Read queries and print their answers until the end of the input."""
    history = options.home / HISTORY
    _bind(Completion(lambda: names(options)))
    with contextlib.suppress(OSError):  # none yet
        readline.read_history_file(history)
    print("End a query with ; — .help shows more")
    try:
        _loop(options)
    finally:
        _save(history)


def _loop(options: QueryOptions) -> None:
    lines: list[str] = []
    while True:
        try:
            line = input("  ...> " if lines else "lmdp> ")
            if not lines and line.strip().startswith("."):
                if not command(options, line.split()):
                    return
            elif line.strip() or lines:
                lines.append(line)
                if line.rstrip().endswith(";"):
                    sql, lines = "\n".join(lines), []
                    answer(options, sql)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            lines = []
            print()


def answer(options: QueryOptions, sql: str) -> None:
    """Print the answer to a query, or why there is none."""
    try:
        options.run(sql)
        sys.stdout.flush()
    except LmdpError as error:
        stdio.print_error(printable(str(error)))


def command(options: QueryOptions, words: list[str]) -> bool:
    """Carry out a line that begins with a point; return False where it ends the prompt."""
    forms = [form for form in get_args(Form) if form != "parquet"]
    match words:
        case [".quit" | ".exit"]:
            return False
        case [".tables"]:
            answer(options, _TABLES)
        case [".format", form] if form in forms:
            options.form = form  # type: ignore[assignment]  # one of them
        case _:
            print(_HELP, end="")
    return True


class Completion:
    """Completes a word from names that are read at the first Tab."""

    def __init__(self, read: Callable[[], list[str]]) -> None:
        self._read = read
        self._names: list[str] | None = None
        self._found: list[str] = []

    def __call__(self, start: str, number: int) -> str | None:
        """Return the completion of that number, in the case of what was typed; None where there are no more."""
        if number == 0:
            if self._names is None:
                self._names = self._read()
            lower = start == start.lower()
            self._found = [
                f'"{name}"' if not re.fullmatch(r"\w+", name) else name.lower() if lower else name.upper()
                for name in self._names
                if start and name.lower().startswith(start.lower())
            ]
        return self._found[number] if number < len(self._found) else None


def names(options: QueryOptions) -> list[str]:
    """Return the names of tables and columns, and the keywords; none where the warehouse cannot be queried."""
    try:
        table, _ = options.answer(_NAMES, 10_000)
    except LmdpError:
        return []
    return sorted(dict.fromkeys(str(name).lower() for name in table.column(0).to_pylist()))


def _bind(completion: Callable[[str, int], Any]) -> None:
    readline.set_completer(completion)
    readline.set_completer_delims(" \t\n,;()=<>+-*/|.")
    is_libedit = "libedit" in (readline.__doc__ or "")  # https://docs.python.org/3/library/readline.html
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


def _save(history: Path) -> None:
    """Keep the newest lines, for the owner alone."""
    readline.set_history_length(_MOST_LINES)
    before = os.umask(0o077)
    try:
        with contextlib.suppress(OSError):  # without a home there is no history
            readline.write_history_file(history)
    finally:
        os.umask(before)

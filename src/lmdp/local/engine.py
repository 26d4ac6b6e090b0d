"""DuckDB opened so that SQL from outside can read this one file and nothing else of the machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from lmdp.errors import LmdpError, SettingsError, Unreachable

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "LM_METRICS"
SCHEMA = f"{DATABASE}.PIPELINE"

_OFF = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine may use: memory and temporary disk in DuckDB's notation, threads (0: one a core)."""

    memory: str = "256MB"
    temporary: str = "8GB"
    threads: int = 0


def attach(path: Path, *, read_only: bool, limits: Limits) -> duckdb.DuckDBPyConnection:
    """Open the file as LM_METRICS, everything outside it shut, times in UTC.

    Without this a read-only transaction still reads and writes files (tried with DuckDB 2.0.0).
    Raises SettingsError or Unreachable.
    """
    _check_place(path, read_only=read_only)
    connection = duckdb.connect(":memory:", config=dict(_OFF))
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute(f"SET GLOBAL memory_limit = '{limits.memory}'")
        connection.execute(f"SET GLOBAL temp_directory = {_literal(f'{path}.tmp')}")
        connection.execute(f"SET GLOBAL max_temp_directory_size = '{limits.temporary}'")
        connection.execute(f"SET GLOBAL threads = {limits.threads or os.cpu_count() or 1}")
        connection.execute(f"ATTACH {_literal(str(path))} AS {DATABASE}{' (READ_ONLY)' if read_only else ''}")
        connection.execute("SET GLOBAL enable_external_access = false")
        connection.execute("SET GLOBAL lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise _not_opened(path, str(error)) from error
    return connection


def write_failure(path: Path, error: duckdb.Error) -> LmdpError:
    """What a person is told when a batch could not be written.

    A commit can fail after its log was written (a checkpoint on a full disk); rows and offsets are then both there.
    """
    kept = (
        "Rows and offsets are one transaction: nothing is lost or doubled, and reading goes on from the last one kept."
    )
    text = _first_line(error)
    if any(sign in text for sign in ("No space left", "File too large", "Disk quota")):
        free = shutil.disk_usage(path.parent).free
        return LmdpError(
            f"no room to write in {path.parent} ({free:,} bytes free there; {path.name} has {_size(path):,}).\n{kept}\n"
            "Make room, or keep fewer days (`lmdp run --keep`), and start it again."
        )
    return LmdpError(f"{path} could not be written: {text}\n{kept}\nMend the cause, and start `lmdp run` again.")


def broken(path: Path, error: duckdb.Error) -> LmdpError:
    """What a person is told when an earlier failure has shut the file until it is opened again."""
    return LmdpError(
        f"the warehouse {path} cannot be used until it is opened again: {_first_line(error)}\n"
        "What was committed is in it. Mend the cause, and start `lmdp run` again."
    )


def question_failure(error: duckdb.Error, seconds: float) -> LmdpError:
    """What a person is told when their SELECT gave no answer."""
    if isinstance(error, duckdb.InterruptException):
        return LmdpError(f"no answer within {seconds:g} s; ask for less (a time range, a LIMIT), or allow more time")
    if isinstance(error, duckdb.OutOfMemoryException):
        return LmdpError(f"the question needs more memory than it may use: {_first_line(error)}")
    return SettingsError(f"the question was refused: {error}".rstrip())


def _check_place(path: Path, *, read_only: bool) -> None:
    if read_only and not path.exists():
        raise Unreachable(f"there is no warehouse at {path}; `lmdp run` makes one")
    if not path.parent.is_dir():
        raise SettingsError(f"the warehouse {path} needs a folder, and {path.parent} is none; make it, or name another")
    if not read_only and not os.access(path.parent, os.W_OK):
        raise SettingsError(f"the folder {path.parent} cannot be written; a warehouse needs that")


def _not_opened(path: Path, text: str) -> LmdpError:
    """The error for a file that DuckDB would not attach; nothing in it was changed."""
    if holder := _HOLDER.search(text):
        return Unreachable(
            f"the warehouse {path} is in use by process {holder['pid']} ({holder['program']}). Nothing was changed.\n"
            "`lmdp status` and `lmdp query` work beside it; to open it here, stop that process first."
        )
    if "already attached" in text:
        return Unreachable(f"the warehouse {path} is already open in this process")
    if "Could not set lock" in text:
        return Unreachable(f"the warehouse {path} is in use by another process. Nothing was changed")
    if re.search(r"newer|version number", text, re.IGNORECASE):
        return SettingsError(
            f"the warehouse {path} was written by a newer DuckDB. Nothing was changed. "
            "Upgrade lmdp, or name another file"
        )
    if re.search(r"not a valid DuckDB|not read enough bytes|orrupt|Is a directory", text):
        return SettingsError(
            f"{path} is no DuckDB file, or a damaged one: {text}\nNothing was changed. Name another file"
        )
    return SettingsError(f"the warehouse {path} cannot be opened: {text}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0

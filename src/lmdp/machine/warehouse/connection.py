"""DuckDB opened so that SQL from outside can read this one file and nothing else of the machine."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb

from lmdp.errors import DiskFullError, LmdpError, SettingsError, UnreachableError
from lmdp.sql.render import literal
from lmdp.support.available import cores, memory_bytes
from lmdp.support.disk_space import REASONS, disk_full, free_bytes
from lmdp.support.program import HOME, WAREHOUSE, at_home, program

DATABASE = "LM_METRICS"
SCHEMA = f"{DATABASE}.PIPELINE"
STORAGE_VERSION = "v1.4.0"
"""New files are written for this DuckDB and later ones, which people have: no slower and 4 % larger than the newest
(measured on 280,000 rows with DuckDB 2.0.0). A file keeps the version that it was made with."""

_OFF = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_NEW_BYTES = 2_000_000  # what an empty warehouse takes
_USED = re.compile(
    r"\([\d.]+ \w+/[\d.]+ \w+ used\)"
)  # "failed to pin block of size 12.7 MiB (115.5 MiB/122.0 MiB used)"
_URI = re.compile(r":memory:|[A-Za-z][A-Za-z0-9+.-]*:")
_KINDS = {"a named pipe": Path.is_fifo, "a socket": Path.is_socket}
_VERSIONS = re.compile(r"version number (\d+), but we can only read versions? (?:between )?(\d+)")
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
_MOST_THREADS: Final = 8  # each takes memory, and a machine's warehouse is small


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits of the engine: memory and temporary disk in DuckDB's notation, threads (0: one a core, up to eight).

    `log_bytes`: how long queries may keep the log from being folded in.
    """

    memory: str = "128MB"
    temporary: str = "8GB"
    threads: int = 0
    log_bytes: int = 64 * 2**20

    @property
    def query_memory(self) -> str:
        """The memory while the file is read or rows are removed.

        A writer alone has less: it fills all that it may use with blocks that it reads no more. Each thread sorts a
        part of its own: with eight of them METRIC_LATEST over 1.4 million rows runs out of 128 MB, and METRIC_RATES of
        256 (measured with DuckDB 2.0.0).
        """
        return f"{max(_megabytes(self.memory), 256, 64 * self.all_threads)}MB"

    @property
    def all_threads(self) -> int:
        """Number of threads."""
        return self.threads or min(cores(), _MOST_THREADS)

    def more(self) -> EngineLimits | None:
        """Twice the memory; None where that would be more than half of what there is.

        A checkpoint holds 2,048 values of a column at once (tried with DuckDB 2.0.0), however large they are: thousands
        of rejects of a megabyte need gigabytes, and the file could else not be written or opened again.
        """
        doubled = 2 * _megabytes(self.memory)
        return replace(self, memory=f"{doubled}MB") if doubled * 1_000_000 <= memory_bytes() // 2 else None


def _megabytes(memory: str) -> int:
    return int(memory.removesuffix("MB"))


def limit_memory(connection: duckdb.DuckDBPyConnection, memory: str) -> None:
    """Change how much DuckDB may use; less drops what it caches. Raises duckdb.Error where that is not enough."""
    connection.execute(f"SET GLOBAL memory_limit = '{memory}'")


def attach(path: Path, *, read_only: bool, limits: EngineLimits) -> duckdb.DuckDBPyConnection:
    """Open the file as LM_METRICS, everything outside it shut, times in UTC.

    Without this a read-only transaction still reads and writes files (tried with DuckDB 2.0.0).
    Raises SettingsError or UnreachableError.
    """
    _check_place(path, read_only=read_only)
    connection = duckdb.connect(":memory:", config=dict(_OFF))
    try:
        connection.execute("SET enable_progress_bar = false")  # it is drawn on standard output, between rows
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        limit_memory(connection, limits.memory)
        connection.execute(f"SET GLOBAL temp_directory = {literal(f'{path}.tmp')}")
        connection.execute(f"SET GLOBAL max_temp_directory_size = '{limits.temporary}'")
        connection.execute(f"SET GLOBAL threads = {limits.all_threads}")
        option = " (READ_ONLY)" if read_only else "" if path.exists() else f" (STORAGE_VERSION '{STORAGE_VERSION}')"
        connection.execute(f"ATTACH {literal(str(path))} AS {DATABASE}{option}")
        connection.execute("SET GLOBAL enable_external_access = false")
        connection.execute("SET GLOBAL allowed_configs = ['memory_limit']")
        connection.execute("SET GLOBAL lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise _full(path, error) or _not_opened(path, str(error)) from error
    return connection


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether DuckDB failed for want of memory; a commit or an attachment says so only in its text."""
    return isinstance(error, duckdb.Error) and _USED.search(str(error)) is not None


def is_shut(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a failure has shut the file until it is opened again, as a checkpoint on a full disk does."""
    try:
        connection.execute(f"FROM {SCHEMA}.OFFSETS LIMIT 0")
    except duckdb.Error:
        return True
    return False


def not_prepared(path: Path, error: duckdb.Error) -> LmdpError:
    """Return the error for tables that could not be made, or brought up to date."""
    return _full(path, error) or SettingsError(f"the tables of {path} could not be made: {error}\nNothing was changed.")


def write_failure(path: Path, error: duckdb.Error, wanted: int) -> LmdpError:
    """Return the error for a transaction of about `wanted` bytes that could not be written."""
    kept = (
        "Rows and offsets are one transaction: nothing is lost or doubled, and reading resumes from the last one kept."
    )
    text = _first_line(error)
    if reason := _no_space(error):
        return disk_full(
            path.absolute().parent,
            reason,
            wanted + _size(path.with_name(f"{path.name}.wal")),  # which a checkpoint folds in
            f"{kept}\nFree space, or keep fewer days (`LMDP_KEEP=7d`) and restart. A run resumes by itself.",
        )
    return LmdpError(f"{path} could not be written: {text}\n{kept}\nFix the cause; a run tries again by itself.")


def broken(path: Path, error: duckdb.Error) -> LmdpError:
    """Return the error for a file that an earlier failure has shut until it is opened again."""
    return LmdpError(
        f"the warehouse {path} cannot be used until it is opened again: {_first_line(error)}\n"
        "What was committed is in it. A run opens it by itself with its next write; then run the query again."
    )


def query_failure(path: Path, error: duckdb.Error, seconds: float) -> LmdpError:
    """Return the error for a SELECT that gave no answer within `seconds`."""
    if reason := _no_space(error):
        folder = path.absolute().parent
        return LmdpError(
            f"the query needs more space in {folder} than there is: {reason} ({free_bytes(folder):,} bytes free "
            "there). Ask for less (a time range, a LIMIT), or free space."
        )
    if isinstance(error, duckdb.InterruptException):
        return LmdpError(f"no answer within {seconds:g} s; ask for less (a time range, a LIMIT), or allow more time")
    if isinstance(error, duckdb.OutOfMemoryException):
        return LmdpError(f"the query needs more memory than it may use: {_first_line(error)}")
    return SettingsError(f"the query was refused: {error}".rstrip())


def _check_place(path: Path, *, read_only: bool) -> None:
    if _URI.match(str(path)):
        raise SettingsError(
            f"the warehouse {path} is not a plain path: DuckDB would take it for a database in memory or elsewhere. "
            f"Nothing was written. Name a file; one that really is called so by its absolute path"
        )
    for file in (path, Path(f"{path}.wal")):
        if file.exists() and not (file.is_file() or file.is_dir()):
            kind = next((name for name, is_one in _KINDS.items() if is_one(file)), "a device")
            raise SettingsError(f"{file} is not a DuckDB file: it is {kind}. Nothing was changed. Name another file")
    if read_only and not path.exists():
        run = f"{program()} run{_options(path)}"
        raise UnreachableError(f"there is no warehouse at {path}; `{run}` makes one, unless it writes to Snowflake")
    if not path.parent.is_dir():
        raise SettingsError(
            f"the warehouse {path} needs a folder, and {path.parent} is not one; create it, or name another"
        )
    if not read_only and not os.access(path.parent, os.W_OK):
        raise SettingsError(f"the folder {path.parent} cannot be written; a warehouse needs that")


def _options(path: Path) -> str:
    """Return the options by which a command finds this file."""
    return at_home(path.parent) if path.name == WAREHOUSE else at_home(HOME, path)


def _not_opened(path: Path, text: str) -> LmdpError:
    """Return the error for a file that DuckDB would not attach; nothing in it was changed."""
    if holder := _HOLDER.search(text):
        options = _options(path)
        return UnreachableError(
            f"the warehouse {path} is in use by process {holder['pid']} ({holder['program']}). Nothing was changed.\n"
            f"`{program()} status{options}` and `{program()} query{options}` work alongside it. To open it here, stop "
            "that process; to run alongside it, name another file (--warehouse) or another folder for everything "
            "(--home)."
        )
    if "already attached" in text:
        return UnreachableError(f"the warehouse {path} is already open in this process")
    if "Could not set lock" in text:
        return UnreachableError(f"the warehouse {path} is in use by another process. Nothing was changed")
    if fault := _of_another_state(path, text):
        return SettingsError(fault)
    if re.search(r"not a valid DuckDB|not read enough bytes|orrupt|Is a directory", text):
        return SettingsError(
            f"{path} is not a DuckDB file, or a damaged one: {text}\nNothing was changed. Name another file"
        )
    return SettingsError(f"the warehouse {path} cannot be opened: {text}")


def _of_another_state(path: Path, text: str) -> str:
    """Return the fault of a file of another DuckDB, or with a log that is not its own; "" where it is neither."""
    if versions := _VERSIONS.search(text):
        older = int(versions[1]) < int(versions[2])
        remedy = "Open it with the DuckDB that wrote it, and EXPORT DATABASE" if older else "Upgrade lmdp"
        return (
            f"the warehouse {path} was written by {'an older' if older else 'a newer'} DuckDB than this one "
            f"({duckdb.__version__}). Nothing was changed. {remedy}, or name another file"
        )
    if "WAL checkpoint iteration" in text:
        return (
            f"the log {path}.wal does not belong to the state of {path}: {text}\nNothing was changed. Restore both "
            "from the same moment. Without the .wal the file opens as it is, and Kafka's newer messages are read again"
        )
    return ""


def _full(path: Path, error: duckdb.Error) -> DiskFullError | None:
    """Return the error of a file that could not be opened or made for want of space; None for another cause."""
    if reason := _no_space(error):
        return disk_full(
            path.absolute().parent, reason, _NEW_BYTES, "Nothing was changed. Free space, and start again."
        )
    return None


def _no_space(error: duckdb.Error) -> str:
    """Return why there was no space, where that is what failed; else ""."""
    return next((reason for reason in REASONS if reason in str(error)), "")


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0

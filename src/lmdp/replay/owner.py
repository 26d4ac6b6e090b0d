"""The owner of the warehouse that is replayed into: a run that answers, else this process, which opens the file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from lmdp.errors import LmdpError, RunNotFoundError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import LARGEST_REPLAY, Query
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay import log, wire
from lmdp.replay.log import ASK_SECONDS, Transaction, WarehouseOwner, owned
from lmdp.support.specification_file import configured_spec

_GONE = (
    "the run that has {} has ended in the meantime. What was written is marked. Run the same command again: it "
    "continues, through the run if there is one, else by itself."
)


@contextlib.contextmanager
def warehouse_owner(home: Path, path: Path, *, dry: bool) -> Iterator[WarehouseOwner]:
    """Return the owner of the file at `path`: the run of `home` if it has that file. `dry` only reads.

    Raises UnreachableError when another replay is at work there, or another process has the file, and as opening it
    does.
    """
    with contextlib.nullcontext() if dry else _alone(path):
        running = WarehouseOwner(partial(_ask, home, path), partial(_write, home, path))
        try:
            client.query_run(home, _query(path, "SELECT 1"))
        except RunNotFoundError:
            with Warehouse.open(path, configured_spec(), read_only=dry) as warehouse:
                yield owned(warehouse)
            return
        yield running


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only replay that writes there: each has the keys of copies in its own memory.

    The lock is on the folder, so that no file of its own is left; it ends with the process, however that ends.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a fault of the folder is reported when the file is opened
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, folder)
            _lock(folder, path.parent)
        yield


def _lock(folder: int, path: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UnreachableError(
            f"another replay is at work in {path}. Nothing was changed; wait for its end."
        ) from error


def _query(path: Path, sql: str) -> Query:
    return Query(sql, timeout_seconds=ASK_SECONDS, warehouse=str(path.resolve()))


def _ask(home: Path, path: Path, sql: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = client.query_run(home, _query(path, sql)).table.to_pylist()
    except RunNotFoundError as error:
        raise UnreachableError(_GONE.format(path)) from error
    return found


def _write(home: Path, path: Path, transaction: Transaction) -> int:
    body = wire.write(str(path.resolve()), transaction, configured_spec())
    if len(body) > LARGEST_REPLAY:
        raise LmdpError(
            f"one object made {len(body):,} bytes of rows, more than a run takes at once ({LARGEST_REPLAY:,}). "
            f"Nothing of it was written. Stop the run, and run the same command again."
        )
    try:
        return client.replay(home, body)
    except RunNotFoundError as error:
        raise UnreachableError(_GONE.format(path)) from error


def commit(warehouse: Warehouse, file: IO[bytes]) -> int:
    """Commit the transaction in `file`, which another process sent to the run that has `warehouse`.

    Returns the bytes of the rows' columns. Raises RunNotFoundError where it is for another warehouse, and as
    `log.write` does.
    """
    wanted, transaction = wire.read(file, configured_spec())
    if wanted != str(warehouse.path.resolve()):
        raise RunNotFoundError
    return log.write(warehouse, transaction)

"""The owner of the warehouse that is replayed into takes each step: a run that answers, else this process.

POST /replay   a line of JSON, which is the request, and behind it an object, or a page of rejects written as one
→ a line of JSON, which is the result, and behind it what is left of the object
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from filelock import lock_descriptor

from lmdp.core.specification import load_spec, parse_spec
from lmdp.errors import LmdpError, RunNotFoundError, SettingsError, UnreachableError, UnreadableObjectError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import LARGEST_REPLAY, Query
from lmdp.machine.warehouse.arrow import row_columns
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.marks import ASK_SECONDS, Ask, asking
from lmdp.replay.replay import Failures, Origin, Replayed, Step, into_warehouse
from lmdp.replay.retry import ReplaySettings
from lmdp.support.failed_records import FailedRecord, packed, read, unpacked
from lmdp.support.specification_file import configured_page, configured_spec

_MOST_SIZE: Final = 256 * 2**20  # characters of rows that a run holds for one transaction, about
_GONE: Final = (
    "the run that has {} has ended in the meantime. What was written is marked. Run the same command again: it "
    "continues, through the run if there is one, else by itself."
)
_OLDER: Final = (
    "the run under {} is of an earlier version, which takes other replays. Nothing was changed. Restart the run with "
    "this version, and run the same command again."
)


class _Request(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Settings for the failures that follow it; `specification` is the page of LMDP_SPEC ("": the package's)."""

    warehouse: str
    org_id: str | None
    specification: str
    dry_run: bool
    origin: Origin


@contextlib.contextmanager
def warehouse_owner(home: Path, path: Path, settings: ReplaySettings) -> Iterator[tuple[Ask, Step]]:
    """Return queries of the file at `path`, and the step into it: of the run of `home` if that has the file.

    A dry run only reads. Raises UnreachableError when another replay is at work there, or another process has the
    file, and as opening it does.
    """
    with contextlib.nullcontext() if settings.dry else _alone(path.parent):
        try:
            client.query_run(home, _query(path, "SELECT 1"))
        except RunNotFoundError:
            with Warehouse.open(path, configured_spec(), read_only=settings.dry) as warehouse:
                yield asking(warehouse), partial(into_warehouse, warehouse, settings)
            return
        yield partial(_ask, home, path), partial(_step, home, path, settings)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only replay that writes there: each has the keys of copies in its own memory.

    The lock is on the folder, so that no file of its own is left; it ends with the process, however that ends.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a fault of the folder is reported when the file is opened
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, handle)
            if not lock_descriptor(handle, blocking=False):
                raise UnreachableError(f"another replay is at work in {folder}. Nothing was changed; wait for its end.")
        yield


def _query(path: Path, sql: str) -> Query:
    return Query(sql, timeout_seconds=ASK_SECONDS, warehouse=str(path.resolve()))


def _ask(home: Path, path: Path, sql: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = client.query_run(home, _query(path, sql)).table.to_pylist()
    except RunNotFoundError as error:
        raise UnreachableError(_GONE.format(path)) from error
    return found


def _step(home: Path, path: Path, settings: ReplaySettings, failures: Failures) -> Replayed:
    """Have the run take a step."""
    org_id, page = settings.transform.org_id, configured_page()
    request = _Request(str(path.resolve()), org_id, page, settings.dry, failures.origin)
    content = failures.content or packed(
        (one.envelope for one in failures.pieces if isinstance(one, FailedRecord)), b""
    )
    try:
        answer = client.replay(home, msgspec.json.encode(request) + b"\n" + content)
    except RunNotFoundError as error:
        raise UnreachableError(_GONE.format(path)) from error
    except SettingsError as error:
        if "no transaction of a replay" in str(error):  # as earlier versions answer
            raise SettingsError(_OLDER.format(home)) from error
        raise
    head, _, left = answer.partition(b"\n")
    result = msgspec.json.decode(head, type=Replayed, dec_hook=lambda _kind, counts: Counter(counts))
    return replace(result, left=left or None)


def serve(warehouse: Warehouse, body: bytes) -> Sequence[bytes]:
    """Take a step in the run that has `warehouse`; return the answer's parts.

    Raises RunNotFoundError where it is for another warehouse, SettingsError for what is no request, and as the step
    does; then nothing was written.
    """
    head, _, content = body.partition(b"\n")
    try:
        request = msgspec.json.decode(head, type=_Request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_request(str(error)) from error
    if request.warehouse != warehouse.name:
        raise RunNotFoundError
    settings = _settings(request.org_id, request.specification, request.dry_run)
    try:
        text = unpacked(content, LARGEST_REPLAY)
    except UnreadableObjectError as why:
        raise LmdpError(f"{why}. Nothing of it was written. Stop the run, and run the same command again.") from why
    pieces = list(read(text))
    origin = request.origin
    if not (origin.address or origin.tried or len(pieces) == len(origin.replaced)):
        raise _no_request("it has other failures than rejects")
    digest = hashlib.sha256(text).hexdigest() if origin.address else ""
    result = into_warehouse(warehouse, settings, Failures(origin, pieces, content, digest))
    return msgspec.json.encode(replace(result, left=None)), b"\n", result.left or b""


def _no_request(why: str) -> SettingsError:
    return SettingsError(
        f"this is not a request of a replay: {why}. Nothing was changed. Use one version for the run and the replay."
    )


@functools.lru_cache(maxsize=2)
def _settings(org_id: str | None, page: str, dry: bool) -> ReplaySettings:  # noqa: FBT001 - as the request has it
    """Return the settings of the process that asks; its rows have to have the run's columns. Raises SettingsError."""
    spec = parse_spec(page) if page else load_spec()
    if row_columns([], spec.fields).schema != row_columns([], configured_spec().fields).schema:
        raise SettingsError(
            "this replay and the run have different columns: start both with the same version and LMDP_SPEC. "
            "Nothing was changed."
        )
    return ReplaySettings.of(org_id, spec, dry=dry, most_size=_MOST_SIZE)

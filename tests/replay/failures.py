"""Failures as the tests of the replay write them: our rejects, and Firehose's records."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lmdp import Message, TransformSettings, encode, transform
from lmdp.core.rejects import Reject, envelope
from lmdp.core.specification import load_spec
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.marks import Rejects, asking
from lmdp.replay.replay import ReplayControl, Step, elsewhere, into_warehouse, replay_objects, replay_rejects
from lmdp.replay.retry import ReplaySettings, Report
from lmdp.replay.sinks import Send
from lmdp.replay.stores import Store
from lmdp.support.reject_files import write_to_folder
from running import bundle

NOW = 1_795_000_000_000
SPEC = load_spec()
TOPIC = "lm.metrics.otlp"


def two(first: int) -> bytes:
    """A message of two resources: the first names a tenant, the second none."""
    with_tenant, without = (json.loads(bundle(first + n, tenant=tenant)) for n, tenant in enumerate(("acme", None)))
    return json.dumps({"resourceMetrics": with_tenant["resourceMetrics"] + without["resourceMetrics"]}).encode()


def message(value: bytes, offset: int, partition: int = 0) -> Message:
    """A message of this place."""
    return Message(value, TOPIC, partition, offset, 1_770_000_000_000 + offset, b"key")


def rejects(folder: Path, *messages: Message) -> list[Path]:
    """Write what these messages reject without a tenant, as the function and `lmdp run --rejects` do."""
    return write_to_folder(folder, transform(messages, TransformSettings()).rejects, NOW)


def of_tenant(tenant: str, offset: int) -> Reject:
    """What a message is rejected as that was too large for the settings then, with the tenant of a trusted header."""
    given = replace(
        message(gzip.compress(bundle(offset, tenant="another's")), offset), headers=(("h", tenant.encode()),)
    )
    (reject,) = transform([given], TransformSettings(max_decompressed_bytes=10, tenant_header="h")).rejects
    return reject


def row_json(number: int, **changes: Any) -> dict[str, Any]:
    """A row event."""
    (row,) = encode(transform([Message(bundle(number, tenant="acme"))], TransformSettings()).rows)
    return {**json.loads(row), **changes}


def firehose_record(raw: bytes, code: str = "Snowflake.ExtraColumns") -> dict[str, Any]:
    """A record that Firehose could not deliver."""
    return {
        "attemptsMade": 1,
        "arrivalTimestamp": NOW - 5,
        "errorCode": code,
        "errorMessage": "why",
        "attemptEndingTimestamp": NOW,
        "rawData": base64.b64encode(raw).decode(),
    }


@dataclass(frozen=True)
class How:
    """How to replay."""

    settings: ReplaySettings
    run: ReplayControl


def run(
    org_id: str | None = "acme",
    *,
    dry: bool = False,
    whole: bool = False,
    stop_after: int = 1_000,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> How:
    """How to replay: with this tenant, into something that takes rows (or, `whole`, messages)."""
    asked = iter(range(1_000_000))
    settings = ReplaySettings.of(org_id, SPEC, whole=whole, dry=dry)
    return How(settings, ReplayControl(dry, on_progress, lambda: next(asked) >= stop_after))


def replayed(store: Store, warehouse: Warehouse, how: How) -> Report:
    """Replay a store into a warehouse."""
    return taken(store, partial(into_warehouse, warehouse, how.settings), how)


def taken(store: Store, step: Step, how: How) -> Report:
    """Replay a store with this step."""
    report = Report()
    replay_objects(store, step, how.run, report)
    return report


def sent(store: Store, send: Send, how: How) -> Report:
    """Replay a store to another sink."""
    return taken(store, partial(elsewhere, send, None, how.settings), how)


def replayed_rejects(warehouse: Warehouse, how: How, send: Send | None = None) -> Report:
    """Replay the rejects of a warehouse into it, or to another sink."""
    step, report = partial(into_warehouse, warehouse, how.settings), Report()
    there = partial(elsewhere, send, step, how.settings) if send else step
    replay_rejects(Rejects.of(asking(warehouse)), there, how.run, report)
    return report


def values(warehouse: Warehouse, sql: str) -> list[Any]:
    """The values of the first column."""
    return list(warehouse.query(sql).table.column(0).to_pylist())


def files(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def lines(path: Path) -> list[Any]:
    """The objects in a file."""
    content = path.read_bytes()
    text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return [json.loads(line) for line in text.splitlines()]


def reject_into(warehouse: Warehouse, *values: bytes, now_ms: int = NOW) -> None:
    """Write what the consumer would of these messages, without a tenant."""
    done = transform([message(value, n) for n, value in enumerate(values)], TransformSettings())
    part = OffsetRange("c", "id", "t", 0, 0, len(values), len(done.rows), len(done.rejects))
    envelopes = [envelope(reject, now_ms) for reject in done.rejects]
    warehouse.commit(Load(done.rows, envelopes, [part], datetime.now(UTC)))

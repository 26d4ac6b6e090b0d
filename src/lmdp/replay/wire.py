"""One transaction of a replay as bytes: from the `lmdp replay` that made it to the `lmdp run` that has the warehouse.

    8 bytes   how long the head is, the most significant byte first
    head      MessagePack: which warehouse it is for, and all but the two tables
    rows      an Arrow IPC stream, in the columns of ROW_EVENTS
    rejects   another one, in those of REJECTS

It is a file to the one who reads, mapped and not held: what is in it may be larger than its memory should grow.
"""

from __future__ import annotations

import io
import mmap
from typing import IO, TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from lmdp.errors import SettingsError
from lmdp.machine.warehouse.arrow import REJECTS, reject_columns, row_columns
from lmdp.replay.log import ReplayedObject, Transaction

if TYPE_CHECKING:
    from lmdp.core.specification import Spec

_LENGTH: Final = 8


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    warehouse: str
    source: str
    messages: int
    replaced: list[tuple[int, int]] = msgspec.field(name="settled")  # as earlier versions send it
    mark: ReplayedObject | None
    passed: list[str]


def write(warehouse: str, transaction: Transaction, spec: Spec) -> bytes:
    """The bytes of `transaction`, for the run that has the file `warehouse` (a resolved path)."""
    head = msgspec.msgpack.encode(
        _Head(
            warehouse,
            transaction.source,
            transaction.messages,
            list(transaction.replaced),
            transaction.mark,
            list(transaction.passed),
        )
    )
    into = io.BytesIO()
    into.write(len(head).to_bytes(_LENGTH, "big") + head)
    rows, rejects = transaction.rows, transaction.rejects
    for table in (
        rows if isinstance(rows, pa.Table) else row_columns(rows, spec.fields),
        rejects if isinstance(rejects, pa.Table) else reject_columns(rejects),
    ):
        with pa.ipc.new_stream(into, table.schema) as stream:
            stream.write_table(table)
    return into.getvalue()


def read(file: IO[bytes], spec: Spec) -> tuple[str, Transaction]:
    """What `write` made, and which warehouse it is for; the tables live as long as `file` is open.

    Raises SettingsError where it is anything else: nothing of it is to be used then.
    """
    file.flush()
    try:
        content = pa.py_buffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        source = pa.BufferReader(content)
        length = int.from_bytes(source.read(_LENGTH), "big")
        head = msgspec.msgpack.decode(source.read(min(length, len(content))), type=_Head)
        rows, rejects = _table(source), _table(source)
        if source.read(1):
            raise SettingsError("there is more behind the end")
    except (ValueError, msgspec.MsgspecError, pa.ArrowException, OSError) as error:
        raise SettingsError(f"this is no transaction of a replay: {error}. Nothing was changed.") from error
    for table, wanted in ((rows, row_columns([], spec.fields).schema), (rejects, REJECTS)):
        if table.schema != wanted:
            raise SettingsError(
                "this replay and the run have different columns: start both with the same version and LMDP_SPEC. "
                "Nothing was changed."
            )
    return head.warehouse, Transaction(head.source, head.messages, rows, rejects, head.replaced, head.mark, head.passed)


def _table(source: pa.BufferReader) -> pa.Table:
    table = pa.ipc.open_stream(source).read_all()
    table.validate(full=True)
    return table

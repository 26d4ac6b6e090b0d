"""Messages of one partition as Kafka has them, and what becomes of each datapoint: for someone who looks.

Nothing is committed, to no sink and no consumer group, and every part of the answer has a limit.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from itertools import islice
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lmdp.core.encode import encode
from lmdp.core.otlp.compression import decompress
from lmdp.core.otlp.decode import decode
from lmdp.core.otlp.model import MetricsData
from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.rejects import Reject, cut_down, paths
from lmdp.errors import DECODE_TOO_LARGE, MessageError, UnreachableError
from lmdp.machine.kafka.access import ClientErrors, KafkaAccess, translate
from lmdp.machine.kafka.records import message_of
from lmdp.support.printable import readable

MOST_MESSAGES: Final = 50
_MOST_BYTES: Final = 8 * 2**20  # of the messages of an answer
_READ_S: Final = 10.0
_POLL_S: Final = 0.02
_LARGEST: Final = 2**20  # a larger message, as it was sent, is not taken apart
_LARGEST_DECOMPRESSED: Final = 4 * 2**20
_TEXT: Final = 20_000  # characters of a message that are shown
_KEY: Final = 256  # of its key
_DATAPOINTS: Final = 200
_ROWS: Final = 400

Json = dict[str, Any]

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
_CLIENT_SETTINGS: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",  # retention may take the first ones meanwhile
    "isolation.level": "read_committed",
    "queued.max.messages.kbytes": 4_096,
}


def newest(
    access: KafkaAccess,
    topic: str,
    group: str,
    settings: TransformSettings,
    partition: int,
    before: int | None,
    most: int,
) -> Json:
    """Return the newest messages of a partition, newest first, or those before an offset.

    `first` and `end` are the partition's offsets now. Raises UnreachableError, SettingsError.
    """
    reasons = ClientErrors()
    try:
        consumer = Consumer({**access.config(), **_CLIENT_SETTINGS, "group.id": group, "error_cb": reasons})
        try:
            place = TopicPartition(topic, partition)
            first, end = consumer.get_watermark_offsets(place, timeout=_READ_S)
            last = end if before is None else min(before, end)
            start = max(first, last - min(most, MOST_MESSAGES))
            found = _read(consumer, topic, partition, start, last) if start < last else deque[Message]()
        finally:
            consumer.close()
    except KafkaException as error:
        raise translate(error, access, topic=topic, reasons=reasons) from error
    described = [describe(message, settings) for message in reversed(found)]
    return {"topic": topic, "partition": partition, "first": first, "end": end, "messages": described}


def _read(consumer: Consumer, topic: str, partition: int, start: int, last: int) -> deque[Message]:
    """Return the messages from `start` to before `last`; the newest of them where they have too many bytes."""
    consumer.assign([TopicPartition(topic, partition, start)])
    found, size, ends = deque[Message](), 0, time.monotonic() + _READ_S
    while time.monotonic() < ends:
        records = consumer.consume(MOST_MESSAGES, 0)
        for record in records:
            error = record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                raise KafkaException(error)
            if error is not None or (record.offset() or 0) >= last:
                return found
            message = message_of(record)
            found.append(message)
            size += len(message.value or b"")
            while size > _MOST_BYTES and len(found) > 1:
                size -= len(found.popleft().value or b"")
            if message.offset >= last - 1:
                return found
        if not records:
            time.sleep(_POLL_S)
    raise UnreachableError(f"{topic}-{partition} gave no messages within {_READ_S:g} s. Try again.")


def describe(message: Message, settings: TransformSettings) -> Json:
    """Return a message as text, its counts, and its datapoints, each with its rows, its reject or what was dropped.

    `reject` is that of the message, which may have made rows too; `isTooLarge`: it is not taken apart.
    """
    value = message.value or b""
    content, bundle, is_too_large = _opened(value, settings)
    text, is_cut = _text(content, bundle)
    shown: Json = {
        "partition": message.partition,
        "offset": message.offset,
        "timestampMs": message.timestamp,
        "key": None if message.key is None else readable(message.key, _KEY)[0],
        "bytes": len(value),
        "text": text,
        "isTextCut": is_cut,
        "isTooLarge": is_too_large,
        **dict.fromkeys(("datapointsTotal", "rows")),
        "reject": None,
        "dropped": {},
        "datapoints": [],
    }
    return shown if is_too_large else shown | _taken_apart(message, bundle, settings)


def _opened(value: bytes, settings: TransformSettings) -> tuple[bytes, MetricsData | None, bool]:
    """Return the decompressed value, its bundle where it can be read, and whether it is too large to be taken apart."""
    if len(value) > _LARGEST:
        return value, None, True
    content = value
    try:
        content = decompress(value, _LARGEST_DECOMPRESSED)
        return content, decode(value, _LARGEST_DECOMPRESSED, settings.max_message_memory), False
    except MessageError as refused:
        return content, None, content is value and refused.code == DECODE_TOO_LARGE
    except RecursionError:
        return content, None, False


def _taken_apart(message: Message, bundle: MetricsData | None, settings: TransformSettings) -> Json:
    whole = transform([message], settings)
    reject = whole.rejects[0] if whole.rejects else None
    found: Json = {
        "datapointsTotal": whole.counts.datapoints,
        "rows": whole.counts.rows,
        "reject": _reason(reject),
        "dropped": _counted(whole.counts.dropped),
    }
    if bundle is None or (reject and not reject.datapoints):
        return found
    each, left = [], _ROWS
    for path in islice(paths(bundle), _DATAPOINTS):
        done = transform([msgspec.structs.replace(message, value=cut_down([path]))], settings)
        rows = done.rows[:left]
        left -= len(rows)
        each.append(
            {
                "metric": path[2].name,
                "rowsTotal": len(done.rows),
                "rows": [msgspec.Raw(row) for row in encode(rows, settings.spec)],
                "reject": _reason(done.rejects[0] if done.rejects else None),
                "dropped": _counted(done.counts.dropped),
            }
        )
    return found | {"datapoints": each}


def _reason(reject: Reject | None) -> Json | None:
    return {"code": reject.code, "message": reject.message} if reject else None


def _counted(dropped: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(dropped.items()) if count}


def _text(content: bytes, bundle: MetricsData | None) -> tuple[str, bool]:
    """Return a message as text, indented where it is JSON; a protobuf message as the JSON that it stands for."""
    if bundle is not None and not content.lstrip().startswith(b"{"):
        content = cut_down(list(islice(paths(bundle), _DATAPOINTS)))
    if len(content) <= _LARGEST_DECOMPRESSED:
        with contextlib.suppress(msgspec.DecodeError):
            content = msgspec.json.format(content, indent=2)
    return readable(content, _TEXT)

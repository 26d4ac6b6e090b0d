"""Kafka to Snowflake as one writes it with the official SDK around lmdp's core, in an environment that has the SDK.

It pins an older msgspec. The maps are given as text, which is less work than the VARIANT columns would need.
Reads what to do from stdin as JSON, and prints rows, CPU seconds and the peak in MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import groupby
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from snowflake.ingest.streaming import StreamingIngestClient  # type: ignore[import-not-found, import-untyped, unused-ignore]  # not in ours

from lmdp.core.pipeline import Message, TransformSettings, transform


def main() -> None:
    """Write a topic to the channels of a pipe, until so many messages are committed."""
    given: dict[str, Any] = json.loads(sys.stdin.read())
    settings, topic, left, rows = TransformSettings(org_id="bench"), given["topic"], given["messages"], 0
    names = [field.name for field in settings.spec.fields]
    begun = time.monotonic()
    client = StreamingIngestClient.from_table(
        "bench", "LM_METRICS", "PIPELINE", "ROW_EVENTS", properties=given["properties"]
    )
    channels = [client.open_channel(f"sdk.{topic}.{partition}")[0] for partition in range(given["partitions"])]
    last = ["" for _ in channels]
    consumer = Consumer({**given["kafka"], "group.id": "sdk", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in range(len(channels))])
    while left:
        records = [record for record in consumer.consume(120, 1.0) if record.error() is None]
        left -= len(records)
        for part, run in groupby(records, key=lambda record: record.partition() or 0):
            messages = [Message(each.value(), topic, part, each.offset() or 0, each.timestamp()[1]) for each in run]
            made = transform(messages, settings).rows
            rows += len(made)
            objects = [
                {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in made
            ]
            first, last[part] = str(messages[0].offset), str(messages[-1].offset)
            channels[part].append_rows(objects, first, last[part])
            channels[part].wait_for_flush(timeout_seconds=60)  # a larger flush goes by files, which the double has not
    for channel, token in zip(channels, last, strict=True):
        channel.wait_for_commit(lambda committed, token=token: committed == token, timeout_seconds=120)
    seconds = time.monotonic() - begun
    client.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"rows": rows, "seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peakMiB": used.ru_maxrss / 1024}
    sys.stdout.write(f"RESULT {json.dumps(found)}\n")


if __name__ == "__main__":
    main()

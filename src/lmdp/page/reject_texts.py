"""Why messages were rejected and datapoints dropped: an example of each, and what a person can do about it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

from lmdp.page.run_client import Json, Pipe
from lmdp.support.program import program
from lmdp.support.reject_share import replay_command

_EXCERPT = 2_000  # characters of a message that are shown
_RAW = 4_000  # of its base64 that are read; a multiple of four

_REJECTS = f"""
SELECT
  ERROR_CODE AS code, count(*) AS rejects, CAST(sum(DATAPOINTS) AS BIGINT) AS datapoints,
  epoch_ms(min(ARRIVAL_TIMESTAMP)) AS "firstMs", epoch_ms(max(ARRIVAL_TIMESTAMP)) AS "lastMs",
  arg_max({{
    'message': substr(ERROR_MESSAGE, 1, {_EXCERPT}), 'topic': SOURCE_TOPIC, 'partition': SOURCE_PARTITION,
    'offset': SOURCE_OFFSET, 'key': SOURCE_KEY, 'raw': substr(RAW_DATA, 1, {_RAW}),
    'bytes': length(RAW_DATA) // 4 * 3 - length(RAW_DATA) + length(rtrim(RAW_DATA, '='))
  }}, ARRIVAL_TIMESTAMP) AS example
FROM REJECTS
GROUP BY ERROR_CODE
ORDER BY rejects DESC, code
"""  # noqa: S608 - our own numbers


class _Code(NamedTuple):
    """What a reject's code means, what to mend, and the options with which it is then replayed."""

    meaning: str
    mend: str
    options: str = ""


CODES = {
    "Decode.Malformed": _Code(
        "The message is neither OTLP/JSON nor OTLP protobuf, or it is cut off.",
        "The reason says what it looks like where that is known, and what the publisher has to change. "
        "If this program was at fault, replay it after an upgrade.",
        "--dry-run",
    ),
    "Decode.NotMetrics": _Code(
        "The message is readable, and holds no metrics: logs, traces, other JSON, or OTLP before 1.0.",
        "Give the publisher of logs or traces a topic of its own, and let that of old OTLP write OTLP 1.0 or later.",
        "--dry-run",
    ),
    "Decode.TooLarge": _Code(
        "The message, decompressed, or its rows are larger than the limits allow.",
        "Let the publisher send smaller bundles.",
        "--dry-run",
    ),
    "Row.MissingField": _Code(
        "A field that every row needs is not in the datapoint, its scope or its resource.",
        "Name the source's key for it in a copy of the specification, and let LMDP_SPEC name the copy.",
        "--dry-run",
    ),
    "Row.BadTimestamp": _Code(
        "The datapoint has no time, or one outside the years 1 to 9999.",
        "Mend the publisher's clock or its encoding. A time is never made up.",
        "--dry-run",
    ),
    "Row.BadHistogram": _Code(
        "A histogram's bucket counts and bounds do not match: counts are one more than bounds.",
        "Mend the publisher. If this program was at fault, replay it after an upgrade.",
        "--dry-run",
    ),
    "Row.TooLarge": _Code(
        "The row would be larger than a record that Firehose takes.",
        "Shorten the datapoint's or the resource's attributes where they are made.",
        "--dry-run",
    ),
}
_NO_TENANT = _Code(
    "No tenant is in the resource, as LogicMonitor sends none, and none was named at the start of the run.",
    f"Name the tenant ({program()} run --org-id NAME, or LMDP_ORG_ID), and put the rejects back under it.",
    "--org-id NAME",
)
_UNKNOWN = _Code("A later version of the program may know this code.", "Look at the example.", "--dry-run")


class _Drop(NamedTuple):
    """What is counted under a reason, what that means, and what such a thing looks like."""

    counted: str
    meaning: str
    example: str


DROPS = {
    "noRecordedValue": _Drop(
        "datapoints",
        "The source polled and had no value: LogicMonitor's No Data. Look for it at the device.",
        '{"timeUnixNano": "1764000000000000000", "flags": 1}',
    ),
    "nonFinite": _Drop(
        "rows",
        "The value is not a number or infinite, which a report could not add up.",
        '{"timeUnixNano": "1764000000000000000", "asDouble": "NaN"}',
    ),
    "empty": _Drop(
        "messages",
        "The Kafka record has no value: a tombstone of a compacted topic, or white space.",
        "(no bytes)",
    ),
    "unknownData": _Drop(
        "metrics",
        "The metric has none of the five kinds of data of OTLP 1.0. Let its source write OTLP 1.0 or later.",
        '{"name": "requests", "intSum": {"dataPoints": [{"value": "3"}]}}',
    ),
    "exemplars": _Drop(
        "exemplars",
        "Single samples that a source attached to a datapoint. The datapoint itself became rows.",
        '{"exemplars": [{"asDouble": 0.12, "traceId": "…"}]}',
    ),
}
_UNKNOWN_DROP = _Drop("datapoints", "A later version of the program may know this reason.", "")


async def rejects(pipe: Pipe) -> list[Json]:
    """Every code in the warehouse, the most first, with its newest reject. Raises ApiError."""
    warehouse = Path(pipe.status["warehouse"]) if pipe.status else None
    return [_told(row, pipe.home, warehouse) for row in await pipe.rows(_REJECTS)]


def _told(row: Json, home: Path, warehouse: Path | None) -> Json:
    example = dict(row["example"])
    code = _NO_TENANT if example["message"].startswith("orgId:") else CODES.get(row["code"], _UNKNOWN)
    example["excerpt"] = _excerpt(example.pop("raw"))
    return {
        **row,
        "meaning": code.meaning,
        "mend": code.mend,
        "command": replay_command(code.options, home, warehouse),
        "example": example,
    }


def drops(live: Json) -> list[Json]:
    """What this run made no row of, by rule, the most first."""
    dropped = sorted(live["dropped"].items(), key=lambda one: (-one[1], one[0]))
    return [
        {"reason": reason, "count": count, **DROPS.get(reason, _UNKNOWN_DROP)._asdict()} for reason, count in dropped
    ]


def _excerpt(raw: str) -> str:
    """The start of a message: its text, or its bytes where it is none."""
    start = base64.b64decode(raw)
    try:
        # A character may be cut at the end.
        text = start.decode() if len(raw) < _RAW else start[: -(len(start) % 4 or 4)].decode(errors="ignore")
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character.isspace() for character in text):
        return text[:_EXCERPT]
    return start[:256].hex(" ")

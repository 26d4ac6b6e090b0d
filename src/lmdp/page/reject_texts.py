"""Texts for reject codes and drop reasons: the meaning, an example, and the remedy."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

from lmdp.page.run_client import Json, RunClient
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
    """The meaning of a reject code, the fix, and the options with which the rejects are then replayed."""

    meaning: str
    fix: str
    options: str = ""


CODES = {
    "Decode.Malformed": _Code(
        "The message is neither OTLP/JSON nor OTLP protobuf, or it is cut off.",
        "The error message names the format where it is recognised, and what the publisher has to change. "
        "If this program is wrong, replay it after an upgrade.",
        "--dry-run",
    ),
    "Decode.NotMetrics": _Code(
        "The message is readable but has no metrics: it is logs, traces, other JSON, or OTLP before 1.0.",
        "Send logs and traces to another topic. Upgrade a source of old OTLP to OTLP 1.0 or later.",
        "--dry-run",
    ),
    "Decode.TooLarge": _Code(
        "The decompressed message, or its rows, exceed the size limits.",
        "Configure the publisher to send smaller bundles.",
        "--dry-run",
    ),
    "Row.MissingField": _Code(
        "A required field is neither in the datapoint nor in its scope or resource.",
        "Add the source's key for it to a copy of the specification, and set LMDP_SPEC to that copy.",
        "--dry-run",
    ),
    "Row.BadTimestamp": _Code(
        "The datapoint has no time, or one outside the years 1 to 9999.",
        "Fix the publisher's clock or its encoding. A missing time is never invented.",
        "--dry-run",
    ),
    "Row.BadHistogram": _Code(
        "A histogram's bucket counts and bounds do not match: it needs one count more than bounds.",
        "Fix the publisher. If this program is wrong, replay it after an upgrade.",
        "--dry-run",
    ),
    "Row.TooLarge": _Code(
        "The row exceeds the largest record that Firehose accepts.",
        "Shorten the attributes of the datapoint or the resource at their source.",
        "--dry-run",
    ),
}
_NO_TENANT = _Code(
    "The resource has no tenant (LogicMonitor sends none), and the run was started without one.",
    f"Set the tenant ({program()} run --org-id NAME, or LMDP_ORG_ID), and replay the rejects with it.",
    "--org-id NAME",
)
_UNKNOWN = _Code("This version of the program does not know the code.", "See the example.", "--dry-run")


class _Drop(NamedTuple):
    """The unit counted under a drop reason, the meaning of the reason, and an example."""

    counted: str
    meaning: str
    example: str


DROPS = {
    "noRecordedValue": _Drop(
        "datapoints",
        "The source polled and got no value (LogicMonitor: No Data). Check the device.",
        '{"timeUnixNano": "1764000000000000000", "flags": 1}',
    ),
    "nonFinite": _Drop(
        "rows",
        "The value is NaN or infinite, which no report can add up.",
        '{"timeUnixNano": "1764000000000000000", "asDouble": "NaN"}',
    ),
    "empty": _Drop(
        "messages",
        "The Kafka record has no value: a tombstone of a compacted topic, or white space.",
        "(no bytes)",
    ),
    "unknownData": _Drop(
        "metrics",
        "The metric has none of OTLP 1.0's five kinds of data. Upgrade its source to OTLP 1.0 or later.",
        '{"name": "requests", "intSum": {"dataPoints": [{"value": "3"}]}}',
    ),
    "exemplars": _Drop(
        "exemplars",
        "Single samples attached to a datapoint. The datapoint itself became rows.",
        '{"exemplars": [{"asDouble": 0.12, "traceId": "…"}]}',
    ),
}
_UNKNOWN_DROP = _Drop("datapoints", "This version of the program does not know the reason.", "")


async def rejects(run: RunClient) -> list[Json]:
    """Return every code in the warehouse, the most frequent first, with its newest reject. Raises ApiError."""
    warehouse = Path(run.status["warehouse"]) if run.status else None
    return [_reject(row, run.home, warehouse) for row in await run.rows(_REJECTS)]


def _reject(row: Json, home: Path, warehouse: Path | None) -> Json:
    example = dict(row["example"])
    code = _NO_TENANT if example["message"].startswith("orgId:") else CODES.get(row["code"], _UNKNOWN)
    example["excerpt"] = _excerpt(example.pop("raw"))
    return {
        **row,
        "meaning": code.meaning,
        "mend": code.fix,
        "command": replay_command(code.options, home, warehouse),
        "example": example,
    }


def drops(live: Json) -> list[Json]:
    """Return what this run dropped by rule, the most frequent reason first."""
    dropped = sorted(live["dropped"].items(), key=lambda one: (-one[1], one[0]))
    return [
        {"reason": reason, "count": count, **DROPS.get(reason, _UNKNOWN_DROP)._asdict()} for reason, count in dropped
    ]


def _excerpt(raw: str) -> str:
    """Return the start of a message: as text, or its bytes in hexadecimal where it is none."""
    start = base64.b64decode(raw)
    try:
        # A character may be cut at the end.
        text = start.decode() if len(raw) < _RAW else start[: -(len(start) % 4 or 4)].decode(errors="ignore")
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character.isspace() for character in text):
        return text[:_EXCERPT]
    return start[:256].hex(" ")

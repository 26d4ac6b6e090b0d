"""Texts for reject codes and drop reasons: the meaning, an example, and the remedy."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

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


class _Texts(msgspec.Struct):
    codes: dict[str, _Code]
    drops: dict[str, Drop]


class _Code(msgspec.Struct):
    meaning: str
    fix: str
    options: str


class Drop(msgspec.Struct):
    """The unit counted under a drop reason, the meaning of the reason, and an example."""

    counted: str
    meaning: str
    example: str


_TEXTS = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=_Texts)
CODES, DROPS = _TEXTS.codes, _TEXTS.drops


async def rejects(run: RunClient) -> list[Json]:
    """Return every code in the warehouse, the most frequent first, with its newest reject. Raises ApiError."""
    warehouse = Path(run.status["warehouse"]) if run.status else None
    return [_reject(row, run.home, warehouse) for row in await run.rows(_REJECTS)]


def _reject(row: Json, home: Path, warehouse: Path | None) -> Json:
    example = dict(row["example"])
    kind = "no tenant" if example["message"].startswith("orgId:") else row["code"]
    code = CODES.get(kind, CODES["unknown"])
    example["excerpt"] = _excerpt(example.pop("raw"))
    return {
        **row,
        "meaning": code.meaning,
        "mend": code.fix.format(program=program()),
        "command": replay_command(code.options, home, warehouse),
        "example": example,
    }


def drops(live: Json) -> list[Json]:
    """Return what this run dropped by rule, the most frequent reason first."""
    dropped = sorted(live["dropped"].items(), key=lambda one: (-one[1], one[0]))
    return [
        {"reason": reason, "count": count, **msgspec.structs.asdict(DROPS.get(reason, DROPS["unknown"]))}
        for reason, count in dropped
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

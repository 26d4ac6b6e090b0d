"""Texts for reject codes and drop reasons: the meaning, an example, and the remedy."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path

import msgspec

from lmdp.page.run_client import Json, RunClient
from lmdp.support.printable import readable
from lmdp.support.program import program
from lmdp.support.reject_share import replay_command

_EXCERPT = 2_000  # characters of a message that are shown
_SHOWN_REJECTS = 50
_RAW = 4_000  # of its base64 that are read; a multiple of four

_EXAMPLE = f"""{{
    'message': substr(ERROR_MESSAGE, 1, {_EXCERPT}), 'topic': SOURCE_TOPIC, 'partition': SOURCE_PARTITION,
    'offset': SOURCE_OFFSET, 'key': SOURCE_KEY, 'raw': substr(RAW_DATA, 1, {_RAW}),
    'bytes': length(RAW_DATA) // 4 * 3 - length(RAW_DATA) + length(rtrim(RAW_DATA, '='))
  }}"""
_REJECTS = f"""
SELECT
  ERROR_CODE AS code, count(*) AS rejects, CAST(sum(DATAPOINTS) AS BIGINT) AS datapoints,
  epoch_ms(min(ARRIVAL_TIMESTAMP)) AS "firstMs", epoch_ms(max(ARRIVAL_TIMESTAMP)) AS "lastMs",
  arg_max({_EXAMPLE}, ARRIVAL_TIMESTAMP) AS example
FROM REJECTS
GROUP BY ERROR_CODE
ORDER BY rejects DESC, code
"""  # noqa: S608 - our own numbers
_NEWEST = f"""
SELECT ERROR_CODE AS code, epoch_ms(ARRIVAL_TIMESTAMP) AS "atMs", {_EXAMPLE} AS example
FROM REJECTS
ORDER BY ARRIVAL_TIMESTAMP DESC, SOURCE_PARTITION, SOURCE_OFFSET DESC
LIMIT {_SHOWN_REJECTS}
"""  # noqa: S608 - as above


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
    """Return every code in the warehouse, the most frequent first, with its newest reject. Raises ApiError.

    Of a run to Snowflake, only the counts of this run are known here; what the rejects themselves have is null.
    """
    if run.status and run.status.get("snowflake"):
        unknown = {"datapoints": None, "firstMs": None, "lastMs": None, "example": None}
        counts: dict[str, int] = run.status["rejectsByReason"]
        return [{"code": code, "rejects": count, **unknown, **remedy(run, code)} for code, count in counts.items()]
    return [
        {**row, **remedy(run, row["code"], row["example"]["message"]), "example": _shown(row["example"])}
        for row in await run.rows(_REJECTS)
    ]


async def newest(run: RunClient) -> list[Json]:
    """Return the newest rejects. Raises ApiError."""
    return [
        {**_shown(row["example"]), "code": row["code"], "atMs": row["atMs"]}
        | remedy(run, row["code"], row["example"]["message"])
        for row in await run.rows(_NEWEST)
    ]


def remedy(run: RunClient, code: str, message: str = "") -> Json:
    """Return the meaning of a reject, what to do, and the command that replays it then."""
    status = run.status or {}
    warehouse = Path(status["warehouse"]) if status else None
    snowflake = status.get("snowflake")
    source = f"{shlex.quote(snowflake['rejectsIn'])} --to snowflake" if snowflake else "warehouse"
    found = CODES.get("no tenant" if message.startswith("orgId:") else code, CODES["unknown"])
    return {
        "meaning": found.meaning,
        "fix": found.fix.format(program=program()),
        "command": replay_command(found.options, run.home, warehouse, source),
    }


def _shown(example: Json) -> Json:
    """Return a reject's message and place, with the start of it as text."""
    raw = example["raw"]
    excerpt, _ = readable(base64.b64decode(raw), _EXCERPT, is_whole=len(raw) < _RAW)
    return {name: value for name, value in example.items() if name != "raw"} | {"excerpt": excerpt}


def drops(live: Json) -> list[Json]:
    """Return what this run dropped by rule, the most frequent reason first."""
    dropped = sorted(live["dropped"].items(), key=lambda one: (-one[1], one[0]))
    return [
        {"reason": reason, "count": count, **msgspec.structs.asdict(DROPS.get(reason, DROPS["unknown"]))}
        for reason, count in dropped
    ]

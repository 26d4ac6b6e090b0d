"""One marked row through Firehose: did it land, or which error did it leave, and which style of keys lands."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.core.column_names import KEY_STYLES, KeyStyle
from lmdp.core.encode import encode
from lmdp.core.specification import Field, Spec
from lmdp.core.timestamps import moment
from lmdp.errors import LmdpError
from lmdp.snowflake.secrets import aws_client
from lmdp.snowflake.verify import CANARY, Scope

WAIT_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 5.0

Failed = Callable[[datetime], Iterable[dict[str, Any]]]
"""Records that Firehose could not deliver since a moment."""


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of a canary in one style of keys; `error` is what Firehose left, empty where it left nothing."""

    style: KeyStyle
    landed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Flight:
    """How a canary travels: `put` takes a row's bytes, `failed` reads the error bucket, the clock is UTC."""

    put: Callable[[bytes], None]
    failed: Failed
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    wait: float = WAIT_SECONDS


def fly(scope: Scope, flight: Flight, org_id: str) -> list[Landing]:
    """Send one in the style that is set; when it does not land, one in each other style, to know which does."""
    landings = [_send(scope, flight, org_id, scope.settings.identifiers)]
    if not landings[0].landed:
        landings += [_send(scope, flight, org_id, style) for style in KEY_STYLES if style != scope.settings.identifiers]
    return landings


def firehose(stream: str, client: Any = None) -> Callable[[bytes], None]:
    """Put one record into a stream. Raises LmdpError."""

    def put(row: bytes) -> None:
        try:
            firehose = client or aws_client("firehose")
            firehose.put_record(DeliveryStreamName=stream, Record={"Data": row})
        except (BotoCoreError, ClientError) as error:
            raise LmdpError(f"Firehose did not take the canary: {error}. No other row is concerned.") from error

    return put


def row(spec: Spec, org_id: str, mark: str, now: datetime) -> tuple[Any, ...]:
    """A row event of the datasource `lmdp.canary`, told by its instance."""
    given = {"orgId": org_id, "deviceId": CANARY, "datasource": CANARY, "instance": mark}
    ms = int(now.timestamp() * 1000)
    computed: dict[str, Any] = {
        "metric name": CANARY, "metric type": "gauge", "point value": 1,
        "time text": moment(ms * 1_000_000).text, "time ms": ms,
        "datapoint attributes": "{}", "resource attributes": "{}", "scope attributes": "{}",
    }  # fmt: skip
    return tuple(_value(field, given, computed) for field in spec.fields)


def _value(field: Field, given: dict[str, str], computed: dict[str, Any]) -> Any:
    if field.computed:
        return computed.get(field.computed)
    return given.get(field.name, CANARY if field.required else None)


def _send(scope: Scope, flight: Flight, org_id: str, style: KeyStyle) -> Landing:
    begun, mark = flight.now(), str(uuid.uuid4())
    (data,) = encode([row(scope.spec, org_id, mark, begun)], scope.spec, identifiers=style)
    flight.put(data)
    query = (
        f"SELECT COUNT(*) AS FOUND FROM {scope.settings.place}.ROW_EVENTS"  # noqa: S608 - checked names
        f" WHERE {scope.name('datasource')} = '{CANARY}' AND {scope.name('instance')} = '{mark}'"
    )
    while flight.now() - begun < timedelta(seconds=flight.wait):
        if int(scope.ask(query)[0]["found"]):
            return Landing(style, landed=True)
        error = _error(flight.failed(begun - timedelta(minutes=1)), mark)
        if error:
            return Landing(style, landed=False, error=error)
        flight.sleep(min(_POLL_SECONDS, flight.wait))
    return Landing(style, landed=False)


def _error(records: Iterable[dict[str, Any]], mark: str) -> str:
    for record in records:
        if mark.encode() in base64.b64decode(str(record.get("rawData", ""))):
            return f"{record.get('errorCode')}: {record.get('errorMessage')}"
    return ""


def told(landings: list[Landing], settings_style: KeyStyle, wait: float = WAIT_SECONDS) -> str:
    """What a person is told."""
    first = landings[0]
    if first.landed:
        return f"a canary landed, with keys in the style {first.style}"
    right = [landing.style for landing in landings if landing.landed]
    why = first.error or f"nothing came within {wait:.0f} s, and no failed record; look at the stream's log group"
    if right:
        mend = f"{right[0]} lands: set SNOWFLAKE_IDENTIFIERS={right[0]}"
        return f"no canary landed in the style {settings_style} ({why}). {mend}"
    return f"no canary landed in any style of keys ({why})"


def as_json(landings: list[Landing]) -> str:
    """The landings as JSON."""
    return json.dumps([{"style": one.style, "landed": one.landed, "error": one.error} for one in landings])


def utc_now() -> datetime:
    """The clock of real flights."""
    return datetime.now(UTC)

"""The canary: one marked row on the way of all rows, to see whether it lands, with which error not, in which style."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.core.column_names import KEY_STYLES, KeyStyle
from lmdp.core.encode import encode
from lmdp.core.specification import Field, Spec
from lmdp.core.timestamps import moment
from lmdp.errors import LmdpError, SettingsError
from lmdp.snowflake.reconcile import failed_records
from lmdp.snowflake.secrets import aws_client
from lmdp.snowflake.streaming.elastic import post
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.settings import WriterSettings
from lmdp.snowflake.verify import CANARY, Installation
from lmdp.sql.settings import SnowflakeSettings
from lmdp.support.settings_reader import is_direct

WAIT_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 5.0
_PUT_SECONDS: Final = 60.0

Failed = Callable[[datetime], Iterable[dict[str, Any]]]
"""Records that Firehose could not deliver since a moment."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """The result of a canary in one style of keys; `error` is Firehose's of its failed record, empty without one."""

    style: KeyStyle
    landed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    """The way of a canary: `put` sends a row's bytes, `failed` reads the error bucket, the clock is UTC."""

    put: Callable[[bytes], None]
    failed: Failed
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    wait: float = WAIT_SECONDS


def canary_of(
    env: Mapping[str, str], settings: SnowflakeSettings, stream: str | None, bucket: str | None, wait: float
) -> Canary:
    """Return the canary of the writer that LMDP_WRITER names. Raises SettingsError where it needs a stream."""
    if is_direct(env):
        return Canary(direct(env, settings), lambda _since: (), _utc_now, time.sleep, wait)
    if not stream:
        raise SettingsError("a canary needs the Firehose stream: --stream NAME, or LMDP_DELIVERY_STREAM")
    failed: Failed = partial(failed_records, bucket, known=set()) if bucket else lambda _since: ()
    return Canary(firehose(stream), failed, _utc_now, time.sleep, wait)


def send_canary(scope: Installation, canary: Canary, org_id: str) -> list[Arrival]:
    """Send one in the style that is set; when it does not land, one in each other style, to know which does."""
    arrivals = [_send(scope, canary, org_id, scope.settings.identifiers)]
    if not arrivals[0].landed:
        arrivals += [_send(scope, canary, org_id, style) for style in KEY_STYLES if style != scope.settings.identifiers]
    return arrivals


def firehose(stream: str) -> Callable[[bytes], None]:
    """Put one record into a stream. Raises LmdpError."""

    def put(row: bytes) -> None:
        try:
            aws_client("firehose").put_record(DeliveryStreamName=stream, Record={"Data": row})
        except (BotoCoreError, ClientError) as error:
            raise LmdpError(f"Firehose did not accept the canary: {error}. No other row is affected.") from error

    return put


def direct(env: Mapping[str, str], settings: SnowflakeSettings) -> Callable[[bytes], None]:
    """Put one record through the direct writer's pipe. Raises LmdpError."""
    writer = WriterSettings.from_env(env, settings)
    session = Session(writer.account)

    def put(row: bytes) -> None:
        post(session, writer.place, [row], _PUT_SECONDS)

    return put


def row(spec: Spec, org_id: str, mark: str, now: datetime, datasource: str = CANARY) -> tuple[Any, ...]:
    """Return a row event of a datasource of our own, recognised by its instance."""
    given = {"orgId": org_id, "deviceId": datasource, "datasource": datasource, "instance": mark}
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


def _send(scope: Installation, canary: Canary, org_id: str, style: KeyStyle) -> Arrival:
    begun, mark = canary.now(), str(uuid.uuid4())
    (data,) = encode([row(scope.spec, org_id, mark, begun)], scope.spec, identifiers=style)
    canary.put(data)
    query = (
        f"SELECT COUNT(*) AS FOUND FROM {scope.settings.place}.ROW_EVENTS"  # noqa: S608 - checked names
        f" WHERE {scope.name('datasource')} = '{CANARY}' AND {scope.name('instance')} = '{mark}'"
    )

    def in_time(_record: object = None) -> bool:
        return canary.now() - begun < timedelta(seconds=canary.wait)

    while in_time():
        if int(scope.ask(query)[0]["found"]):
            return Arrival(style, landed=True)
        error = _error(takewhile(in_time, canary.failed(begun - timedelta(minutes=1))), mark)
        if error:
            return Arrival(style, landed=False, error=error)
        canary.sleep(min(_POLL_SECONDS, canary.wait))
    return Arrival(style, landed=False)


def _error(records: Iterable[dict[str, Any]], mark: str) -> str:
    for record in records:
        if mark.encode() in base64.b64decode(str(record.get("rawData", ""))):
            return f"{record.get('errorCode')}: {record.get('errorMessage')}"
    return ""


def summary(arrivals: list[Arrival], settings_style: KeyStyle, wait: float = WAIT_SECONDS) -> str:
    """Return the result in a sentence."""
    first = arrivals[0]
    if first.landed:
        return f"a canary landed, with keys in the style {first.style}"
    right = [arrival.style for arrival in arrivals if arrival.landed]
    why = first.error or f"nothing came within {wait:.0f} s, and no failed record; look at the stream's log group"
    if right:
        fix = f"{right[0]} lands: set SNOWFLAKE_IDENTIFIERS={right[0]}"
        return f"no canary landed in the style {settings_style} ({why}). {fix}"
    return f"no canary landed in any style of keys ({why})"


def _utc_now() -> datetime:
    return datetime.now(UTC)

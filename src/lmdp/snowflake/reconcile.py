"""Reconciliation by the hour: rows that the function delivered = rows in Snowflake + records that failed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.errors import LmdpError, SettingsError, UnreadableObjectError
from lmdp.snowflake.secrets import aws_client
from lmdp.snowflake.verify import CANARY, Installation
from lmdp.support.failed_records import REPLAYED, FailedRecord, Unparseable, read, unpacked

# What Firehose writes below the error prefix: https://docs.aws.amazon.com/firehose/latest/dev/retry.html
FAILED: Final = "snowflake-failed/"
# A metric's hours are kept for 455 days: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
_PERIOD: Final = 3600
_DATAPOINTS: Final = 1440


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour's sums. `missing` is 0 when everything is where it should be.

    Rows count by when they were measured, deliveries by when they were made: what was late, or just before the hour's
    end, is missing in one hour and too much in another. The sum over a stretch with quiet ends is what has to be 0.
    """

    hour: datetime
    delivered: int
    rows: int
    failed: int

    @property
    def missing(self) -> int:
        """Delivered, and in neither place; below 0: more than was delivered."""
        return self.delivered - self.rows - self.failed


def reconcile(
    begin: datetime, end: datetime, delivered: Counter[datetime], rows: Counter[datetime], failed: Counter[datetime]
) -> list[Hour]:
    """Every hour from `begin` up to, not including, `end`."""
    hours = int((end - begin) / timedelta(hours=1))
    return [
        Hour(hour, delivered[hour], rows[hour], failed[hour])
        for hour in (begin + timedelta(hours=n) for n in range(hours))
    ]


def whole_hour(text: str) -> datetime:
    """A moment of the command line, at a whole hour in UTC. Raises SettingsError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--reconcile: {text!r} is not a time; write it as 2026-11-23T10:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment != moment.replace(minute=0, second=0, microsecond=0):
        raise SettingsError(f"--reconcile: {text!r} is not at a whole hour (UTC)")
    return moment


def rows_by_hour(scope: Installation, begin: datetime, end: datetime) -> Counter[datetime]:
    """Rows in the landing table, repeats too, canaries not."""
    ts = scope.name("ts")
    answer = scope.ask(
        f"SELECT DATE_TRUNC('hour', {ts}) AS HOUR_TS, COUNT(*) AS ROW_COUNT"  # noqa: S608 - checked names and times
        f" FROM {scope.settings.place}.ROW_EVENTS WHERE {scope.name('datasource')} <> '{CANARY}'"
        f" AND {ts} >= '{begin:%Y-%m-%d %H:%M:%S}'::TIMESTAMP_NTZ AND {ts} < '{end:%Y-%m-%d %H:%M:%S}'::TIMESTAMP_NTZ"
        " GROUP BY 1"
    )
    return Counter({row["hour_ts"].replace(tzinfo=UTC): int(row["row_count"]) for row in answer})


def delivered_by_hour(service: str, begin: datetime, end: datetime) -> Counter[datetime]:
    """The function's metric `Delivered`, of its service (POWERTOOLS_SERVICE_NAME in AWS). Raises LmdpError."""
    if end - begin > timedelta(hours=_DATAPOINTS):
        raise SettingsError(f"--reconcile takes {_DATAPOINTS // 24} days at most")
    with _aws_errors("CloudWatch"):
        answer = aws_client("cloudwatch").get_metric_statistics(
            Namespace="lmdp",
            MetricName="Delivered",
            Dimensions=[{"Name": "service", "Value": service}],
            StartTime=begin,
            EndTime=end,
            Period=_PERIOD,
            Statistics=["Sum"],
        )
    return Counter({point["Timestamp"].astimezone(UTC): int(point["Sum"]) for point in answer["Datapoints"]})


def failed_by_hour(bucket: str, begin: datetime, end: datetime, client: Any = None) -> Counter[datetime]:
    """Records that Firehose could not deliver, by when they arrived there. Raises LmdpError."""
    found: Counter[datetime] = Counter()
    for record in _failed(bucket, begin, client):
        arrived = datetime.fromtimestamp(int(record.envelope["arrivalTimestamp"]) / 1000, UTC)
        if begin <= arrived < end and CANARY.encode() not in record.raw:
            found[arrived.replace(minute=0, second=0, microsecond=0)] += 1
    return found


def failed_records(bucket: str, since: datetime, known: set[str] | None = None) -> Iterator[dict[str, Any]]:
    """Every record that failed since then, as Firehose wrote it. Raises LmdpError.

    Objects of the names `known` are left out, and those that were read are added: Firehose never changes one.
    """
    return (record.envelope for record in _failed(bucket, since, known=known))


def _failed(bucket: str, since: datetime, client: Any = None, known: set[str] | None = None) -> Iterator[FailedRecord]:
    seen = set() if known is None else known
    with _aws_errors(f"the bucket {bucket}"):
        s3 = client or aws_client("s3")
        for entry in _objects(s3, bucket, FAILED, _days(since, datetime.now(UTC))):
            if entry["LastModified"] >= since and entry["Key"] not in seen:
                content = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                yield from (piece for piece in _pieces(content, entry["Key"]) if isinstance(piece, FailedRecord))
                seen.add(entry["Key"])


def _objects(s3: Any, bucket: str, prefix: str, days: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects below a prefix: those of some days, where it has days, and none that was replayed."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
        yield from page.get("Contents", ())
        for below in (one["Prefix"] for one in page.get("CommonPrefixes", ())):
            _, year, rest = below.partition("/year=")
            part = year + rest
            if not below.endswith(f"/{REPLAYED}/") and any(day[: len(part)] == part[: len(day)] for day in days):
                yield from _objects(s3, bucket, below, days)


def _days(since: datetime, until: datetime) -> list[str]:
    """Return the prefixes of the days in which objects were written.

    Their day is that of their oldest record, which Firehose may have kept for a day:
    https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html
    """
    first = since.astimezone(UTC) - timedelta(days=1)
    count = (until.date() - first.date()).days + 1
    return [f"/year={first + timedelta(days=day):%Y/month=%m/day=%d/}" for day in range(count)]


def _pieces(content: bytes, key: str) -> list[FailedRecord | Unparseable]:
    try:
        return list(read(unpacked(content)))
    except UnreadableObjectError as error:
        raise LmdpError(f"{key} could not be read: {error}. Nothing was changed.") from error


@contextlib.contextmanager
def _aws_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise LmdpError(f"{what} could not be read: {error}. Nothing was changed.") from error

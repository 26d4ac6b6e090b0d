"""Quotas of the AWS services and Snowflake, and how much of them a planned load uses."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from lmdp.cost.basis import shipped_quantities

MIB: Final = 2**20
_QUANTITIES: Final = shipped_quantities()
ROW_BYTES: Final = int(_QUANTITIES["row_bytes"].value)  # a row as Firehose gets it
RECORD_OVERHEAD_BYTES: Final = _QUANTITIES["record_overhead_bytes"].value  # around a value that a pipe hands over

# Firehose, Direct PUT, by default: records/s, requests/s, MiB/s a stream; and a call's most records and bytes.
# https://docs.aws.amazon.com/firehose/latest/dev/limits.html
_LARGE: Final = (500_000, 2_000, 5)
_SMALL: Final = (100_000, 1_000, 1)
_LARGE_REGIONS: Final = ("us-east-1", "us-west-2", "eu-west-1")
_CALL_RECORDS: Final = 500
_CALL_BYTES: Final = 4 * MIB
# Regions where Firehose delivers to Snowflake: https://docs.aws.amazon.com/firehose/latest/dev/create-destination.html
SNOWFLAKE_REGIONS: Final = (
    "us-east-1", "us-west-2", "eu-west-1", "us-east-2", "ap-northeast-1", "eu-central-1", "ap-southeast-1",
    "ap-northeast-2", "ap-southeast-2", "ap-south-1", "eu-west-2", "sa-east-1", "ca-central-1", "eu-west-3",
    "ap-northeast-3", "eu-north-1", "ap-southeast-3",
)  # fmt: skip

# A pipe hands over 6 MB at most, values in base64; what it does with more is not documented.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
PIPE_PAYLOAD_BYTES: Final = 5_500_000

# Replicas of a broker, leaders and followers: https://docs.aws.amazon.com/msk/latest/developerguide/bestpractices.html
BROKER_REPLICAS: Final = {"small": 300, "large": 1000, "xlarge": 1000, "2xlarge": 2000}
LARGER_BROKER_REPLICAS: Final = 4000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Planned traffic: `datapoints` a device and poll, `interval` in seconds, sizes in bytes (a message, a row)."""

    devices: int
    datapoints: int
    message_bytes: int
    message_datapoints: int = 6
    interval: int = 60
    row_bytes: int = ROW_BYTES

    @property
    def rows_per_second(self) -> float:
        """Rows a second; a datapoint of LogicMonitor's makes one."""
        return self.devices * self.datapoints / self.interval

    @property
    def messages_per_second(self) -> float:
        """Kafka messages a second."""
        return self.rows_per_second / self.message_datapoints

    @property
    def mib_per_second(self) -> float:
        """MiB of rows a second, as Firehose counts them."""
        return self.rows_per_second * self.row_bytes / MIB


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """The planned traffic's share of one quota: `planned` of `quota`, in `unit`."""

    name: str
    planned: float
    quota: float
    unit: str

    @property
    def share(self) -> float:
        """1.0 is all of it."""
        return self.planned / self.quota


def payload_bytes(batch: int, message_bytes: int) -> float:
    """Return the size of the JSON list that a pipe hands over."""
    return batch * (message_bytes * 4 / 3 + RECORD_OVERHEAD_BYTES)


def largest_message_bytes(batch: int) -> int:
    """Return the largest message of which a pipe can hand over `batch`; below 0 where there is none."""
    return int((PIPE_PAYLOAD_BYTES / batch - RECORD_OVERHEAD_BYTES) * 3 / 4)


def quota_use(traffic: Traffic, batch: int, region: str) -> tuple[QuotaUse, ...]:
    """Return the planned use of Firehose's default quotas in the Region, the fullest first."""
    records, requests, mib = _LARGE if region in _LARGE_REGIONS else _SMALL
    rows = batch * traffic.message_datapoints
    calls = max(ceil(rows / _CALL_RECORDS), ceil(rows * traffic.row_bytes / _CALL_BYTES))
    use = (
        QuotaUse("BytesPerSecondLimit", traffic.mib_per_second, mib, "MiB/s"),
        QuotaUse("RecordsPerSecondLimit", traffic.rows_per_second, records, "records/s"),
        QuotaUse("PutRequestsPerSecondLimit", traffic.messages_per_second / batch * calls, requests, "requests/s"),
    )
    return tuple(sorted(use, key=lambda one: one.share, reverse=True))


def advice(traffic: Traffic, batch: int, region: str) -> str:
    """Return one sentence: the planned load, and the quota to raise first."""
    fullest = quota_use(traffic, batch, region)[0]
    planned = f"Planned: {traffic.rows_per_second:,.0f} rows/s, {traffic.mib_per_second:.2f} MiB/s. "
    numbers = f"{fullest.name} ({fullest.planned:,.2f} of {fullest.quota:,} {fullest.unit} in {region})"
    if fullest.share > 1:
        return f"{planned}Before deploying, raise Firehose's quota {numbers}; the three quotas scale together."
    return f"{planned}Firehose's quotas suffice; the fullest is {numbers}."

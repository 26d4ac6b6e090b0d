"""From 1,000 to 100,000 devices on AWS, by arithmetic: `python -m benchmarks.scale --markdown docs/scale.md`.

What was measured, what was assumed and what AWS allows are named constants; all else follows from them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from infra.load import Load, QuotaUse, quota_use

from benchmarks.table import check, rewrite
from lmdp.cost import measured

# Measured by `make bench` (docs/performance.md): the line and the column are named.
FUNCTION_CPU_US_A_ROW: Final = measured.FUNCTION_CPU_US_A_ROW  # the same as in `lmdp cost`
CONSUMER_ROWS_A_SECOND: Final = 75_000  # "Kafka to DuckDB": a second, two cores with the broker on them

# Assumptions, because nothing here can measure them.
FIREHOSE_CALL_SECONDS: Final = measured.FIREHOSE_CALL_SECONDS
LAMBDA_CORE: Final = measured.LAMBDA_CORE
HEADROOM: Final = 2.0  # capacity over load: an hour's outage is caught up within the next hour

# A device: 120 instances of 6 datapoints, polled every minute (LogicMonitor's own sizing defaults).
DEVICE_DATAPOINTS: Final = 720
MESSAGE_BYTES: Final = 3_400
STEPS: Final = (1_000, 3_000, 10_000, 30_000, 100_000)
BATCH: Final = 60  # the default of LMDP_BATCH_SIZE
FUNCTION_MIB: Final = 1_024  # LMDP_FUNCTION_MEMORY_MIB
DAY: Final = 86_400

MIB_A_VCPU: Final = measured.MIB_A_VCPU
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_CONCURRENCY: Final = 1_000
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
PIPE_READERS: Final = 1_000
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
PIPE_EXECUTIONS: Final = 3_000
# https://docs.aws.amazon.com/firehose/latest/dev/limits.html; whether it applies to Snowflake is not known
BILLED_BYTES_A_RECORD: Final = 5_000
# https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-overview
TABLE_GB_A_SECOND: Final = 10
CHANNEL_MB_A_SECOND: Final = 12
CREDITS_A_GB: Final = 0.0037


@dataclass(frozen=True, slots=True)
class Step:
    """The load of so many devices on each part. Rates are per second; `partitions` includes the headroom."""

    devices: int
    load: Load
    invocations: float
    seconds: float  # of one invocation
    concurrency: float
    partitions: int
    quotas: tuple[QuotaUse, ...]

    @property
    def firehose_factor(self) -> int:
        """How many times Firehose's default quotas to ask for; they rise together."""
        return ceil(HEADROOM * self.quotas[0].share) if self.quotas[0].share * HEADROOM > 1 else 1

    @property
    def kafka_mb(self) -> float:
        """MB a second into Kafka, as published: before compression, and before replication."""
        return self.load.messages_per_second * MESSAGE_BYTES / 1e6

    @property
    def billed_mb(self) -> float:
        """MB a second as Firehose bills Direct PUT: every record rounded up."""
        return self.load.rows_per_second * BILLED_BYTES_A_RECORD / 1e6

    @property
    def rows_mb(self) -> float:
        """MB of rows a second."""
        return self.load.rows_per_second * self.load.row_bytes / 1e6


def step(devices: int, region: str = "us-east-1") -> Step:
    """The arithmetic for so many devices."""
    load = Load(devices, DEVICE_DATAPOINTS, MESSAGE_BYTES)
    rows = BATCH * load.message_datapoints
    cpu = rows * FUNCTION_CPU_US_A_ROW / 1e6
    seconds = cpu / (FUNCTION_MIB / MIB_A_VCPU * LAMBDA_CORE) + FIREHOSE_CALL_SECONDS
    invocations = load.messages_per_second / BATCH
    return Step(
        devices=devices,
        load=load,
        invocations=invocations,
        seconds=seconds,
        concurrency=invocations * seconds,
        partitions=max(3, ceil(HEADROOM * invocations * seconds)),
        quotas=quota_use(load, BATCH, region),
    )


def limits(at: Step) -> tuple[QuotaUse, ...]:
    """Every default limit on the way, the fullest first; with headroom where a backlog has to be caught up."""
    pipe = QuotaUse("a pipe's readers", at.partitions, PIPE_READERS, "partitions")
    account = QuotaUse("pipe executions", HEADROOM * at.concurrency, PIPE_EXECUTIONS, "at once")
    function = QuotaUse("Lambda concurrency", HEADROOM * at.concurrency, LAMBDA_CONCURRENCY, "at once")
    table = QuotaUse("a Snowflake table", at.rows_mb / 1000, TABLE_GB_A_SECOND, "GB/s")
    return tuple(sorted((*at.quotas, pipe, account, function, table), key=lambda one: one.share, reverse=True))


def markdown() -> str:
    """The tables of docs/scale.md."""
    steps = [step(devices) for devices in STEPS]
    rows: list[tuple[str, list[str]]] = [
        ("rows/s", [f"{at.load.rows_per_second:,.0f}" for at in steps]),
        ("messages/s", [f"{at.load.messages_per_second:,.0f}" for at in steps]),
        ("into Kafka, MB/s", [f"{at.kafka_mb:,.1f}" for at in steps]),
        (f"invocations/s of {BATCH} messages", [f"{at.invocations:,.0f}" for at in steps]),
        ("one invocation, ms", [f"{1000 * at.seconds:.0f}" for at in steps]),
        ("concurrent functions", [f"{at.concurrency:,.1f}" for at in steps]),
        ("partitions, with headroom", [f"{at.partitions:,}" for at in steps]),
        ("rows to Firehose, MiB/s", [f"{at.load.mib_per_second:,.1f}" for at in steps]),
        ("… as it bills them, if 5 KB rounding applies, MB/s", [f"{at.billed_mb:,.0f}" for at in steps]),
        ("Firehose quotas to request", [f"{at.firehose_factor}x the default" for at in steps]),
        ("Snowflake channels at least", [f"{ceil(at.rows_mb / CHANNEL_MB_A_SECOND):,}" for at in steps]),
        ("Snowflake ingest, credits/day", [f"{at.rows_mb * DAY / 1000 * CREDITS_A_GB:,.1f}" for at in steps]),
        ("rows a day, billions", [f"{at.load.rows_per_second * DAY / 1e9:,.1f}" for at in steps]),
        ("one machine could take it", [_machines(at) for at in steps]),
    ]
    head = ["devices", *(f"{devices:,}" for devices in STEPS)]
    lines = [_row(head), _row(["---"] * len(head)), *(_row([name, *cells]) for name, cells in rows)]
    fullest = [_row(["devices", "fullest", "then", "then"]), _row(["---"] * 4)]
    fullest += [_row([f"{at.devices:,}", *map(_used, limits(at)[:3])]) for at in steps]
    return "\n".join([*lines, "", "Default limits (us-east-1), the fullest first:", "", *fullest])


def _machines(at: Step) -> str:
    share = at.load.rows_per_second / CONSUMER_ROWS_A_SECOND
    return f"at {share:.0%}" if share < 1 else f"no, {ceil(share)} of them"


def _used(one: QuotaUse) -> str:
    return f"{one.name}: {one.planned:,.1f} of {one.quota:,} {one.unit} ({one.share:,.0%})"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables, or put them into a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write between the markers of FILE instead")
    options = parser.parse_args()
    if options.markdown is None:
        sys.stdout.write(markdown() + "\n")
    else:
        check(options.markdown)
        rewrite(options.markdown, markdown())


if __name__ == "__main__":
    main()

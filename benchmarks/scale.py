"""From 1,000 to 100,000 devices on AWS, by arithmetic: `python -m benchmarks.scale --markdown docs/scale.md`.

The load is the one that `lmdp cost` calculates (src/lmdp/cost/bill.toml), the limits are those of its capacity model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from benchmarks.table import check, rewrite
from lmdp.cost.basis import shipped_prices, shipped_quantities
from lmdp.cost.bill import Basis, bill
from lmdp.cost.capacity import MIB, QuotaUse, Traffic, quota_use
from lmdp.cost.refreshes import Refresh, refreshes
from lmdp.cost.traffic import Planned

# Measured by `make bench` (docs/performance.md), "Kafka to DuckDB": a second, two cores with the broker on them.
CONSUMER_ROWS_A_SECOND: Final = 75_000
# Of a pipe: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
PIPE_READERS: Final = 1_000
# Executions of all pipes of an account: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
PIPE_EXECUTIONS: Final = 3_000
# Of an account: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_CONCURRENCY: Final = 1_000
# https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-limitations
TABLE_GB_A_SECOND: Final = 20
CHANNEL_MB_A_SECOND: Final = 20
HEADROOM: Final = 2.0  # assumed; capacity over load: an hour's outage is caught up within the next hour

# A device: 120 instances of 6 datapoints, polled every minute (LogicMonitor's own sizing defaults).
INSTANCES: Final = 120
DATAPOINTS: Final = 6
INTERVAL: Final = 60
STEPS: Final = (1_000, 3_000, 10_000, 30_000, 100_000)
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Step:
    """The load of so many devices on each part. Rates are per second; `partitions` includes the headroom."""

    devices: int
    numbers: Mapping[str, float]  # of the bill: prices, quantities and steps
    quotas: tuple[QuotaUse, ...]

    @property
    def concurrency(self) -> float:
        """Functions at work at once."""
        return self.numbers["invocations_second"] * self.numbers["invocation_seconds"]

    @property
    def partitions(self) -> int:
        """Partitions that keep as many functions at work, with the headroom."""
        return max(3, ceil(HEADROOM * self.concurrency))

    @property
    def firehose_factor(self) -> int:
        """Return how many times Firehose's default quotas to ask for; they rise together."""
        return ceil(HEADROOM * self.quotas[0].share) if self.quotas[0].share * HEADROOM > 1 else 1

    @property
    def kafka_mb(self) -> float:
        """MB a second into Kafka, as published: before compression, and before replication."""
        return self.numbers["messages_second"] * self.numbers["message_bytes"] / 1e6

    @property
    def billed_mb(self) -> float:
        """MB a second as Firehose bills Direct PUT: every record rounded up."""
        return self.rows_mb * self.numbers["rounded_gb"] / self.numbers["rows_gb"]

    @property
    def rows_mb(self) -> float:
        """MB of rows a second."""
        return self.numbers["rows_second"] * self.numbers["row_bytes"] / 1e6

    @property
    def credits_a_day(self) -> float:
        """Credits of a day's ingest, at most: the keys within maps count."""
        return self.rows_mb * self.numbers["values_share"] * DAY / 1000 * self.numbers["snowpipe_gb"]


def step(devices: int, region: str = "us-east-1") -> Step:
    """Return the arithmetic for so many devices."""
    planned = Planned(devices, INSTANCES, DATAPOINTS, INTERVAL)
    numbers = bill(Basis(planned, shipped_prices(), shipped_quantities())).numbers
    traffic = Traffic(devices, INSTANCES * DATAPOINTS, int(numbers["message_bytes"]), DATAPOINTS, INTERVAL)
    return Step(devices, numbers, quota_use(traffic, int(numbers["batch"]), region))


def limits(at: Step) -> tuple[QuotaUse, ...]:
    """Return every default limit on the way, the fullest first; with headroom where a backlog has to be caught up."""
    pipe = QuotaUse("a pipe's readers", at.partitions, PIPE_READERS, "partitions")
    account = QuotaUse("pipe executions", HEADROOM * at.concurrency, PIPE_EXECUTIONS, "at once")
    function = QuotaUse("Lambda concurrency", HEADROOM * at.concurrency, LAMBDA_CONCURRENCY, "at once")
    table = QuotaUse("a Snowflake table", at.rows_mb / 1000, TABLE_GB_A_SECOND, "GB/s")
    return tuple(sorted((*at.quotas, pipe, account, function, table), key=lambda one: one.share, reverse=True))


def markdown() -> str:
    """Return the tables of docs/scale.md."""
    steps = [step(devices) for devices in STEPS]
    numbers = [at.numbers for at in steps]
    rows: list[tuple[str, list[str]]] = [
        ("rows/s", [f"{at['rows_second']:,.0f}" for at in numbers]),
        ("messages/s", [f"{at['messages_second']:,.0f}" for at in numbers]),
        ("into Kafka, MB/s", [f"{at.kafka_mb:,.1f}" for at in steps]),
        (f"invocations/s of {numbers[0]['batch']:g} messages", [f"{at['invocations_second']:,.0f}" for at in numbers]),
        ("one invocation, ms", [f"{1000 * at['invocation_seconds']:.0f}" for at in numbers]),
        ("concurrent functions", [f"{at.concurrency:,.1f}" for at in steps]),
        ("partitions, with headroom", [f"{at.partitions:,}" for at in steps]),
        ("rows to Firehose, MiB/s", [f"{at.rows_mb * 1e6 / MIB:,.1f}" for at in steps]),
        ("… as it bills them, if 5 KB rounding applies, MB/s", [f"{at.billed_mb:,.0f}" for at in steps]),
        ("Firehose quotas to request", [f"{at.firehose_factor}x the default" for at in steps]),
        ("Snowflake channels at least", [f"{ceil(at.rows_mb / CHANNEL_MB_A_SECOND):,}" for at in steps]),
        ("Snowflake ingest, credits/day", [f"{at.credits_a_day:,.1f}" for at in steps]),
        ("rows a day, billions", [f"{at['rows_second'] * DAY / 1e9:,.1f}" for at in numbers]),
        ("one machine could take it", [_machines(at) for at in steps]),
    ]
    head = ["devices", *(f"{devices:,}" for devices in STEPS)]
    lines = [_row(head), _row(["---"] * len(head)), *(_row([name, *cells]) for name, cells in rows)]
    fullest = [_row(["devices", "fullest", "then", "then"]), _row(["---"] * 4)]
    fullest += [_row([f"{at.devices:,}", *map(_used, limits(at)[:3])]) for at in steps]
    about = f"Rows of an hourly refresh at {STEPS[0]:,} devices, in millions, and those of the version before:"
    return "\n".join(
        [
            *lines,
            "",
            "Default limits (us-east-1), the fullest first:",
            "",
            *fullest,
            "",
            about,
            "",
            *_refreshes(numbers[0]),
        ]
    )


def _refreshes(numbers: Mapping[str, float]) -> list[str]:
    """Return the table of dynamic tables: what each refresh reads and changes, now and before."""
    now, before = ({one.table: one for one in refreshes(version)} for version in ("now", "before"))
    rows = [["dynamic table", "kind", "window", "reads", "changes", "read before", "changed before"], ["---"] * 7]
    for table in now | before:
        one = now.get(table)
        cells = [*_cells(one, numbers), *_cells(before.get(table), numbers)]
        rows.append([table, one.kind if one else "", one.window if one else "", *cells])
    totals = [
        [sum(parts) for parts in zip(*(one.rows(numbers) for one in version.values()), strict=True)]
        for version in (now, before)
    ]
    seconds = [
        reads / numbers["read_rows_second"] + changes / numbers["write_rows_second"] + numbers["suspend_seconds"]
        for reads, changes in totals
    ]
    usd = [one / 3600 * numbers["warehouse_credits"] * 730 * numbers["credit"] for one in seconds]
    rows.append(["all", "", "", *(f"{part / 1e6:,.2f}" for total in totals for part in total)])
    rows.append(["seconds on an XSMALL", "", "", f"{seconds[0]:,.0f}", "", f"{seconds[1]:,.0f}", ""])
    rows.append(["USD a month", "", "", f"{usd[0]:,.0f}", "", f"{usd[1]:,.0f}", ""])
    return [_row(cells) for cells in rows]


def _cells(one: Refresh | None, numbers: Mapping[str, float]) -> list[str]:
    return [f"{rows / 1e6:,.2f}" for rows in one.rows(numbers)] if one else ["", ""]


def _machines(at: Step) -> str:
    share = at.numbers["rows_second"] / CONSUMER_ROWS_A_SECOND
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

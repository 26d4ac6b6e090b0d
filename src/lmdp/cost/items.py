"""What is paid for each part of the path in a month. Where a rule of billing is not known, a line has two sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lmdp.cost.formula import Figure, Sheet, least, most, plain, up
from lmdp.cost.load import Flow

HOURS: Final = plain(730, "hours")
SECONDS: Final = plain(2_628_000, "s")
DAYS: Final = Figure(730 / 24, "30.42 days")
KILOBYTE_UNIT: Final = plain(65_536, "bytes")
GB: Final = plain(1e9)
TB: Final = plain(1e12)
MILLION: Final = plain(1e6)
GIB_MIB: Final = plain(1_024)
ONE: Final = plain(1)
ZERO: Final = plain(0)

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html: Direct PUT is rounded up to 5 KB a record.
FIREHOSE_ROUNDING: Final = plain(5_000, "bytes")
# What a reject's envelope adds to its message, which is in base64.
_ENVELOPE: Final = plain(600, "bytes")
_BASE64: Final = Figure(4 / 3, "4/3")
_WATCHES: Final = plain(8_760, "runs")
_WATCHER_GIB: Final = plain(0.25, "GiB")
_REFRESHES: Final = plain(730, "refreshes")
_TWO_WAYS: Final = plain(2, "ways")
_HOURLY_TABLES: Final = plain(2, "roll-ups")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill, in dollars a month: `low`, and `high` where billing may be read in another way."""

    part: str
    what: str
    low: Figure
    high: Figure | None = None
    why: str = ""  # what is not known about how it is billed

    @property
    def most(self) -> Figure:
        """The greater reading."""
        return self.high or self.low


@dataclass(frozen=True, slots=True)
class _Month:
    """What passes in a month."""

    flow: Flow
    messages: Figure
    rows: Figure
    kafka_gb: Figure
    rows_gb: Figure
    invocations: Figure
    payload_bytes: Figure  # of one invocation


def lines(flow: Flow, sheet: Sheet) -> list[Line]:
    """Every line, in the order of the path."""
    month = _month(flow, sheet)
    return [
        *_kafka(month, sheet),
        *_certificates(sheet),
        *_pipe(month, sheet),
        *_function(month, sheet),
        *_firehose(month, sheet),
        *_bucket(month, sheet),
        *_keys(sheet),
        *_endpoints(month, sheet),
        *_watching(month, sheet),
        *_snowflake(month, sheet),
    ]


def _month(flow: Flow, sheet: Sheet) -> _Month:
    messages = sheet.step("messages", flow.messages * SECONDS, "a month")
    rows = sheet.step("rows", flow.rows * SECONDS, "a month")
    kafka = sheet.step("kafka_gb", messages * flow.message_bytes / GB, "GB a month, uncompressed")
    rows_gb = sheet.step("rows_gb", rows * sheet["row_bytes"] / GB, "GB a month")
    # A batch goes when it is full, or when its window ends, each partition for itself.
    windows = least(messages, sheet["partitions"] * SECONDS / sheet["window_seconds"])
    invocations = sheet.step("invocations", most(messages / sheet["batch"], windows), "a month")
    record = flow.message_bytes * _BASE64 + sheet["record_overhead_bytes"]
    payload = sheet.step("payload_bytes", messages / invocations * record, "bytes an invocation")
    return _Month(flow, messages, rows, kafka, rows_gb, invocations, payload)


def _kafka(month: _Month, sheet: Sheet) -> list[Line]:
    other_zones = (sheet["zones"] - ONE) / sheet["zones"]
    return [
        Line("MSK", "brokers", sheet["brokers"] * HOURS * sheet["msk_broker"]),
        Line("MSK", "disks", sheet["brokers"] * sheet["storage_gib"] * sheet["msk_storage"]),
        Line(
            "MSK",
            "transfer between zones",
            ZERO,
            month.kafka_gb * other_zones * _TWO_WAYS * sheet["zone_transfer"],
            "whether a pipe's reading over zones is charged, and what the producer's compression leaves of it",
        ),
    ]


def _certificates(sheet: Sheet) -> list[Line]:
    return [
        Line("Private CA", "authority", sheet["cas"] * sheet["private_ca"]),
        Line("Private CA", "certificates", sheet["certificates"] * sheet["certificate"]),
    ]


def _pipe(month: _Month, sheet: Sheet) -> list[Line]:
    units = sheet.step("pipe_units", up(month.payload_bytes / KILOBYTE_UNIT), "units of 64 KB an invocation")
    each = up(month.flow.message_bytes / KILOBYTE_UNIT)
    by_batch = month.invocations * units / MILLION * sheet["pipe_requests"]
    by_message = month.messages * each / MILLION * sheet["pipe_requests"]
    low, high = (by_batch, by_message) if by_batch.value <= by_message.value else (by_message, by_batch)
    return [
        Line("Pipes", "requests", low, high, "whether a batch or each of its messages is counted in units of 64 KB")
    ]


def _function(month: _Month, sheet: Sheet) -> list[Line]:
    rows = month.rows / month.invocations
    cores = sheet["memory_mib"] / sheet["vcpu_mib"] * sheet["vcpu_speed"]
    cpu = rows * sheet["cpu_us_row"] / MILLION
    seconds = sheet.step("invocation_seconds", cpu / cores + sheet["firehose_seconds"], "s")
    used = month.invocations * seconds * (sheet["memory_mib"] / GIB_MIB)
    calls = month.invocations + _WATCHES
    watcher = _WATCHES * sheet["watcher_seconds"] * _WATCHER_GIB
    return [
        Line("Lambda", "requests", calls / MILLION * sheet["lambda_requests"]),
        Line("Lambda", "compute", used * sheet["lambda_gb_second"]),
        Line("Lambda", "watcher", watcher * sheet["lambda_gb_second"]),
    ]


def _firehose(month: _Month, sheet: Sheet) -> list[Line]:
    rounded = up(sheet["row_bytes"] / FIREHOSE_ROUNDING) * FIREHOSE_ROUNDING
    gigabytes = sheet.step("rounded_gb", month.rows * rounded / GB, "GB a month, each row rounded up to 5 KB")
    return [
        Line(
            "Firehose",
            "rows taken in",
            month.rows_gb * sheet["firehose_gb"],
            gigabytes * sheet["firehose_gb"],
            "whether Direct PUT's rounding of each record to 5 KB applies to Snowflake",
        )
    ]


def _bucket(month: _Month, sheet: Sheet) -> list[Line]:
    rejects = sheet.step("rejects", month.messages * month.flow.rejected, "a month, an object each at most")
    size = month.flow.message_bytes * _BASE64 + _ENVELOPE
    kept = rejects * size / GB * sheet["error_days"] / DAYS
    return [
        Line("S3", "rejects written", rejects / plain(1_000) * sheet["s3_put"]),
        Line("S3", "rejects kept", kept * sheet["s3_storage"]),
    ]


def _keys(sheet: Sheet) -> list[Line]:
    ten_thousand = plain(10_000)
    return [
        Line("KMS", "keys", sheet["keys"] * sheet["kms_key"]),
        Line("KMS", "requests", sheet["key_requests"] / ten_thousand * sheet["kms_requests"]),
        Line("Secrets Manager", "secrets", sheet["secrets"] * sheet["secret"]),
        Line("Secrets Manager", "reads", sheet["secret_calls_month"] / ten_thousand * sheet["secret_calls"]),
    ]


def _endpoints(month: _Month, sheet: Sheet) -> list[Line]:
    any_endpoint = least(sheet["endpoints"], ONE)
    passing = month.invocations * month.payload_bytes / GB
    return [
        Line("VPC endpoints", "hours", sheet["endpoints"] * sheet["zones"] * HOURS * sheet["endpoint_hour"]),
        Line(
            "VPC endpoints",
            "data",
            ZERO,
            any_endpoint * passing * sheet["endpoint_gb"],
            "whether a pipe's call of the function passes the VPC's endpoint",
        ),
    ]


def _watching(month: _Month, sheet: Sheet) -> list[Line]:
    ours = sheet["function_metrics"] + sheet["reason_metrics"] + sheet["watcher_metrics"]
    brokers = sheet["brokers"] * sheet["broker_metrics"]
    logs = month.invocations * sheet["log_bytes_invocation"] / GB + sheet["brokers"] * sheet["log_gb_broker"]
    gigabytes = sheet.step("logs_gb", logs, "GB a month")
    kept = gigabytes * sheet["log_ratio"] * (sheet["log_days"] / DAYS)
    # Sampling takes the first of each second, and a share of the others.
    a_second = sheet.step("invocations_second", month.invocations / SECONDS, "a second")
    traced = least(a_second, ONE) + sheet["trace_share"] * most(a_second - ONE, ZERO)
    return [
        Line("CloudWatch", "logs taken in", gigabytes * sheet["log_ingest"]),
        Line("CloudWatch", "logs kept", kept * sheet["log_storage"]),
        Line("CloudWatch", "metrics of our own", ours * sheet["metric"]),
        Line("CloudWatch", "metrics of the brokers", brokers * sheet["metric"]),
        Line("CloudWatch", "alarms", sheet["alarm_metrics"] * sheet["alarm_metric"]),
        Line("CloudWatch", "dashboard", sheet["dashboard"]),
        Line("X-Ray", "traces", traced * SECONDS / MILLION * sheet["traces"]),
    ]


def _snowflake(month: _Month, sheet: Sheet) -> list[Line]:
    refresh = most(month.rows / _REFRESHES / sheet["rows_credit"], sheet["wake_credits"])
    refreshing = sheet.step("refresh_credits", _REFRESHES * refresh, "credits a month")
    asking = sheet["report_hours"] * DAYS * sheet["warehouse_credits"]
    reports = sheet.step("report_credits", asking, "credits a month")
    day_rows = sheet.step("rows_day", month.rows / DAYS, "rows a day")
    days = sheet["retention_days"] + sheet["undo_days"]
    hourly = month.flow.series * plain(24, "hours") * sheet["rollup_days"] * _HOURLY_TABLES
    return [
        Line("Snowpipe Streaming", "ingest", month.rows_gb * sheet["snowpipe_gb"] * sheet["credit"],
             why="whether Firehose uses the high-performance architecture; Classic charges compute and clients"),
        Line("Snowflake warehouse", "dynamic tables", refreshing * sheet["credit"]),
        Line("Snowflake warehouse", "reports", reports * sheet["credit"]),
        Line("Snowflake storage", "raw rows",
             day_rows * days * sheet["stored_bytes_row"] / TB * sheet["snowflake_storage"]),
        Line("Snowflake storage", "hourly roll-ups of a year",
             hourly * sheet["rollup_bytes_row"] / TB * sheet["snowflake_storage"]),
    ]  # fmt: skip

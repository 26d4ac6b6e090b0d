"""Quantities that are no price and no load: what is deployed, what was measured, and what has to be assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from lmdp.cost import measured

Kind: TypeAlias = Literal["deployed", "measured", "documented", "assumed", "given"]
"""`deployed`: the default of the stacks; `given`: the person who asks gave it."""


@dataclass(frozen=True, slots=True)
class Input:
    """One quantity. `about` explains it, and names the setting that changes it where there is one."""

    name: str
    value: float
    unit: str
    kind: Kind
    about: str


_ALL: Final = (
    Input("message_base_bytes", 580, "bytes", "measured", "a message of LogicMonitor's without datapoints"),
    Input("datapoint_bytes", 470, "bytes", "measured", "a datapoint in a message"),
    Input("row_bytes", 612, "bytes", "measured", "a row as Firehose gets it (LMDP_PLANNED_ROW_BYTES)"),
    Input("brokers", 3, "brokers", "deployed", "LMDP_MSK_BROKERS; 0 where the cluster is there already"),
    Input("storage_gib", 500, "GiB a broker", "deployed", "LMDP_MSK_STORAGE_GIB"),
    Input("retention_hours", 24, "hours", "deployed", "LMDP_TOPIC_RETENTION_HOURS"),
    Input("copies", 3, "copies", "deployed", "the topic's replication"),
    Input("zones", 3, "zones", "deployed", "subnets of cluster and endpoints (LMDP_SUBNET_IDS)"),
    Input("cas", 1, "CAs", "deployed", "private CAs; 0 where one is there already"),
    Input("certificates", 1, "a month", "assumed", "certificates issued: the pipe's, and the Collectors'"),
    Input("batch", 60, "messages", "deployed", "messages an invocation (LMDP_BATCH_SIZE)"),
    Input("window_seconds", 5, "seconds", "deployed", "a batch that is not full goes then (LMDP_BATCH_WINDOW_SECONDS)"),
    Input("partitions", 12, "partitions", "deployed", "LMDP_TOPIC_PARTITIONS"),
    Input("record_overhead_bytes", 400, "bytes", "assumed", "the JSON that a pipe puts around a message's value"),
    Input("memory_mib", 1024, "MiB", "deployed", "LMDP_FUNCTION_MEMORY_MIB"),
    Input("cpu_us_row", measured.FUNCTION_CPU_US_A_ROW, "µs", "measured", "CPU of the function a row (make bench)"),
    Input("vcpu_speed", measured.LAMBDA_CORE, "times", "assumed", "a Lambda vCPU's speed, of the measured core's"),
    Input("vcpu_mib", measured.MIB_A_VCPU, "MiB", "documented", "the memory that comes with one vCPU"),
    Input("firehose_seconds", measured.FIREHOSE_CALL_SECONDS, "seconds", "assumed", "until Firehose answers a batch"),
    Input("watcher_seconds", 2, "seconds", "assumed", "the watcher's run, every five minutes with 256 MiB"),
    Input("rejected_share", 0.0001, "of the messages", "assumed", "messages that become rejects in the error bucket"),
    Input("error_days", 90, "days", "deployed", "how long rejects stay (LMDP_ERROR_RETENTION_DAYS)"),
    Input("keys", 6, "keys", "deployed", "customer keys; 5 where the cluster is there already"),
    Input("key_requests", 1_000_000, "a month", "assumed", "requests to the keys, Firehose's among them"),
    Input("secrets", 3, "secrets", "deployed", "Kafka's, the loader's and the setup owner's"),
    Input("secret_calls_month", 10_000, "a month", "assumed", "reads of the secrets; Firehose reads every ten minutes"),
    Input("endpoints", 4, "endpoints", "assumed",
          "interface endpoints that an isolated subnet needs (LMDP_VPC_ENDPOINTS); 0 where the VPC has them"),
    Input("alarm_metrics", 48, "metrics", "deployed", "metrics that the alarms look at"),
    Input("function_metrics", 12, "metrics", "deployed", "metrics that the function writes"),
    Input("reason_metrics", 10, "metrics", "assumed", "and one for each reason of a reject or a drop that occurs"),
    Input("watcher_metrics", 7, "metrics", "deployed", "metrics that the watcher writes"),
    Input("broker_metrics", 40, "metrics a broker", "assumed", "what PER_BROKER monitoring adds to MSK's free metrics"),
    Input("log_bytes_invocation", 1_900, "bytes", "measured", "log of an invocation: summary, metrics, Lambda's lines"),
    Input("log_gb_broker", 1, "GB a month", "assumed", "log of a broker"),
    Input("log_days", 30, "days", "deployed", "LMDP_LOG_RETENTION_DAYS"),
    Input("log_ratio", 0.15, "of the bytes", "assumed", "what is left of logs when CloudWatch keeps them"),
    Input("trace_share", 0.05, "of the invocations", "documented", "traced beyond the first of each second"),
    Input("rows_credit", 100_000_000, "rows", "assumed", "rows that one credit takes through the nine dynamic tables"),
    Input("wake_credits", 0.05, "credits", "assumed", "the least of an hourly refresh: three minutes awake"),
    Input("report_hours", 2, "hours a day", "assumed", "hours that reports keep the warehouse awake"),
    Input("warehouse_credits", 1, "credits an hour", "deployed", "the warehouse's size: XSMALL"),
    Input("credit_quota", 50, "credits a month", "deployed", "the monitor that stops the warehouse"),
    Input("retention_days", 30, "days", "deployed", "raw rows in the landing table (RETENTION_DAYS)"),
    Input("undo_days", 8, "days", "assumed", "removed rows that are paid still: 1 of time travel, 7 of fail-safe"),
    Input("stored_bytes_row", 60, "bytes", "assumed", "a row in Snowflake, compressed"),
    Input("rollup_bytes_row", 60, "bytes", "assumed", "a row of an hourly roll-up, compressed"),
    Input("rollup_days", 365, "days", "assumed", "roll-ups are kept for ever; this is what a year makes"),
    Input("poll_seconds", 60, "seconds", "assumed", "between polls, where a measured run does not report it"),
)  # fmt: skip

_DIVISORS: Final = (
    "zones", "batch", "window_seconds", "partitions", "memory_mib", "vcpu_mib", "vcpu_speed", "rows_credit",
)  # fmt: skip


def shipped() -> dict[str, Input]:
    """Every quantity by name."""
    return {one.name: one for one in _ALL}


def given(inputs: Mapping[str, Input], values: Mapping[str, float]) -> dict[str, Input]:
    """The quantities, with those of the command line in their place; every name is there."""
    changed = {name: replace(inputs[name], value=value, kind="given") for name, value in values.items()}
    return {**inputs, **changed}


def faults(inputs: Mapping[str, Input]) -> list[str]:
    """What no load could be divided by."""
    return [
        f"--set {name} is {inputs[name].value:g}; it is more than 0" for name in _DIVISORS if inputs[name].value <= 0
    ]

"""Telemetry of the function: per invocation one log line, one set of metrics, and a trace where it is sampled.

Powertools for AWS Lambda: https://docs.aws.amazon.com/powertools/python/latest/
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from lmdp.cloud.pipeline import Invocation, Step
from lmdp.errors import frames

SERVICE: Final = "lmdp"
NAMESPACE: Final = "lmdp"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The logger and the metrics; their environment variables are Powertools' own (POWERTOOLS_…)."""

    log: Logger
    metrics: Metrics


def open_telemetry(env: Mapping[str, str]) -> Telemetry:
    """Make the logger and the metrics; nothing is written yet."""
    # At DEBUG, which Lambda's log level can ask for, botocore logs what it signs, the session's token among it.
    logging.getLogger("botocore").setLevel(logging.INFO)
    service = env.get("POWERTOOLS_SERVICE_NAME") or SERVICE
    namespace = env.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE
    return Telemetry(Logger(service=service), Metrics(namespace=namespace, service=service))


def record(telemetry: Telemetry, invocation: Invocation, *, request_id: str, cold_start: bool, failure: str) -> None:
    """Write the summary line and the metrics of one invocation. `failure` is empty, or the fault's name."""
    log = telemetry.log.error if failure else telemetry.log.warning if invocation.rejects else telemetry.log.info
    log("batch", request_id=request_id, cold_start=cold_start, failure=failure or None, **invocation.summary())
    _add_metrics(telemetry.metrics, invocation, failure)


def _add_metrics(metrics: Metrics, invocation: Invocation, failure: str) -> None:
    counts, delivered = invocation.counts, invocation.delivered
    numbers: dict[str, int] = {
        "Messages": counts.messages,
        "Datapoints": counts.datapoints,
        "Rows": counts.rows,
        "Rejects": counts.rejected_messages,
        "RejectedDatapoints": counts.rejected_datapoints,
        "FailedInvocations": int(bool(failure)),
        **{f"Rejects.{code}": count for code, count in invocation.rejects.items()},
        **{f"Dropped.{reason}": count for reason, count in counts.dropped.items()},
    }
    if delivered:
        numbers |= {
            "Delivered": delivered.accepted,
            "Retried": delivered.retried,
            "ThrottledCalls": delivered.throttled,
            "ProbableRepeats": delivered.repeats,
        }
        metrics.add_metric("DeliveryLatency", MetricUnit.Milliseconds, 1000 * delivered.seconds)
    if invocation.oldest_age_ms is not None:
        metrics.add_metric("OldestRecordAge", MetricUnit.Milliseconds, invocation.oldest_age_ms)
    for name, number in numbers.items():
        metrics.add_metric(name, MetricUnit.Count, number)
    metrics.flush_metrics()


def log_fault(telemetry: Telemetry, error: Exception) -> str:
    """Log an unexpected error: its kind and place, without its text or any value. Returns the kind."""
    kind = type(error).__name__
    telemetry.log.error("fault", kind=kind, frames=frames(error))
    return kind


def steps() -> Step:
    """Return how to mark a part of this invocation: as a subsegment where it is sampled, else not at all.

    The X-Ray SDK takes longer to import than all the rest of the function, so it waits for the first sampled one.
    """
    if "Sampled=1" not in os.environ.get("_X_AMZN_TRACE_ID", ""):
        return nullcontext
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415 - see above

    tracer = Tracer(service=SERVICE, auto_patch=False)
    if tracer.disabled:
        return nullcontext
    return lambda name: tracer.provider.in_subsegment(f"## {name}")

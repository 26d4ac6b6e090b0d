"""Metrics of the run at /metrics, in Prometheus' text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ Names end with their unit, and sums with `_total`.
Counters restart at 0 with the run, which Prometheus' `rate` and `increase` expect. While no pipeline runs, `lmdp_up` is
0 and nothing else is exported, so that an old number cannot pass for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import Metric, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from lmdp.errors import DROP_REASONS, REJECT_CODES
from lmdp.page.run_client import Json

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 21_600.0)

Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float | None]]


class Family(NamedTuple):
    """A metric: name, kind, help text, and its samples from the run's snapshot."""

    name: str
    kind: str
    help: str
    samples: Callable[[Json, Json], Samples]


def _live(key: str) -> Callable[[Json, Json], Samples]:
    return lambda live, _: [({}, live[key])]


def _status(key: str) -> Callable[[Json, Json], Samples]:
    return lambda _, status: [({}, status[key])]


def _by(label: str, key: str, known: Iterable[str] = ()) -> Callable[[Json, Json], Samples]:
    """Return one sample a name. Those of `known` start at 0: `increase` does not count a first value."""
    zeros = dict.fromkeys(known, 0)
    return lambda live, _: [({label: name}, number) for name, number in (zeros | live[key]).items()]


FAMILIES = (
    Family("lmdp_start_time_seconds", "gauge", "When this run began, in Unix seconds.",
           lambda live, _: [({}, live["startedAtMs"] // 1000)]),
    Family("lmdp_messages_total", "counter", "Kafka messages consumed.", _live("messages")),
    Family("lmdp_received_bytes_total", "counter", "Bytes of their values.", _live("bytesIn")),
    Family("lmdp_datapoints_total", "counter", "OTLP datapoints in them.", _live("datapoints")),
    Family("lmdp_converted_datapoints_total", "counter", "Datapoints that became rows.", _live("converted")),
    Family("lmdp_rows_total", "counter", "Rows committed to the warehouse.", _live("rows")),
    Family("lmdp_rejects_total", "counter", "Rejects, by error code.", _by("code", "rejectsByCode", REJECT_CODES)),
    Family("lmdp_rejected_datapoints_total", "counter", "Datapoints in rejects.", _live("rejectedDatapoints")),
    Family("lmdp_dropped_datapoints_total", "counter",
           "Dropped by rule, by reason; `empty` counts messages, `nonFinite` rows, `unknownData` metrics.",
           _by("reason", "dropped", DROP_REASONS)),
    Family("lmdp_lost_messages_total", "counter", "Messages that expired in Kafka before they were read.",
           _live("lost")),
    Family("lmdp_commits_total", "counter", "Transactions in the warehouse.", _live("commits")),
    Family("lmdp_published_messages_total", "counter", "Messages of simulated devices; absent without any.",
           _live("published")),
    Family("lmdp_lag_messages", "gauge", "Messages behind the end of each partition.", _by("partition", "lag")),
    Family("lmdp_last_commit_age_seconds", "gauge", "Seconds since the last commit; absent before the first.",
           _live("secondsSinceCommit")),
    Family("lmdp_freshness_seconds", "gauge", "Seconds since the newest row's own time; absent without rows.",
           _status("freshnessSeconds")),
    Family("lmdp_warehouse_rows", "gauge", "Rows in the warehouse.", _status("rows")),
    Family("lmdp_warehouse_rejects", "gauge", "Rejects in the warehouse.", _status("rejects")),
    Family("lmdp_warehouse_bytes", "gauge", "Size of the warehouse on disk.", _status("sizeBytes")),
    Family("lmdp_disk_free_bytes", "gauge", "Free bytes on the warehouse's disk.", _status("freeBytes")),
    Family("lmdp_disk_left_days", "gauge", "Days until the disk is full at this run's rate; absent while unknown.",
           _status("daysLeftOnDisk")),
    Family("lmdp_duplicate_rows", "gauge", "Rows that are in the warehouse twice; expected 0.", _status("duplicates")),
    Family("lmdp_missing_rows", "gauge", "Rows that were written and are missing; expected 0.", _status("missing")),
    Family("lmdp_hole_messages", "gauge", "Messages that were skipped without a record; expected 0.", _status("holes")),
    Family("lmdp_wrong_clock_rows", "gauge",
           "Rows in the warehouse dated more than a day ahead, or before what --keep keeps.",
           lambda _, status: [({"side": side}, number) for side, number in status["clock"].items()]),
    Family("lmdp_memory_bytes", "gauge", "Resident memory of `lmdp run`, without its broker.", _live("memoryBytes")),
    Family("lmdp_trouble", "gauge", "1 while the pipeline is blocked; `lmdp status` shows the cause.",
           lambda live, _: [({}, int(bool(live["trouble"])))]),
)  # fmt: skip

LATENCY = "lmdp_latency_seconds"
LATENCY_HELP = "From a message's time in Kafka to its commit in the warehouse."
UP = "lmdp_up"


class _Snapshot(list[Metric], Collector):
    """Metrics at one moment, as a registry of their own: nothing outlives a request."""

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self


ALERT_FAMILIES = (
    Family("lmdp_alerts_firing", "gauge", "Alerts that fire, by rule of alerts.toml.",
           lambda alerts, _: [({"rule": one["name"]}, one["firing"]) for one in alerts["rules"]]),
    Family("lmdp_alert_rules_wrong", "gauge", "1 while alerts.toml is wrong or a rule cannot be checked.",
           lambda alerts, _: [({}, int(bool(alerts["fault"])))]),
    Family("lmdp_alert_posts_total", "counter", "Posts to the webhook, by result.",
           lambda alerts, _: [({"result": name}, alerts["webhook"][name]) for name in ("delivered", "failed")]
           if alerts["webhook"] else []),
)  # fmt: skip


def render(live: Json | None, status: Json | None, alerts: Json | None = None) -> str:
    """Return all metrics, those of a receiver in the run included; one without a sample is left out.

    Those of alerts need a file of rules.
    """
    up = int(live is not None and status is not None)
    metrics = [_metric(UP, "gauge", "1 while `lmdp run` answers.", [({}, up)])]
    if live is not None and status is not None:
        metrics += [_metric(one.name, one.kind, one.help, one.samples(live, status)) for one in FAMILIES]
        if alerts is not None and alerts["isConfigured"]:
            metrics += [_metric(one.name, one.kind, one.help, one.samples(alerts, status)) for one in ALERT_FAMILIES]
        seconds = live["latencySumMs"] / 1000
        metrics.append(HistogramMetricFamily(LATENCY, LATENCY_HELP, _buckets(live["latenciesMs"]), seconds))
    receiver: str = ((live or {}).get("receiver") or {"metrics": ""})["metrics"]
    return generate_latest(_Snapshot(metric for metric in metrics if metric.samples)).decode() + receiver


def _metric(name: str, kind: str, text: str, samples: Samples) -> Metric:
    metric = Metric(name.removesuffix("_total"), text, kind)
    for labels, number in samples:
        if number is not None:
            metric.add_sample(name, labels, number)
    return metric


def _buckets(seen: Iterable[tuple[float, int]]) -> list[tuple[str, float]]:
    """Count the messages up to each bound. Times are exact to a fortieth, and so are the buckets."""
    within = [(f"{bound:g}", sum(number for ms, number in seen if ms <= bound * 1000)) for bound in BOUNDS_S]
    return [*within, ("+Inf", sum(number for _, number in seen))]

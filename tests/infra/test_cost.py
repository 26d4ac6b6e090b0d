"""What `lmdp cost` takes for deployed is what the templates deploy."""

from __future__ import annotations

import datetime as dt

from infra.settings import Settings
from infra.watcher import watcher

from lmdp.cost.basis import shipped_prices, shipped_quantities
from templates import of_type

from .conftest import OTHER_OPTIONS, Templates, example_values

COST = {name: one.value for name, one in shipped_quantities().items()}


def _count(templates: Templates, kind: str) -> int:
    return sum(len(of_type(template, kind)) for template in templates.values())


def test_counted_resources(example: Templates, full: Templates) -> None:
    """Keys and secrets of the example, and one key more for a cluster of our own; one dashboard."""
    cluster_keys = len(of_type(full["network"], "AWS::KMS::Key"))
    assert COST["keys"] == _count(example, "AWS::KMS::Key") + cluster_keys
    assert COST["secrets"] == _count(example, "AWS::SecretsManager::Secret")
    assert _count(example, "AWS::CloudWatch::Dashboard") == 1


def test_counted_metrics_of_alarms(full: Templates) -> None:
    """An alarm on an expression pays for each metric in it. Those of the optional containers are not counted."""
    every = [alarm["Properties"] for alarm in of_type(full["alarms"], "AWS::CloudWatch::Alarm")]
    of_containers = ("#containers", "#receiver", "#writer")
    alarms = [alarm for alarm in every if not alarm["AlarmDescription"].endswith(of_containers)]
    metrics = [sum("MetricStat" in part for part in alarm["Metrics"]) if "Metrics" in alarm else 1 for alarm in alarms]
    assert COST["alarm_metrics"] == sum(metrics)


def test_defaults_of_the_settings() -> None:
    """A cluster of our own, with nothing set that has a default."""
    chosen = ("LMDP_MSK_CLUSTER_ARN", "LMDP_MSK_CREATE", "LMDP_PRIVATE_CA_ARN")
    settings = Settings.read("example", {**example_values(), **{name: OTHER_OPTIONS[name] for name in chosen}})
    kafka, pipe, watch = settings.kafka, settings.pipe, settings.watch
    found = {
        "brokers": kafka.brokers,
        "storage_gib": kafka.storage_gib,
        "retention_hours": kafka.retention_hours,
        "partitions": kafka.partitions,
        "zones": len(kafka.subnet_ids),
        "batch": pipe.batch,
        "window_seconds": pipe.window,
        "memory_mib": pipe.memory,
        "error_days": watch.error_days,
        "log_days": watch.log_days,
        "row_bytes": settings.load.row_bytes,
        "retention_days": settings.snowflake.retention_days,
        "credit_quota": settings.snowflake.credit_quota,
    }
    assert {name: COST[name] for name in found} == found
    assert kafka.instance_type in shipped_prices()["msk_broker"].unit


def test_counted_metrics_of_the_watcher() -> None:
    """One metric for each look, the CA's among them."""
    _, unknown = watcher.look({"LMDP_PRIVATE_CA": "arn"}, lambda _: None, dt.datetime.now(dt.UTC))
    assert COST["watcher_metrics"] == len(unknown)

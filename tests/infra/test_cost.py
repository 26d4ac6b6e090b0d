"""What `lmdp cost` takes for deployed is what the templates deploy."""

from __future__ import annotations

import datetime as dt

from infra.limits import FUNCTION_ENDPOINTS
from infra.settings import ENDPOINTS, Settings
from infra.watcher import watcher

from lmdp.cost.basis import shipped_prices, shipped_quantities
from lmdp.cost.bill import Basis
from lmdp.cost.traffic import Planned
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
    """An alarm on an expression pays for each metric in it; the containers' are counted where these are."""
    counted = dict.fromkeys(("receive", "write", ""), 0)
    for alarm in (one["Properties"] for one in of_type(full["alarms"], "AWS::CloudWatch::Alarm")):
        service = alarm["AlarmName"].removeprefix("lmdp-example-").partition("-")[0]
        metrics = sum("MetricStat" in part for part in alarm["Metrics"]) if "Metrics" in alarm else 1
        counted[service if service in counted else ""] += metrics
    consumer = Basis(Planned(1, 1, 1, 60), shipped_prices(), shipped_quantities(), "consumer").numbers()
    assert counted == {"receive": 5, "write": consumer["alarm_metrics"] - COST["alarm_metrics"],
                       "": COST["alarm_metrics"]}  # fmt: skip


def test_counted_containers(full: Templates) -> None:
    """Tasks of the deployed size, one writer, two receivers by default, and their key and secrets."""
    tasks = of_type(full["containers"], "AWS::ECS::TaskDefinition")
    sizes = {(one["Properties"]["Cpu"], one["Properties"]["Memory"]) for one in tasks}
    assert sizes == {(str(int(COST["task_vcpu"] * 1024)), str(int(COST["task_gib"] * 1024)))}
    services = {one["Properties"]["ServiceName"]: one["Properties"]["DesiredCount"]
                for one in of_type(full["containers"], "AWS::ECS::Service")}  # fmt: skip
    assert services == {"receive": 2, "write": COST["tasks"]}
    # The pipe's own is given in these settings.
    assert len(of_type(full["auth"], "AWS::KMS::Key")) == COST["container_keys"]
    assert len(of_type(full["auth"], "AWS::SecretsManager::Secret")) == COST["container_secrets"]
    filters = [one["Properties"]["FilterName"] for one in of_type(full["containers"], "AWS::Logs::MetricFilter")]
    assert sorted(filters) == ["ReceiverRefusals", "ReceiverWithoutKafka", "WriterRefusals"]


def test_counted_endpoints() -> None:
    """A pipe in a subnet without a way out needs five."""
    assert "5 in subnets without" in shipped_quantities()["endpoints"].about
    assert len([one for one in ENDPOINTS if one not in FUNCTION_ENDPOINTS]) == 5


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
        "endpoints": len(kafka.endpoints),
        "batch": pipe.batch,
        "window_seconds": pipe.window,
        "memory_mib": pipe.memory,
        "error_days": watch.error_days,
        "log_days": watch.log_days,
        "row_bytes": settings.traffic.row_bytes,
        "retention_days": settings.snowflake.retention_days,
        "credit_quota": settings.snowflake.credit_quota,
    }
    assert {name: COST[name] for name in found} == found
    assert kafka.instance_type in shipped_prices()["msk_broker"].unit


def test_counted_metrics_of_the_watcher() -> None:
    """One metric for each look, the CA's among them."""
    _, unknown = watcher.look({"LMDP_PRIVATE_CA": "arn"}, lambda _: None, dt.datetime.now(dt.UTC))
    assert COST["watcher_metrics"] == len(unknown)

"""Kafka: how far behind we are, as a share of what the topic really keeps, and the brokers' own health."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarms.rule import AlarmRule, Severity, expression, metric
from infra.settings import Settings

# Of what the topic keeps: a sixth of LogicMonitor's six hours is an hour, half is three.
_WARN_SHARE: Final = 1 / 6
PAGE_SHARE: Final = 1 / 2
# https://docs.aws.amazon.com/msk/latest/developerguide/bestpractices-cw-alarms.html
_DISK_PERCENT: Final = 80


def oldest_record_age(settings: Settings) -> cloudwatch.Metric:
    """The age in milliseconds of the oldest record that the function was handed."""
    return metric("lmdp", "OldestRecordAge", {"service": settings.names.prefix}, "Maximum")


def time_lag(settings: Settings) -> cloudwatch.Metric:
    """MSK's estimate, in seconds, of how long the slowest partition takes to catch up."""
    return metric("AWS/Kafka", "EstimatedMaxTimeLag", _group(settings), "Maximum")


def offset_lag(settings: Settings) -> cloudwatch.Metric:
    """Messages that wait, all partitions together."""
    return metric("AWS/Kafka", "SumOffsetLag", _group(settings), "Maximum")


def disk_used(settings: Settings, broker: int) -> cloudwatch.Metric:
    """Percent of a broker's disk that Kafka's data takes."""
    return metric("AWS/Kafka", "KafkaDataLogsDiskUsed", _broker(settings, broker), "Maximum")


def kafka_rules(settings: Settings) -> list[AlarmRule]:
    """Lag twice over (by our own clock, and by MSK's), disks, partitions."""
    return [*_lag(settings), *_brokers(settings)]


def retention(settings: Settings) -> cloudwatch.Metric:
    """Hours that the topic keeps, as the watcher finds them."""
    return metric("lmdp", "TopicRetentionHours", {"service": settings.names.prefix}, "Minimum")


def share_of_retention(settings: Settings, delay: cloudwatch.Metric, units_an_hour: int) -> cloudwatch.MathExpression:
    """A delay in percent of what the topic keeps: what the watcher found, but never more than is planned.

    A topic that keeps a week is no reason to hear of a delay after days; one that keeps less than planned is a reason
    to hear of it sooner. Where the watcher knows nothing the setting counts.
    """
    planned = settings.kafka.retention_hours
    kept = f"FILL(kept, {planned})"
    text = f"100 * delay / {units_an_hour} / IF({kept} < {planned}, {kept}, {planned})"
    return expression(text, "% of the topic's retention", delay=delay, kept=retention(settings))


def _lag(settings: Settings) -> list[AlarmRule]:
    planned = settings.kafka.retention_hours
    age = share_of_retention(settings, oldest_record_age(settings), 3_600_000)
    lag = share_of_retention(settings, time_lag(settings), 3_600)
    rules = [AlarmRule("topic-retention", "warn", "lag", f"The topic keeps less than the {planned} h that are planned.",
                       retention(settings), "<", planned, bad=2, periods=2)]  # fmt: skip
    levels: tuple[tuple[Severity, float], ...] = (("warn", _WARN_SHARE), ("page", PAGE_SHARE))
    for severity, share in levels:
        about = f"over {share:.0%} of what the topic keeps ({planned} h at most); what ages out is lost."
        rules += [
            AlarmRule(f"record-age-{severity}", severity, "lag", f"The oldest record handed over is {about}", age, ">",
                      round(100 * share, 1), bad=2, periods=2),
            AlarmRule(f"consumer-lag-{severity}", severity, "lag", f"The pipe's consumer group is {about}", lag, ">",
                      round(100 * share, 1), bad=2, periods=2),
        ]  # fmt: skip
    return rules


def _brokers(settings: Settings) -> list[AlarmRule]:
    cluster = {"Cluster Name": settings.kafka.cluster_name}
    offline = metric("AWS/Kafka", "OfflinePartitionsCount", cluster, "Maximum", minutes=1)
    rules = [AlarmRule("partitions-offline", "page", "brokers", "Partitions of Kafka have no leader.", offline, ">=", 1,
                       bad=3, periods=3)]  # fmt: skip
    for broker in range(1, settings.kafka.brokers + 1):
        behind = metric("AWS/Kafka", "UnderReplicatedPartitions", _broker(settings, broker), "Maximum")
        rules.append(
            AlarmRule(f"broker-{broker}-under-replicated", "warn", "brokers", f"Copies on broker {broker} lag behind.",
                      behind, ">=", 1, bad=3, periods=3)
        )  # fmt: skip
        if not settings.kafka.express:  # whose disks are AWS's
            rules.append(
                AlarmRule(f"broker-{broker}-disk", "page", "brokers", f"The disk of broker {broker} fills up.",
                          disk_used(settings, broker), ">=", _DISK_PERCENT, bad=3, periods=3)
            )  # fmt: skip
    return rules


def _group(settings: Settings) -> dict[str, str]:
    kafka = settings.kafka
    return {"Cluster Name": kafka.cluster_name, "Consumer Group": kafka.group, "Topic": kafka.topic}


def _broker(settings: Settings, broker: int) -> dict[str, str]:
    return {"Cluster Name": settings.kafka.cluster_name, "Broker ID": str(broker)}

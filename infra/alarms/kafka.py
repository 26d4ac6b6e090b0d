"""Kafka: how far behind we are, measured against what the topic keeps, and the brokers' own health."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarms.rule import AlarmRule, Severity, metric
from infra.settings import Settings

# Of what the topic keeps: a sixth of LogicMonitor's six hours is an hour, half is three.
_WARN_SHARE: Final = 1 / 6
_PAGE_SHARE: Final = 1 / 2
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


def _lag(settings: Settings) -> list[AlarmRule]:
    kept = settings.kafka.retention_hours * 3600
    age, lag = oldest_record_age(settings), time_lag(settings)
    rules = []
    levels: tuple[tuple[Severity, float], ...] = (("warn", _WARN_SHARE), ("page", _PAGE_SHARE))
    for severity, share in levels:
        about = (
            f"over {share:.0%} of the {settings.kafka.retention_hours} h that the topic keeps; what ages out is lost."
        )
        rules += [
            AlarmRule(f"record-age-{severity}", severity, "lag", f"The oldest record handed over is {about}", age, ">",
                      1000 * kept * share, bad=2, periods=2),
            AlarmRule(f"consumer-lag-{severity}", severity, "lag", f"The pipe's consumer group is {about}", lag, ">",
                      kept * share, bad=2, periods=2),
        ]  # fmt: skip
    return rules


def _brokers(settings: Settings) -> list[AlarmRule]:
    cluster = {"Cluster Name": settings.kafka.cluster_name}
    offline = metric("AWS/Kafka", "OfflinePartitionsCount", cluster, "Maximum", minutes=1)
    rules = [AlarmRule("partitions-offline", "page", "brokers", "Partitions of Kafka have no leader.", offline, ">=", 1,
                       bad=3, periods=3)]  # fmt: skip
    for broker in range(1, settings.kafka.brokers + 1):
        behind = metric("AWS/Kafka", "UnderReplicatedPartitions", _broker(settings, broker), "Maximum")
        rules += [
            AlarmRule(f"broker-{broker}-disk", "page", "brokers", f"The disk of broker {broker} fills up.",
                      disk_used(settings, broker), ">=", _DISK_PERCENT, bad=3, periods=3),
            AlarmRule(f"broker-{broker}-under-replicated", "warn", "brokers", f"Copies on broker {broker} lag behind.",
                      behind, ">=", 1, bad=3, periods=3),
        ]  # fmt: skip
    return rules


def _group(settings: Settings) -> dict[str, str]:
    kafka = settings.kafka
    return {"Cluster Name": kafka.cluster_name, "Consumer Group": kafka.group, "Topic": kafka.topic}


def _broker(settings: Settings, broker: int) -> dict[str, str]:
    return {"Cluster Name": settings.kafka.cluster_name, "Broker ID": str(broker)}

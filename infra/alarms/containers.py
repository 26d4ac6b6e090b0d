"""The services in containers: whether a task runs, whether senders reach one, and what their logs report."""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarms.kafka import PAGE_SHARE, share_of_retention
from infra.alarms.rule import AlarmRule, metric
from infra.settings import Settings

_MEMORY_PERCENT: Final = 90


class LogMetric(NamedTuple):
    """A metric that counts lines of a service's log: its name, and the text in them."""

    service: str
    name: str
    text: str


LOG_METRICS: Final = (
    LogMetric("receive", "ReceiverWithoutKafka", "Requests are answered with 503"),
    LogMetric("receive", "ReceiverRefusals", "refused requests:"),
    LogMetric("write", "WriterRefusals", "REFUSED"),
)


class Balancer(NamedTuple):
    """The receiver's load balancer and its targets, as CloudWatch names them."""

    load_balancer: str
    targets: str


def tasks(settings: Settings, service: str) -> cloudwatch.Metric:
    """The number of tasks that run: each reports once a minute, and nothing is reported where none runs.

    Container Insights would count them too, at the price of some thirty metrics.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
    """
    return metric("AWS/ECS", "CPUUtilization", _service(settings, service), "SampleCount", minutes=1)


def used(settings: Settings, service: str, what: str) -> cloudwatch.Metric:
    """Percent of a service's `CPU` or `Memory`."""
    return metric("AWS/ECS", f"{what}Utilization", _service(settings, service), "Maximum")


def healthy(balancer: Balancer) -> cloudwatch.Metric:
    """The number of receivers that the load balancer sends to."""
    names = {"LoadBalancer": balancer.load_balancer, "TargetGroup": balancer.targets}
    return metric("AWS/NetworkELB", "HealthyHostCount", names, "Minimum", minutes=1)


def lag(settings: Settings) -> cloudwatch.Metric:
    """MSK's estimate, in seconds, of how far the direct writer is behind."""
    names = {"Cluster Name": settings.kafka.cluster_name, "Consumer Group": settings.names.writer_group,
             "Topic": settings.containers.write_topic}  # fmt: skip
    return metric("AWS/Kafka", "EstimatedMaxTimeLag", names, "Maximum")


def of_log(settings: Settings, name: str) -> cloudwatch.Metric:
    """Lines of a log, by the name of LOG_METRICS; the namespace is the environment's, since lines give no dimension."""
    return metric(settings.names.prefix, name, {})


def container_rules(settings: Settings, balancer: Balancer | None) -> list[AlarmRule]:
    """Every alarm of the services that there are."""
    services = settings.containers.services
    rules = [
        rule
        for service in services
        for rule in (
            AlarmRule(f"{service}-stopped", "page", "containers", f"No task of the service {service} runs.",
                      tasks(settings, service), "<", 1, bad=5, periods=5, missing_is_bad=True),
            AlarmRule(f"{service}-memory", "warn", "containers", f"A task of {service} uses over {_MEMORY_PERCENT} %.",
                      used(settings, service, "Memory"), ">", _MEMORY_PERCENT, bad=3, periods=3),
        )
    ]  # fmt: skip
    if balancer is not None:
        rules += [
            AlarmRule("receive-unhealthy", "page", "receiver", "Senders reach no receiver.", healthy(balancer), "<", 1,
                      bad=3, periods=3, missing_is_bad=True),
            AlarmRule("receive-kafka", "page", "receiver", "Kafka does not acknowledge; senders are asked to wait.",
                      of_log(settings, "ReceiverWithoutKafka"), ">", 0),
            AlarmRule("receive-refused", "warn", "receiver", "Requests are refused; the log has the reasons.",
                      of_log(settings, "ReceiverRefusals"), ">", 0, bad=3, periods=3),
        ]  # fmt: skip
    if "write" in services:
        share = share_of_retention(settings, lag(settings), 3_600)
        rules += [
            AlarmRule("write-lag", "page", "writer", f"The direct writer is over {PAGE_SHARE:.0%} of the retention.",
                      share, ">", round(100 * PAGE_SHARE, 1), bad=2, periods=2),
            AlarmRule("write-refused", "page", "writer", "Snowflake refused rows of the direct writer.",
                      of_log(settings, "WriterRefusals"), ">", 0),
        ]  # fmt: skip
    return rules


def _service(settings: Settings, service: str) -> dict[str, str]:
    return {"ClusterName": settings.names.containers, "ServiceName": service}

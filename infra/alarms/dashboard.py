"""One page that shows the whole path, from Kafka to Snowflake."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.alarms import containers, kafka, path
from infra.settings import Settings


def add_dashboard(
    scope: Construct, *, settings: Settings, alarms: Sequence[cloudwatch.Alarm], balancer: containers.Balancer | None
) -> None:
    """Alarms on top, then the path in its order, two graphs a row."""
    dashboard = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=settings.names.prefix)
    dashboard.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24, height=4))
    graphs = [*_graphs(settings), *_of_containers(settings, balancer)]
    for at in range(0, len(graphs), 2):
        dashboard.add_widgets(*graphs[at : at + 2])


def _graphs(settings: Settings) -> list[cloudwatch.GraphWidget]:
    brokers = range(1, settings.kafka.brokers + 1)

    rows, pipe, function = (partial(of, settings) for of in (path.of_rows, path.of_pipe, path.of_function))
    return [
        _graph("Kafka: seconds behind", kafka.time_lag(settings)),
        _graph("Kafka: messages that wait", kafka.offset_lag(settings)),
        *(
            []
            if settings.kafka.express
            else [_graph("Kafka: disk used, %", *(kafka.disk_used(settings, broker) for broker in brokers))]
        ),
        _graph("Oldest record handed over, ms", kafka.oldest_record_age(settings)),
        _graph("Pipe", *map(pipe, ("Invocations", "ExecutionFailed", "ExecutionThrottled"))),
        _graph("Function: calls", *map(function, ("Invocations", "Errors", "Throttles"))),
        _graph("Messages, datapoints, rows", *map(rows, ("Messages", "Datapoints", "Rows", "Delivered"))),
        _graph(
            "Rejects, tries again, repeats", *map(rows, ("Rejects", "Retried", "ProbableRepeats", "ThrottledCalls"))
        ),
        _graph("Function: time, ms", *(function("Duration", statistic) for statistic in ("p50", "p99"))),
        *(
            [
                _graph(
                    "Snowflake: ms to accept a batch",
                    *(rows("DeliveryLatency", one) for one in ("p50", "p99")),
                )
            ]
            if settings.is_direct
            else _firehose(settings)
        ),
    ]


def _firehose(settings: Settings) -> list[cloudwatch.GraphWidget]:
    stream = partial(path.of_stream, settings)
    return [
        _graph(
            "Firehose: in and out",
            *map(stream, ("IncomingRecords", "DeliveryToSnowflake.Records", "DeliveryToS3.Records")),
        ),
        _graph(
            "Snowflake: seconds to the table",
            stream("DeliveryToSnowflake.DataFreshness", "Maximum"),
            stream("DeliveryToSnowflake.DataCommitLatency", "Maximum"),
        ),
        _graph(
            "Firehose: quotas, %",
            path.quota_percent(settings, "IncomingBytes", "BytesPerSecondLimit"),
            path.quota_percent(settings, "IncomingRecords", "RecordsPerSecondLimit"),
        ),
    ]


def _of_containers(settings: Settings, balancer: containers.Balancer | None) -> list[cloudwatch.GraphWidget]:
    """The services that there are, two graphs each."""
    graphs = []
    for service in settings.containers.services:
        of = (containers.used(settings, service, what) for what in ("CPU", "Memory"))
        graphs.append(_graph(f"{service}: CPU and memory, %", *of))
        if service == "write":
            graphs.append(_graph("write: seconds behind", containers.lag(settings)))
        elif balancer is not None:
            refusals = containers.of_log(settings, "ReceiverRefusals")
            graphs.append(_graph("receive: healthy, minutes with refusals", containers.healthy(balancer), refusals))
    return graphs


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=12, height=6)

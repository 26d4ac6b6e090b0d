"""The pipe, the function, Firehose, each way in which rows can stop, fail or go missing; and the watcher's reports."""

from __future__ import annotations

from math import ceil
from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarms.rule import AlarmRule, Severity, expression, metric
from infra.settings import Settings

_LATE_SECONDS: Final = 900
_DURATION_SHARE: Final = 0.8
_QUOTA_PERCENT: Final = 80
# Days that are left.
_WARN_DAYS: Final = 30
_PAGE_DAYS: Final = 7
_CA_DAYS: Final = 90


def of_pipe(settings: Settings, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """A metric of the pipe."""
    return metric("AWS/EventBridge/Pipes", name, {"PipeName": settings.names.pipe}, statistic)


def of_function(settings: Settings, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """A metric that Lambda keeps of the function."""
    return metric("AWS/Lambda", name, {"FunctionName": settings.names.function}, statistic)


def of_rows(settings: Settings, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """A metric that the function itself writes."""
    return metric("lmdp", name, {"service": settings.names.prefix}, statistic)


def of_stream(settings: Settings, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """A metric of the Firehose stream."""
    return metric("AWS/Firehose", name, {"DeliveryStreamName": settings.names.stream}, statistic)


def quota_percent(settings: Settings, used: str, limit: str) -> cloudwatch.MathExpression:
    """Return how much of a quota a second is used, in percent."""
    # A graph with two expressions needs different names in them.
    taken, most = used[0].lower() + used[1:], limit[0].lower() + limit[1:]
    metrics = {taken: of_stream(settings, used), most: of_stream(settings, limit, "Minimum")}
    return expression(f"100 * {taken} / PERIOD({taken}) / {most}", f"{used}, % of {limit}", **metrics)


def path_rules(settings: Settings) -> list[AlarmRule]:
    """Everything between Kafka and Snowflake."""
    firehose = [] if settings.is_direct else [*_firehose(settings), *_quotas(settings)]
    return [*_pipe(settings), *_function(settings), *_rows(settings), *firehose]


def _pipe(settings: Settings) -> list[AlarmRule]:
    running = metric("lmdp", "PipeRunning", {"service": settings.names.prefix}, "Minimum")
    failures: tuple[tuple[str, Severity, str, str], ...] = (
        ("pipe-failed", "page", "ExecutionFailed", "Executions of the pipe fail; the batch is tried again and again."),
        ("pipe-timeout", "page", "ExecutionTimeout", "Executions of the pipe take longer than five minutes."),
        ("pipe-throttled", "warn", "ExecutionThrottled", "The account's quota of pipe executions is used up."),
        ("pipe-target-failed", "page", "TargetStageFailed", "The function fails when the pipe calls it."),
    )
    return [
        AlarmRule("pipe-not-running", "page", "pipe", "The pipe does not run, so Kafka is not read.", running, "<", 1,
                  bad=2, periods=2, missing_is_bad=True),
        *(AlarmRule(name, severity, "pipe", about, of_pipe(settings, counted), ">", 0, bad=2, periods=3)
          for name, severity, counted, about in failures),
    ]  # fmt: skip


def _function(settings: Settings) -> list[AlarmRule]:
    most = settings.pipe.timeout * 1000 * _DURATION_SHARE
    return [
        AlarmRule("function-errors", "page", "function", "The function raises; the pipe sends the batch again.",
                  of_function(settings, "Errors"), ">", 0, bad=2, periods=3),
        AlarmRule("function-throttled", "warn", "function", "Lambda refuses calls: the concurrency is used up.",
                  of_function(settings, "Throttles"), ">", 0, bad=2, periods=3),
        AlarmRule("function-slow", "warn", "function", f"A call takes over {_DURATION_SHARE:.0%} of its time.",
                  of_function(settings, "Duration", "Maximum"), ">", most, bad=2, periods=3),
    ]  # fmt: skip


def _rows(settings: Settings) -> list[AlarmRule]:
    rows, delivered = of_rows(settings, "Rows"), of_rows(settings, "Delivered")
    missing = expression("FILL(rows, 0) - FILL(delivered, 0)", "rows not delivered", rows=rows, delivered=delivered)
    silent = max(3, ceil(2 * settings.traffic.interval / 300))  # in periods of five minutes
    return [
        AlarmRule("silence", "page", "silence", f"No row came for {5 * silent} minutes.", rows, "<", 1,
                  bad=silent, periods=silent, missing_is_bad=True),
        AlarmRule("rejects", "warn", "rejects", "Messages, or parts of them, became rejects.",
                  of_rows(settings, "Rejects"), ">", 0),
        AlarmRule("undelivered-rows", "page", "undelivered-rows",
                  f"{settings.pipe.writer.title()} refuses rows; their batches come again.",
                  missing, ">", 0, bad=3, periods=3),
        AlarmRule("probable-repeats", "warn", "repeats", "Rows are probably in the table twice; METRICS hides them.",
                  of_rows(settings, "ProbableRepeats"), ">", 0, bad=3, periods=3),
    ]  # fmt: skip


def _firehose(settings: Settings) -> list[AlarmRule]:
    late = settings.delivery.buffer_seconds + _LATE_SECONDS
    stuck = expression(
        "IF(FILL(incoming, 0) > 0 AND FILL(success, 0) < 1, 1, 0)",
        "rows come, none is delivered",
        incoming=of_stream(settings, "IncomingRecords"),
        success=of_stream(settings, "DeliveryToSnowflake.Success"),
    )
    return [
        AlarmRule("failed-records", "page", "failed-records", "Snowflake refused rows; they are in the error bucket.",
                  of_stream(settings, "DeliveryToS3.Records"), ">", 0),
        AlarmRule("freshness", "page", "freshness", f"The oldest row in Firehose waits for over {late} s.",
                  of_stream(settings, "DeliveryToSnowflake.DataFreshness", "Maximum"), ">", late, bad=2, periods=3),
        AlarmRule("delivery-success", "page", "freshness", "Rows come into Firehose, and none reaches Snowflake.",
                  stuck, ">", 0, bad=3, periods=3),
        AlarmRule("stream-key", "page", "freshness", "Firehose may not use the stream's KMS key.",
                  of_stream(settings, "KMSKeyAccessDenied"), ">", 0),
    ]  # fmt: skip


def _quotas(settings: Settings) -> list[AlarmRule]:
    quotas = (
        ("quota-bytes", "IncomingBytes", "BytesPerSecondLimit"),
        ("quota-records", "IncomingRecords", "RecordsPerSecondLimit"),
        ("quota-requests", "IncomingPutRequests", "PutRequestsPerSecondLimit"),
    )
    return [
        *(AlarmRule(name, "warn", "quota", f"Over {_QUOTA_PERCENT} % of Firehose's {limit} is used.",
                    quota_percent(settings, used, limit), ">", _QUOTA_PERCENT, bad=3, periods=3)
          for name, used, limit in quotas),
        AlarmRule("throttled-records", "warn", "quota", "Firehose throttles; the function slows down, and lag grows.",
                  of_stream(settings, "ThrottledRecords"), ">", 0, bad=3, periods=3),
    ]  # fmt: skip


def state_rules(settings: Settings) -> list[AlarmRule]:
    """Days left, the canary's age, and whether the watcher runs; each breaches when its number is missing."""
    prefix = settings.names.prefix
    errors = metric("AWS/Lambda", "Errors", {"FunctionName": settings.names.watcher_function})
    days: list[tuple[str, Severity, str, str, str, int]] = [
        ("certificate-warn", "warn", "certificates", "A Kafka certificate expires", "CertificateDaysLeft", _WARN_DAYS),
        ("certificate-page", "page", "certificates", "A Kafka certificate expires", "CertificateDaysLeft", _PAGE_DAYS),
        (
            "loader-key-old",
            "warn",
            "keys",
            f"{'The writer' if settings.is_direct else 'Firehose'}'s key for Snowflake is due",
            "LoaderKeyDaysLeft",
            _WARN_DAYS,
        ),
        ("setup-key-old", "warn", "keys", "The setup owner's key for Snowflake is due", "SetupKeyDaysLeft", _WARN_DAYS),
    ]
    if settings.kafka.ca_arn:
        days.append(("ca", "warn", "certificates", "The Private CA ends", "CaDaysLeft", _CA_DAYS))
    return [
        *(AlarmRule(name, severity, section, f"{about} in less than {least} days, or unknown.",
                    metric("lmdp", counted, {"service": prefix}, "Minimum", minutes=60), "<", least,
                    missing_is_bad=True)
          for name, severity, section, about, counted, least in days),
        AlarmRule("canary-old", "warn", "canary",
                  f"For {settings.watch.canary_hours} h no canary row landed, a dynamic table is late or suspended, or "
                  "Snowflake refused rows.",
                  metric("lmdp", "CanaryAgeHours", {"service": prefix}, "Maximum", minutes=60), ">",
                  settings.watch.canary_hours, missing_is_bad=True),
        AlarmRule("watcher-errors", "warn", "watcher", "The watcher fails, so nobody looks.", errors, ">", 0,
                  bad=2, periods=3),
    ]  # fmt: skip

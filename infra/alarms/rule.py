"""One alarm as data, and how it becomes one in CloudWatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

_Compare = cloudwatch.ComparisonOperator

Severity: TypeAlias = Literal["warn", "page"]
Compare: TypeAlias = Literal[">", ">=", "<"]

_OPERATOR: Mapping[Compare, cloudwatch.ComparisonOperator] = {
    ">": _Compare.GREATER_THAN_THRESHOLD,
    ">=": _Compare.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    "<": _Compare.LESS_THAN_THRESHOLD,
}


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """An alarm: `bad` of `periods` periods have to breach; `section` is a heading of docs/operations.md.

    `missing_is_bad`: no data counts as a breach, for numbers that always have to be there.
    """

    name: str
    severity: Severity
    section: str
    about: str
    metric: cloudwatch.IMetric
    compare: Compare
    threshold: float
    bad: int = 1
    periods: int = 1
    missing_is_bad: bool = False


def metric(
    namespace: str, name: str, dimensions: Mapping[str, str], statistic: str = "Sum", *, minutes: int = 5
) -> cloudwatch.Metric:
    """One metric; the period is in minutes."""
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dict(dimensions),
        statistic=statistic,
        period=cdk.Duration.minutes(minutes),
    )


def expression(text: str, label: str, **metrics: cloudwatch.IMetric) -> cloudwatch.MathExpression:
    """Metric math over 5 minutes.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    return cloudwatch.MathExpression(
        expression=text, using_metrics=metrics, label=label, period=cdk.Duration.minutes(5)
    )


def add_alarm(scope: Construct, rule: AlarmRule, *, prefix: str, topic: sns.ITopic) -> cloudwatch.Alarm:
    """Make the alarm; the topic hears when it goes off and when it is well again."""
    missing = cloudwatch.TreatMissingData
    alarm = cloudwatch.Alarm(
        scope,
        rule.name,
        alarm_name=f"{prefix}-{rule.name}",
        alarm_description=f"[{rule.severity}] {rule.about} See docs/operations.md#{rule.section}",
        metric=rule.metric,
        comparison_operator=_OPERATOR[rule.compare],
        threshold=rule.threshold,
        evaluation_periods=rule.periods,
        datapoints_to_alarm=rule.bad,
        treat_missing_data=missing.BREACHING if rule.missing_is_bad else missing.NOT_BREACHING,
    )
    alarm.add_alarm_action(actions.SnsAction(topic))
    alarm.add_ok_action(actions.SnsAction(topic))
    return alarm

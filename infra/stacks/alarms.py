"""AlarmsStack: alarms, the dashboard, the budget, and the watcher."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.alarms.containers import Balancer, container_rules
from infra.alarms.dashboard import add_dashboard
from infra.alarms.kafka import kafka_rules
from infra.alarms.path import path_rules, state_rules
from infra.alarms.rule import AlarmRule, add_alarm
from infra.assets import watcher_code
from infra.parts import allow, call_every, service_function
from infra.people import secret_arns
from infra.settings import Settings

_WATCH_MINUTES = 5
# MSK's own API reads a topic for who has these rights, whatever clients sign in with:
# https://docs.aws.amazon.com/msk/latest/developerguide/msk-topic-operations-information.html
_TOPIC_READS = (
    "kafka:DescribeTopic",
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeTopic",
    "kafka-cluster:DescribeTopicDynamicConfiguration",
)
_ACTUAL_PERCENT = 80
_FORECAST_PERCENT = 100
_BAD_STATES = (
    "CREATE_FAILED",
    "ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_FAILED",
    "DELETE_FAILED",
)


class AlarmsStack(cdk.Stack):
    """The stack of the alarms; it exposes `alarms`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        env: cdk.Environment,
        alerts: sns.ITopic,
        cluster_arn: str,
        balancer: Balancer | None,
    ) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: alarms, dashboard, budget, watcher")
        _watcher(self, settings, cluster_arn)
        rules = alarm_rules(settings, balancer)
        self.alarms = [add_alarm(self, rule, prefix=settings.names.prefix, topic=alerts) for rule in rules]
        add_dashboard(self, settings=settings, alarms=self.alarms, balancer=balancer)
        _budget(self, settings, alerts)
        _failed_deployments(self, settings, alerts)


def alarm_rules(settings: Settings, balancer: Balancer | None) -> list[AlarmRule]:
    """Every alarm."""
    containers = container_rules(settings, balancer)
    return [*kafka_rules(settings), *path_rules(settings), *state_rules(settings), *containers]


def _watcher(stack: AlarmsStack, settings: Settings, cluster_arn: str) -> None:
    names = settings.names
    loader, setup, kafka = secret_arns(settings)
    statements = [
        allow("LookAtPipe", ["pipes:DescribePipe"], [names.pipe_arn]),
        allow(
            "LookAtCertificate",
            ["secretsmanager:DescribeSecret"],
            [kafka, *(names.secret_arn(what) for what in _certificates(settings))],
        ),
        allow("LookAtKeys", ["secretsmanager:ListSecretVersionIds"], [loader, setup]),
        allow(
            "LookAtState",
            ["ssm:GetParameter"],
            [names.arn("ssm", f"parameter{one}") for one in (names.canary_parameter, names.retention_parameter)],
        ),
        allow("LookAtTopic", _TOPIC_READS, [cluster_arn, topic_arn(settings)]),
        *_authority(settings),
    ]
    function = service_function(
        stack,
        "Watcher",
        settings=settings,
        role_id="WatcherRole",
        role="watcher",
        about="Looks at pipe, secrets' dates and canary of lmdp; reads no secret",
        statements=statements,
        log="watcher",
        function_name=names.watcher_function,
        description="What has no metric of its own, every five minutes",
        code=watcher_code(),
        handler="watcher.handler",
        memory_size=256,
        timeout=cdk.Duration.seconds(60),
        retry_attempts=0,  # it looks again in five minutes
        environment=watcher_environment(settings, cluster_arn),
    )
    every = cdk.Duration.minutes(_WATCH_MINUTES)
    call_every(stack, "EveryFiveMinutes", name=f"{names.prefix}-watcher", every=every, function=function,
               retries=0, max_age=every)  # fmt: skip


def watcher_environment(settings: Settings, cluster_arn: str) -> dict[str, str]:
    """Return the watcher's environment."""
    names, delivery = settings.names, settings.delivery
    texts = {
        "LMDP_PREFIX": names.prefix,
        "LMDP_PIPE": names.pipe,
        "LMDP_KAFKA_SECRETS": ",".join(
            [settings.kafka.secret_arn or names.secret("kafka-client"), *map(names.secret, _certificates(settings))]
        ),
        "LMDP_LOADER_SECRET": delivery.loader_secret_arn or names.secret("snowflake-loader"),
        "LMDP_SETUP_SECRET": delivery.setup_secret_arn or names.secret("snowflake-setup"),
        "LMDP_CANARY_PARAMETER": names.canary_parameter,
        "LMDP_CLUSTER_ARN": cluster_arn,
        "LMDP_TOPIC": settings.kafka.topic,
        "LMDP_RETENTION_PARAMETER": names.retention_parameter,
        "LMDP_KEY_MAX_AGE_DAYS": str(settings.watch.key_days),
    }
    return texts | ({"LMDP_PRIVATE_CA": settings.kafka.ca_arn} if settings.kafka.ca_arn else {})


def _certificates(settings: Settings) -> list[str]:
    """The secrets of the services in containers that hold a certificate for Kafka."""
    return [f"kafka-{service}" for service in settings.containers.services]


def topic_arn(settings: Settings) -> str:
    """The topic's ARN: the cluster's name and UUID, which MSK gives a cluster as it makes it, and the topic's name."""
    kafka = settings.kafka
    if kafka.cluster_arn:
        return f"{kafka.cluster_arn.replace(':cluster/', ':topic/')}/{kafka.topic}"
    return settings.names.arn("kafka", f"topic/{kafka.cluster_name}/*/{kafka.topic}")


def _authority(settings: Settings) -> list[iam.PolicyStatement]:
    arn = settings.kafka.ca_arn
    return [allow("LookAtCa", ["acm-pca:DescribeCertificateAuthority"], [arn])] if arn else []


def _budget(stack: AlarmsStack, settings: Settings, alerts: sns.ITopic) -> None:
    """Cost by tag counts only from the day on which the tag `lmdp` is activated in Billing."""
    subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=alerts.topic_arn)
    budgets.CfnBudget(
        stack,
        "Budget",
        budget=budgets.CfnBudget.BudgetDataProperty(
            budget_name=settings.names.prefix,
            budget_type="COST",
            time_unit="MONTHLY",
            budget_limit=budgets.CfnBudget.SpendProperty(amount=settings.watch.budget_usd, unit="USD"),
            cost_filters={"TagKeyValue": [f"user:lmdp${settings.names.environment}"]},
        ),
        notifications_with_subscribers=[
            budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    notification_type=kind,
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[subscriber],
            )
            for kind, percent in (("ACTUAL", _ACTUAL_PERCENT), ("FORECASTED", _FORECAST_PERCENT))
        ],
    )


def _failed_deployments(stack: AlarmsStack, settings: Settings, alerts: sns.ITopic) -> None:
    """Alert on a stack that was rolled back, even if nobody watched the deployment."""
    names = settings.names
    stacks = names.arn("cloudformation", f"stack/{names.prefix}-")
    events.CfnRule(
        stack,
        "FailedDeployments",
        name=f"{names.prefix}-failed-deployments",
        description="Stacks of lmdp that failed or went back",
        event_pattern={
            "source": ["aws.cloudformation"],
            "detail-type": ["CloudFormation Stack Status Change"],
            "resources": [{"prefix": stacks}],
            "detail": {"status-details": {"status": list(_BAD_STATES)}},
        },
        targets=[events.CfnRule.TargetProperty(id="alerts", arn=alerts.topic_arn)],
    )

"""The rights of people: the operator (replay, canary, status, the pipe, logs) and the deployer (make deploy, secrets).

Each action is one that the tools call or that docs/operations.md gives; a test compares them.
"""

from __future__ import annotations

from aws_cdk import aws_iam as iam

from infra.containers import CONTAINER_SECRETS
from infra.parts import USE_KEY, allow, bucket_key_use, via
from infra.settings import Settings
from lmdp.deployment.naming import Names

# CDK's own: https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
_BOOTSTRAP_ROLES = ("deploy", "file-publishing", "lookup")
_FILL = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage", "TagResource")
# Where Firehose puts failed records.
FAILED = "snowflake-failed"


def operator_statements(settings: Settings) -> list[iam.PolicyStatement]:
    """Replay reads the error bucket and moves what it sent aside; the canary goes through Firehose."""
    names = settings.names
    return [
        allow("ListErrors", ["s3:ListBucket"], [names.error_bucket_arn]),
        allow("ReplayErrors", ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"], [f"{names.error_bucket_arn}/*"]),
        # The key's ARN is another stack's; only this bucket's objects have it in their context.
        allow("ErrorBucketKey", USE_KEY, [names.arn("kms", "key/*")], conditions=bucket_key_use(names)),
        *_replay(settings),
        # The function reads the setup owner's key with rights of its own.
        allow("SendCanary", ["lambda:InvokeFunction"], [names.arn("lambda", f"function:{names.canary_function}")]),
        *_look(names),
        *_remedies(settings),
    ]


def deployer_statements(settings: Settings) -> list[iam.PolicyStatement]:
    """Deploying is CDK's roles' work; besides, it fills the secrets, looks at them, and sends the canary."""
    names = settings.names
    roles = [names.bootstrap_role_arn(role) for role in _BOOTSTRAP_ROLES]
    filled = [*secret_arns(settings), *container_secret_arns(settings)]
    of_secrets = {**via(names, "secretsmanager"), "ArnLike": {"kms:EncryptionContext:SecretARN": filled}}
    return [
        allow("AssumeCdkRoles", ["sts:AssumeRole"], roles),
        allow("FillSecrets", [f"secretsmanager:{action}" for action in _FILL], filled),
        allow("SecretsKey", USE_KEY, [names.arn("kms", "key/*")], conditions=of_secrets),
        *([] if settings.is_direct else [allow("SendCanary", ["firehose:PutRecord"], _streams(names))]),
        *_deploy_checks(settings),
        *_look_before(settings),
        allow("ListErrors", ["s3:ListBucket"], [names.error_bucket_arn]),
        allow("ReadFailedRecords", ["s3:GetObject"], [f"{names.error_bucket_arn}/{FAILED}/*"]),
        allow("FailedRecordsKey", ["kms:Decrypt"], [names.arn("kms", "key/*")], conditions=bucket_key_use(names)),
        *_look(names),
        *_certificates(settings),
    ]


def _deploy_checks(settings: Settings) -> list[iam.PolicyStatement]:
    """Allow what make deploy looks at between its steps, and the canary and the test alarm."""
    names = settings.names
    return [
        allow("FlyCanary", ["lambda:InvokeFunction"], [names.arn("lambda", f"function:{names.canary_function}")]),
        allow("TestAlarm", ["cloudwatch:SetAlarmState"], [names.arn("cloudwatch", f"alarm:{names.prefix}-*")]),
        allow("LookAtSubscribers", ["sns:ListSubscriptionsByTopic"], [names.arn("sns", names.alerts)]),
        allow("LookAtStacks", ["cloudformation:DescribeStacks"],
              [names.arn("cloudformation", f"stack/{names.prefix}-*/*")]),
        allow("LookAtBuckets", ["s3:ListBucket"], [f"arn:{names.partition}:s3:::{names.log_bucket}"]),
        allow("NoteRetention", ["ssm:PutParameter"], [names.arn("ssm", f"parameter{names.retention_parameter}")]),
        # None of these knows a resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        allow("LookAtNetwork", ["ec2:DescribeSecurityGroups", "ec2:DescribeVpcEndpoints", "kafka:ListClustersV2"],
              ["*"]),
    ]  # fmt: skip


def _look_before(settings: Settings) -> list[iam.PolicyStatement]:
    """Allow a look at what is there, and new rules of the cluster's group, where the deployment adds them."""
    names, group = settings.names, settings.kafka.security_group
    added = [names.arn("ec2", f"security-group/{group}"), names.arn("ec2", "security-group-rule/*")]
    return [
        allow("LookAtStream", ["firehose:DescribeDeliveryStream"], _streams(names)),
        # It knows no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        allow("LookAtRules", ["ec2:DescribeSecurityGroupRules"], ["*"]),
        *([allow("AddRules", ["ec2:AuthorizeSecurityGroupIngress"], added)] if settings.kafka.make_rules else []),
    ]


def _replay(settings: Settings) -> list[iam.PolicyStatement]:
    """Allow what `lmdp replay` sends rows with: Firehose, or the direct writer's key."""
    names = settings.names
    if not settings.is_direct:
        return [allow("SendRows", ["firehose:PutRecord", "firehose:PutRecordBatch"], _streams(names))]
    loader = secret_arns(settings)[0]
    of_secret = {**via(names, "secretsmanager"), "ArnLike": {"kms:EncryptionContext:SecretARN": [loader]}}
    return [
        allow("ReadWriterKey", ["secretsmanager:GetSecretValue"], [loader]),
        allow("WriterKeysKey", ["kms:Decrypt"], [names.arn("kms", "key/*")], conditions=of_secret),
    ]


def _remedies(settings: Settings) -> list[iam.PolicyStatement]:
    """Allow what docs/operations.md gives to whoever is paged: the pipe's start and stop, and the logs."""
    names, services = settings.names, settings.containers.services
    logs = ("pipe", "function", "firehose", "canary", "setup", "watcher", "kafka", *services)
    tasks = [names.arn("ecs", f"service/{names.containers}/*")]
    return [
        allow("RunPipe", ["pipes:StartPipe", "pipes:StopPipe"], _pipes(names)),
        allow(
            "ReadLogs",
            ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
            [names.arn("logs", f"log-group:{names.log_group(what)}:*") for what in logs],
        ),
        *([allow("LookAtTasks", ["ecs:DescribeServices"], tasks)] if services else []),
    ]


def secret_arns(settings: Settings) -> list[str]:
    """The three secrets: the loader's, the setup owner's, and the Kafka client's."""
    names, delivery = settings.names, settings.delivery
    return [
        delivery.loader_secret_arn or names.secret_arn("snowflake-loader"),
        delivery.setup_secret_arn or names.secret_arn("snowflake-setup"),
        settings.kafka.secret_arn or names.secret_arn("kafka-client"),
    ]


def container_secret_arns(settings: Settings) -> list[str]:
    """The ARNs of the secrets of the services in containers."""
    return [settings.names.secret_arn(what) for what in CONTAINER_SECRETS] if settings.containers.services else []


def _look(names: Names) -> list[iam.PolicyStatement]:
    return [
        allow("LookAtPipe", ["pipes:DescribePipe"], _pipes(names)),
        # Asked by a prefix, AWS checks it on `alarm:*`: https://github.com/aws-samples/amazon-cloudwatch-auto-alarms/issues/1
        allow("LookAtAlarms", ["cloudwatch:DescribeAlarms"], [names.arn("cloudwatch", "alarm:*")]),
        allow("ReadParameters", ["ssm:GetParameter"], [names.arn("ssm", f"parameter{names.parameter('*')}")]),
        # It knows no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
        allow("LookAtMetrics", ["cloudwatch:GetMetricStatistics"], ["*"]),
    ]


def _certificates(settings: Settings) -> list[iam.PolicyStatement]:
    arn = settings.kafka.ca_arn
    actions = ["acm-pca:DescribeCertificateAuthority", "acm-pca:GetCertificate", "acm-pca:IssueCertificate"]
    return [allow("IssueCertificates", actions, [arn])] if arn else []


def _pipes(names: Names) -> list[str]:
    return _revisions(names, "pipes", f"pipe/{names.prefix}")


def _streams(names: Names) -> list[str]:
    return _revisions(names, "firehose", f"deliverystream/{names.prefix}-rows")


def _revisions(names: Names, service: str, first: str) -> list[str]:
    """Return what every revision is called: raising one is a deployment, which needs no administrator."""
    return [names.arn(service, first), names.arn(service, f"{first}-r*")]

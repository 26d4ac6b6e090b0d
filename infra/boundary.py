"""The permissions boundaries that bootstrap makes: the most that the roles of the stacks, and of CDK, may ever do.

A boundary gives nothing by itself; a test holds every statement of every role in the templates against it.
"""

from __future__ import annotations

from infra.execution import Document, Statement, allow, document
from infra.settings import Settings

_CHANGES = ("CreateChangeSet", "DeleteChangeSet", "ExecuteChangeSet", "CreateStack", "UpdateStack", "DeleteStack",
            "RollbackStack", "ContinueUpdateRollback", "UpdateTerminationProtection", "CreateStackRefactor",
            "ExecuteStackRefactor")  # fmt: skip
_INTERFACES = ("CreateNetworkInterface", "DeleteNetworkInterface", "AssignPrivateIpAddresses",
               "UnassignPrivateIpAddresses", "DescribeNetworkInterfaces", "DescribeSecurityGroups", "DescribeSubnets",
               "DescribeVpcs")  # fmt: skip
_OBJECTS = ("AbortMultipartUpload", "GetBucketLocation", "GetObject", "ListBucket", "ListBucketMultipartUploads",
            "PutObject")  # fmt: skip
_KAFKA = ("kafka:Describe*", "kafka:GetBootstrapBrokers", "kafka:List*", "kafka-cluster:Connect",
          "kafka-cluster:DescribeTopic*")  # fmt: skip
_PULL = ("GetAuthorizationToken", "BatchGetImage", "GetDownloadUrlForLayer")
_NEVER = ("iam:*", "organizations:*", "sts:AssumeRole")


def role_boundary(settings: Settings) -> Document:
    """Return the boundary of every role in the stacks: this environment's data, logs and network, and no rights."""
    names = settings.names
    prefix = names.prefix
    pipes = [names.arn("pipes", f"pipe/{pipe}") for pipe in (prefix, f"{prefix}-*")]
    return document(
        [
            *_data(settings),
            *_logs(settings),
            *_containers(settings),
            allow(["lambda:InvokeFunction"], [names.arn("lambda", f"function:{prefix}-*")]),
            allow(["pipes:DescribePipe"], pipes),
            allow(["ssm:GetParameter", "ssm:PutParameter"], [names.arn("ssm", f"parameter{names.parameter('*')}")]),
            allow([*_KAFKA, "acm-pca:DescribeCertificateAuthority"], ["*"]),
            allow([f"ec2:{action}" for action in _INTERFACES], ["*"]),
            {"Sid": "NoRights", "Effect": "Deny", "Action": [*_NEVER], "Resource": ["*"]},
        ]
    )


def _data(settings: Settings) -> list[Statement]:
    names, delivery = settings.names, settings.delivery
    errors = names.error_bucket_arn
    given = [arn for arn in (delivery.loader_secret_arn, delivery.setup_secret_arn, settings.kafka.secret_arn) if arn]
    via = [f"{service}.{names.region}.amazonaws.com" for service in ("s3", "secretsmanager")]
    return [
        allow(
            ["firehose:PutRecord", "firehose:PutRecordBatch"],
            [names.arn("firehose", f"deliverystream/{names.prefix}-*")],
        ),
        allow([f"s3:{action}" for action in _OBJECTS], [errors, f"{errors}/*"]),
        allow(
            [f"secretsmanager:{action}" for action in ("DescribeSecret", "GetSecretValue", "ListSecretVersionIds")],
            [names.arn("secretsmanager", f"secret:{names.prefix}/*"), *given],
        ),
        allow(
            ["kms:Decrypt", "kms:GenerateDataKey"],
            [names.arn("kms", "key/*")],
            {"StringEquals": {"kms:ViaService": via}},
        ),
    ]


def _containers(settings: Settings) -> list[Statement]:
    """Allow to pull an image."""
    return [allow([f"ecr:{action}" for action in _PULL], ["*"])] if settings.containers.services else []


def _logs(settings: Settings) -> list[Statement]:
    names = settings.names
    pipe, kinds = names.log_group("pipe"), ["lambda", "kinesisfirehose"]
    kinds += ["ecs"] if settings.containers.services else []
    groups = (*(f"/aws/{kind}/{names.prefix}-*" for kind in kinds), f"{pipe}:*", f"{pipe}-*")
    return [
        allow(
            ["logs:CreateLogStream", "logs:PutLogEvents"], [names.arn("logs", f"log-group:{group}") for group in groups]
        ),
        allow(["xray:PutTelemetryRecords", "xray:PutTraceSegments"], ["*"]),
    ]


def deploy_role_boundary(settings: Settings) -> Document:
    """Return the boundary of CDK's deploy role: this environment's stacks alone.

    CDK lets that role change every stack of the account, and CloudFormation changes a stack with the role that the
    stack had before, whoever asks. So it would deploy with the rights of every other CDK app:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
    """
    names = settings.names
    changes = [f"cloudformation:{action}" for action in _CHANGES]
    stacks = names.arn("cloudformation", f"stack/{names.prefix}-*/*")
    toolkit = names.arn("cloudformation", f"stack/{names.toolkit_stack}/*")
    return document(
        [
            allow(["*"], ["*"]),
            {"Sid": "NoOtherStack", "Effect": "Deny", "Action": changes, "NotResource": [stacks]},
            {"Sid": "ToolkitStays", "Effect": "Deny", "Action": changes, "Resource": [toolkit]},
        ]
    )

"""What CloudFormation may do while it deploys: the policy that bootstrap passes in the place of an administrator's.

It is held to this environment's names wherever the service lets a policy name a resource.
"""

from __future__ import annotations

from typing import Any

from infra.settings import Settings

# A managed policy has 6,144 characters at most, white space not counted:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_CHARACTERS = 6_144
_PASSED_TO = ("firehose", "lambda", "pipes")


def execution_policy(settings: Settings) -> dict[str, Any]:
    """The policy document."""
    return {
        "Version": "2012-10-17",
        "Statement": [*_named(settings), *_roles(settings), *_keys(settings), *_network(settings)],
    }


def _allow(actions: list[str], resources: list[str], condition: dict[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})


def _named(settings: Settings) -> list[dict[str, Any]]:
    """Services whose resources carry this environment's name, whole; secrets without their values."""
    names = settings.names
    prefix = names.prefix
    whole = {
        "sns": f"{prefix}-*",
        "firehose": f"deliverystream/{prefix}-*",
        "lambda": f"function:{prefix}-*",
        "pipes": f"pipe/{prefix}*",
        "events": f"rule/{prefix}-*",
    }
    buckets = [f"arn:{names.partition}:s3:::{prefix}-*"]
    secret_actions = ["CreateSecret", "DeleteSecret", "DescribeSecret", "TagResource", "UntagResource", "UpdateSecret"]
    alarms = names.arn("cloudwatch", f"alarm:{prefix}-*")
    board = names.arn("cloudwatch", f"dashboard/{prefix}", region="")
    budget = names.arn("budgets", f"budget/{prefix}", region="")
    parameters = names.arn("ssm", f"parameter{names.parameter('*')}")
    secrets = names.arn("secretsmanager", f"secret:{prefix}/*")
    assets = f"{names.assets_bucket_arn}/*"
    groups = names.arn("logs", f"log-group:*{prefix}*")
    return [
        *(_allow([f"{service}:*"], [names.arn(service, resource)]) for service, resource in whole.items()),
        _allow(["cloudwatch:*Alarm*", "cloudwatch:*TagResource", "cloudwatch:*Tags*"], [alarms]),
        _allow(["cloudwatch:*Dashboard*"], [board]),
        _allow(["budgets:ModifyBudget", "budgets:ViewBudget", "budgets:TagResource"], [budget]),
        _allow(["ssm:*Parameter*", "ssm:*TagsTo*", "ssm:ListTagsForResource"], [parameters]),
        _allow(["ssm:GetParameters"], [names.arn("ssm", f"parameter/cdk-bootstrap/{names.qualifier}/*")]),
        _allow([f"secretsmanager:{action}" for action in secret_actions], [secrets]),
        _allow(["s3:CreateBucket", "s3:DeleteBucket*", "s3:GetBucket*", "s3:PutBucket*", "s3:*Configuration"], buckets),
        _allow(["s3:GetObject*"], [assets]),
        _allow(
            ["logs:*LogGroup*", "logs:*LogStream*", "logs:*RetentionPolicy", "logs:*Tag*", "logs:*KmsKey"], [groups]
        ),
        # Vended logs and these lists know no resource.
        _allow(["logs:*LogDelivery*", "logs:*ResourcePolic*", "logs:DescribeLogGroups"], ["*"]),
    ]


def _roles(settings: Settings) -> list[dict[str, Any]]:
    """Roles and policies of this environment's name; with a boundary, no role is made without it."""
    names = settings.names
    roles, policies = names.role_arn("*"), names.policy_arn("*")
    bound = {"StringEquals": {"iam:PermissionsBoundary": settings.boundary}} if settings.boundary else None
    passed = {"StringEquals": {"iam:PassedToService": [f"{service}.amazonaws.com" for service in _PASSED_TO]}}
    return [
        _allow(["iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"], [roles], bound),
        _allow(["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:Get*", "iam:List*", "iam:*TagRole", "iam:UpdateRole*",
                "iam:UpdateAssumeRolePolicy"], [roles]),
        _allow(["iam:PassRole"], [roles], passed),
        _allow(["iam:CreatePolicy*", "iam:DeletePolicy*", "iam:Get*", "iam:List*", "iam:*TagPolicy"], [policies]),
    ]  # fmt: skip


def _keys(settings: Settings) -> list[dict[str, Any]]:
    """Keys are made with the environment's tag, and only those with it are touched."""
    names = settings.names
    keys, aliases = names.arn("kms", "key/*"), names.arn("kms", f"alias/{names.prefix}-*")
    tagged = {"StringEquals": {"aws:ResourceTag/lmdp": names.environment}}
    return [
        _allow(["kms:CreateKey"], ["*"], {"StringEquals": {"aws:RequestTag/lmdp": names.environment}}),
        # Firehose, Secrets Manager, Lambda and CloudWatch Logs look at a key, or ask for a grant, as whoever deploys.
        _allow(["kms:*Key*", "kms:PutKeyPolicy", "kms:*Rotation*", "kms:*TagResource", "kms:List*", "kms:CreateGrant",
                "kms:Decrypt", "kms:Encrypt"], [keys], tagged),
        _allow(["kms:*Alias"], [keys, aliases]),
    ]  # fmt: skip


def _network(settings: Settings) -> list[dict[str, Any]]:
    """Rules of the cluster's group; the cluster, endpoints and the topic where they are asked for."""
    names, kafka = settings.names, settings.kafka
    groups = [names.arn("ec2", f"security-group/{kafka.security_group}"), names.arn("ec2", "security-group-rule/*")]
    statements = [
        _allow(["ec2:*SecurityGroupIngress", "ec2:ModifySecurityGroupRules"], groups),
        _allow(["ec2:Describe*", "kafka:Describe*", "kafka:GetBootstrapBrokers", "kafka:List*"], ["*"]),
    ]
    if kafka.endpoints:
        made = ("CreateSecurityGroup", "DeleteSecurityGroup", "*SecurityGroupEgress", "*SecurityGroupIngress")
        actions = [f"ec2:{action}" for action in (*made, "*VpcEndpoint*", "CreateTags", "DeleteTags")]
        statements.append(_allow(actions, [names.arn("ec2", "*")]))
    if not kafka.cluster_arn:
        statements.append(_allow(["kafka:*"], [names.arn("kafka", f"*/{names.cluster}/*")]))
        # Neither knows a resource before it is made.
        statements.append(
            _allow(["kafka:CreateConfiguration", "kafka:TagResource", "iam:CreateServiceLinkedRole"], ["*"])
        )
    if kafka.make_topic:
        cluster = names.arn("kafka", f"*/{kafka.cluster_name}/*")
        statements.append(_allow(["kafka:*Topic*", "kafka-cluster:Connect", "kafka-cluster:*Topic*"], [cluster]))
    return statements

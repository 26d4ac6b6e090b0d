"""The rights of CloudFormation while it deploys: the policies that bootstrap passes instead of an administrator's.

They are limited to this environment's names and tags wherever the service lets a policy name a resource. A test
compares them with what CloudFormation's own handlers call for the resources in the templates.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from infra.settings import Settings

Document: TypeAlias = dict[str, Any]
Statement: TypeAlias = dict[str, Any]

# A managed policy has 6,144 characters at most, white space not counted, and a role has ten of them:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_CHARACTERS: Final = 6_144
MAX_POLICIES: Final = 10
_PASSED_TO: Final = ("firehose", "lambda", "pipes")
_ROLE_READS: Final = ("GetRole", "GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies", "ListRoleTags")
_ROLE_CHANGES: Final = ("DeleteRole", "DeleteRolePolicy", "TagRole", "UntagRole", "UpdateAssumeRolePolicy",
                        "UpdateRole", "UpdateRoleDescription")  # fmt: skip
_NEVER: Final = ("DeleteRolePermissionsBoundary", "CreatePolicy", "CreatePolicyVersion", "DeletePolicy",
                 "DeletePolicyVersion", "SetDefaultPolicyVersion", "TagPolicy", "UntagPolicy")  # fmt: skip
_KEY_READS: Final = ("DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus", "ListResourceTags")
_KEY_CHANGES: Final = ("DisableKey", "DisableKeyRotation", "EnableKey", "PutKeyPolicy", "RevokeGrant",
                       "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateKeyDescription")  # fmt: skip


def execution_policies(settings: Settings) -> dict[str, Document]:
    """Return the policy documents by the last part of the policies' names."""
    return {
        "cloudformation": document([*_services(settings), *_logs(settings), *_stacks(settings)]),
        "cloudformation-access": document([*_roles(settings), *_keys(settings)]),
        "cloudformation-network": document(_network(settings)),
        **({"cloudformation-containers": document(_containers(settings))} if settings.containers.services else {}),
    }


def _containers(settings: Settings) -> list[Statement]:
    """Allow clusters, services and load balancers of this environment's name."""
    names = settings.names
    prefix = names.prefix
    kinds = ("cluster/{0}-*", "service/{0}-*/*", "service-deployment/{0}-*/*", "task-definition/{0}-*:*")
    tasks = [names.arn("ecs", kind.format(prefix)) for kind in kinds]
    front = ("loadbalancer/net/{0}-*", "targetgroup/{0}-*", "listener/net/{0}-*")
    balancers = [names.arn("elasticloadbalancing", kind.format(prefix)) for kind in front]
    linked = [
        names.arn("iam", f"role/aws-service-role/{service}.amazonaws.com/*", region="")
        for service in ("ecs", "elasticloadbalancing")
    ]
    return [
        allow(["ecs:*"], tasks),
        allow(["ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition"], ["*"]),
        allow(["elasticloadbalancing:*"], balancers),
        allow(["elasticloadbalancing:Describe*"], ["*"]),
        allow(["iam:CreateServiceLinkedRole"], linked),
    ]


def document(statements: list[Statement]) -> Document:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": statements}


def policy_text(policy: Document) -> str:
    """Return a document as IAM counts it: without white space."""
    return json.dumps(policy, separators=(",", ":"))


def allow(actions: list[str], resources: list[str], condition: dict[str, Any] | None = None) -> Statement:
    """Return a statement that allows the actions."""
    statement: Statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})


def _of(service: str, actions: tuple[str, ...]) -> list[str]:
    return [f"{service}:{action}" for action in actions]


def _services(settings: Settings) -> list[Statement]:
    """Services whose resources carry this environment's name, whole; secrets without their values."""
    names = settings.names
    prefix = names.prefix
    whole = {
        "sns": [f"{prefix}-*"],
        "firehose": [f"deliverystream/{prefix}-*"],
        "lambda": [f"function:{prefix}-*"],
        "pipes": [f"pipe/{prefix}", f"pipe/{prefix}-*"],
        "events": [f"rule/{prefix}-*"],
    }
    buckets = [f"arn:{names.partition}:s3:::{prefix}-*"]
    bucket_actions = ("CreateBucket", "DeleteBucket*", "GetBucket*", "ListBucket", "ListTagsForResource", "PutBucket*",
                      "TagResource", "UntagResource", "*Configuration")  # fmt: skip
    secret_actions = ("CreateSecret", "DeleteSecret", "DescribeSecret", "TagResource", "UntagResource", "UpdateSecret")
    boards = [names.arn("cloudwatch", f"dashboard/{board}", region="") for board in (prefix, f"{prefix}-*")]
    alarms = names.arn("cloudwatch", f"alarm:{prefix}-*")
    budgets = [names.arn("budgets", f"budget/{budget}", region="") for budget in (prefix, f"{prefix}-*")]
    parameters = names.arn("ssm", f"parameter{names.parameter('*')}")
    return [
        *(
            allow([f"{service}:*"], [names.arn(service, one) for one in resources])
            for service, resources in whole.items()
        ),
        allow(["cloudwatch:*Alarm*", "cloudwatch:*Dashboard*", "cloudwatch:*Tag*"], [alarms, *boards]),
        allow(_of("budgets", ("ModifyBudget", "ViewBudget", "*Tag*")), budgets),
        allow(["billing:GetBillingViewData"], [names.arn("billing", "billingview/*", region="")]),
        allow(["ssm:*Parameter*", "ssm:*Tags*"], [parameters]),
        allow(_of("secretsmanager", secret_actions), [names.arn("secretsmanager", f"secret:{prefix}/*")]),
        allow(_of("s3", bucket_actions), buckets),
    ]


def _logs(settings: Settings) -> list[Statement]:
    names, containers = settings.names, ("ecs",) if settings.containers.services else ()
    groups = [
        *(
            f"/aws/{kind}/{names.prefix}-*"
            for kind in ("lambda", "kinesisfirehose", "vendedlogs/pipes", "vendedlogs/kafka", *containers)
        ),
        names.log_group("pipe"),
        f"{names.log_group('pipe')}:*",
    ]
    actions = ("*LogGroup*", "*LogStream*", "*RetentionPolicy", "*Tag*", "*KmsKey", "GetDataProtectionPolicy",
               "DeleteDataProtectionPolicy", *(("*MetricFilter*",) if containers else ()))  # fmt: skip
    vended = ("*LogDelivery", "ListLogDeliveries", "DescribeResourcePolicies", "PutResourcePolicy")
    return [
        allow(_of("logs", actions), [names.arn("logs", f"log-group:{group}") for group in groups]),
        # Vended logs and these lists know no resource:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-infrastructure-V2-CloudWatchLogs.html
        allow(_of("logs", (*vended, "DescribeIndexPolicies", "DescribeLogGroups")), ["*"]),
    ]


def _stacks(settings: Settings) -> list[Statement]:
    """Outputs of this environment's stacks, and CDK's own bucket and version, as CloudFormation reads them.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-getstackoutput.html
    """
    names = settings.names
    return [
        allow(["cloudformation:DescribeStacks"], [names.arn("cloudformation", f"stack/{names.prefix}-*/*")]),
        allow(["cloudformation:ListStacks"], ["*"]),
        allow(["s3:GetObject*"], [f"{names.assets_bucket_arn}/*"]),
        allow(["ssm:GetParameters"], [names.arn("ssm", f"parameter/cdk-bootstrap/{names.qualifier}/*")]),
    ]


def _roles(settings: Settings) -> list[Statement]:
    """Roles of this environment's name, all of them with the boundary; no policy, and nothing of CDK's own roles."""
    names = settings.names
    roles = [names.role_arn("*")]
    bounded = ["iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"]
    services = (*_PASSED_TO, *(("ecs-tasks",) if settings.containers.services else ()))
    passed = {"StringEquals": {"iam:PassedToService": [f"{service}.amazonaws.com" for service in services]}}
    service_linked = names.arn("iam", "role/aws-service-role/*", region="")
    return [
        allow(bounded, roles, {"StringEquals": {"iam:PermissionsBoundary": settings.boundary}}),
        allow(_of("iam", (*_ROLE_READS, *_ROLE_CHANGES)), roles),
        allow(["iam:PassRole"], roles, passed),
        {
            "Sid": "NoRoleWithoutTheBoundary",
            "Effect": "Deny",
            "Action": [*bounded, "iam:AttachRolePolicy"],
            "NotResource": [service_linked],
            "Condition": {"StringNotEquals": {"iam:PermissionsBoundary": settings.boundary}},
        },
        # The policies of bootstrap, this one among them, are an administrator's to change, and so are CDK's own roles.
        {"Sid": "BoundariesAndPoliciesStay", "Effect": "Deny", "Action": _of("iam", _NEVER), "Resource": ["*"]},
        {
            "Sid": "ToolkitStays",
            "Effect": "Deny",
            "Action": ["iam:*"],
            "Resource": [names.arn("iam", "role/cdk-*", region="")],
        },
    ]


def _keys(settings: Settings) -> list[Statement]:
    """Keys are made with the environment's tag, and only those with it are changed.

    Tagging at creation needs a right on every key of the account and Region, and a tag may take five minutes to count:
    https://docs.aws.amazon.com/kms/latest/developerguide/tag-permissions.html
    https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html
    """
    names = settings.names
    keys, aliases = names.arn("kms", "key/*"), names.arn("kms", f"alias/{names.prefix}-*")
    new, tagged = ({f"aws:{of}Tag/lmdp": names.environment} for of in ("Request", "Resource"))
    secrets = names.arn("secretsmanager", f"secret:{names.prefix}/*")
    return [
        allow(["kms:CreateKey"], ["*"], {"StringEquals": new}),
        allow(["kms:TagResource"], [keys], {"StringEquals": new, "StringEqualsIfExists": tagged}),
        allow(_of("kms", (*_KEY_READS, "EnableKeyRotation")), [keys]),
        allow(_of("kms", _KEY_CHANGES), [keys], {"StringEquals": tagged}),
        # For Firehose and MSK, which ask for grants as whoever deploys.
        allow(["kms:CreateGrant"], [keys], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
        allow(
            ["kms:Decrypt", "kms:GenerateDataKey"], [keys], {"ArnLike": {"kms:EncryptionContext:SecretARN": secrets}}
        ),
        allow(["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"], [keys, aliases]),
        allow(["kms:ListAliases"], ["*"]),
    ]


def _network(settings: Settings) -> list[Statement]:
    """Allow what only reads; the cluster, endpoints and the topic where they are asked for."""
    names, kafka = settings.names, settings.kafka
    statements = [allow(["ec2:Describe*", "kafka:Describe*", "kafka:GetBootstrapBrokers", "kafka:List*"], ["*"])]
    if kafka.endpoints or settings.containers.services:
        statements += _groups(settings)
    if not kafka.cluster_arn:
        statements += _cluster(settings)
    if kafka.make_topic:
        topics = [names.arn("kafka", f"{kind}/{kafka.cluster_name}/*") for kind in ("cluster", "topic")]
        statements.append(allow(["kafka:*Topic*", "kafka-cluster:Connect", "kafka-cluster:*Topic*"], topics))
    return statements


def _groups(settings: Settings) -> list[Statement]:
    """Security groups and endpoints are made with the environment's tag, and only those with it are changed."""
    names, kafka = settings.names, settings.kafka
    vpc = names.arn("ec2", f"vpc/{kafka.vpc_id}")
    subnets = [names.arn("ec2", f"subnet/{subnet}") for subnet in kafka.subnet_ids]
    made, kinds = ["CreateSecurityGroup"], ["security-group/*"]
    changes = ["DeleteSecurityGroup", "*SecurityGroupEgress", "*SecurityGroupIngress",
               "UpdateSecurityGroupRuleDescriptions*", "CreateTags", "DeleteTags"]  # fmt: skip
    if kafka.endpoints:
        made, kinds = [*made, "CreateVpcEndpoint"], [*kinds, "vpc-endpoint/*"]
        changes += ["CreateVpcEndpoint", "ModifyVpcEndpoint", "DeleteVpcEndpoints"]
    ours = [names.arn("ec2", kind) for kind in kinds]
    new, tagged = ({"StringEquals": {f"aws:{of}Tag/lmdp": names.environment}} for of in ("Request", "Resource"))
    return [
        allow(_of("ec2", tuple(made)), ours, new),
        allow(_of("ec2", (*made, *(("ModifyVpcEndpoint",) if kafka.endpoints else ()))), [vpc, *subnets]),
        allow(["ec2:CreateTags"], ours, {"StringEquals": {"ec2:CreateAction": made}}),
        allow(_of("ec2", tuple(changes)), ours, tagged),
        allow(["ec2:AuthorizeSecurityGroup*"], [names.arn("ec2", "security-group-rule/*")]),
        # For the endpoint's private names; the zone is the service's own.
        *([allow(["route53:AssociateVPCWithHostedZone"], ["*"])] if kafka.endpoints else []),
    ]


def _cluster(settings: Settings) -> list[Statement]:
    """The cluster, and MSK's service-linked role.

    https://docs.aws.amazon.com/msk/latest/developerguide/using-service-linked-roles.html
    """
    names, kafka = settings.names, settings.kafka
    linked = names.arn("iam", "role/aws-service-role/kafka.amazonaws.com/AWSServiceRoleForKafka*", region="")
    named = {"StringLike": {"iam:AWSServiceName": "kafka.amazonaws.com"}}
    return [
        allow(["kafka:*"], [names.arn("kafka", f"{kind}/{names.cluster}/*") for kind in ("cluster", "configuration")]),
        # It knows no resource before it is made.
        allow(["kafka:CreateConfiguration"], ["*"]),
        allow(["iam:CreateServiceLinkedRole"], [linked], named),
        allow(["iam:AttachRolePolicy", "iam:PutRolePolicy"], [linked]),
        *([allow(["acm-pca:GetCertificateAuthorityCertificate"], [kafka.ca_arn])] if kafka.ca_arn else []),
    ]

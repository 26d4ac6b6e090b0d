"""CloudFormation's role may do what the handlers of the templates' resources do, and no more than is written here."""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Sequence
from typing import Any

import pytest

from handler_permissions import LeftOut, Place, demands, refused, resource_types, unused
from policy_evaluator import Document, Request, decide
from templates import Template, listed, of_type

from .conftest import OTHER_OPTIONS, Templates, example_values

NO_SUCH_ACTION = "The schema names it, and IAM has no such action; what it stands for is allowed under IAM's name."
VENDED = "Logs go to CloudWatch Logs alone, neither to Firehose nor to S3."
LEFT_OUT = (
    LeftOut("AWS::ECS::Cluster", ("ecs:PutAccountSetting", "ecs:PutAccountSettingDefault"),
            "No setting of the account is changed."),
    LeftOut("AWS::ECS::Service", ("iam:PassRole",), "ECS has its service-linked role.", unless=("Role",)),
    LeftOut("AWS::ElasticLoadBalancingV2::Listener", ("cognito-idp:DescribeUserPoolClient",),
            "No listener signs anybody in.", unless=("DefaultActions.AuthenticateCognitoConfig",)),
    LeftOut("AWS::ElasticLoadBalancingV2::LoadBalancer", ("elasticloadbalancing:ModifyIpPools",),
            "The balancer's addresses are from no pool.", unless=("Ipv4IpamPoolId",)),
    LeftOut("AWS::Events::Rule", ("iam:PassRole",), "No target is called with a role.",
            unless=("RoleArn", "Targets.RoleArn")),
    LeftOut("AWS::IAM::Role", ("iam:AttachRolePolicy", "iam:DetachRolePolicy"), "Roles have inline policies alone.",
            unless=("ManagedPolicyArns",)),
    LeftOut("AWS::IAM::Role", ("iam:DeleteRolePermissionsBoundary",),
            "Every role keeps a boundary; another one takes its place in one call."),
    LeftOut("AWS::KMS::Key", ("kms:PutKeyPolicy",),
            "CreateKey itself takes the policy; on keys that are there it needs the environment's tag.",
            handlers=("create",)),
    LeftOut("AWS::KMS::Key", ("kms:DisableKey",), "No key is made disabled.", unless=("Enabled",),
            handlers=("create",)),
    LeftOut("AWS::Lambda::Function", ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"),
            "The functions' variables hold no secret and are encrypted with Lambda's own key.",
            unless=("KmsKeyArn", "Code.SourceKMSKeyArn")),
    LeftOut("AWS::Lambda::Function", ("elasticfilesystem:DescribeMountTargets", "s3files:ListMountTargets"),
            "No function mounts a file system.", unless=("FileSystemConfigs",)),
    LeftOut("AWS::Lambda::Function", ("lambda:GetCodeSigningConfig",), "The code is not signed by AWS Signer.",
            unless=("CodeSigningConfigArn",)),
    LeftOut("AWS::Lambda::Function", ("lambda:GetLayerVersion",), "No function has a layer.", unless=("Layers",)),
    LeftOut("AWS::Lambda::Function", ("lambda:PassCapacityProvider",), "No function runs on instances of one's own.",
            unless=("CapacityProviderConfig",)),
    LeftOut("AWS::Lambda::Function", ("lambda:AssociateRuntimeAlias",), NO_SUCH_ACTION),
    LeftOut("AWS::Logs::LogGroup", ("firehose:TagDeliveryStream", "s3:REST.PUT.OBJECT"), VENDED),
    LeftOut("AWS::Logs::LogGroup", ("logs:PutBearerTokenAuthentication",), "Nobody writes logs with a bearer token.",
            unless=("BearerTokenAuthenticationEnabled",)),
    LeftOut("AWS::Logs::LogGroup", ("logs:PutDataProtectionPolicy",), "Logs hold no payload that would be masked.",
            unless=("DataProtectionPolicy",)),
    LeftOut("AWS::Logs::LogGroup", ("logs:PutIndexPolicy", "logs:DeleteIndexPolicy"), "No field is indexed.",
            unless=("FieldIndexPolicies",)),
    LeftOut("AWS::Logs::LogGroup", ("logs:DeleteResourcePolicy",), "No log group has a policy of its own.",
            unless=("ResourcePolicyDocument",)),
    LeftOut("AWS::MSK::Cluster", ("firehose:TagDeliveryStream",), VENDED, unless=("LoggingInfo.BrokerLogs.Firehose",)),
    LeftOut("AWS::MSK::Cluster", ("s3:GetBucketPolicy", "s3:PutBucketPolicy"), VENDED,
            unless=("LoggingInfo.BrokerLogs.S3",)),
    LeftOut("AWS::MSK::Cluster", ("ec2:CreateTags",), "The cluster has no multi-VPC connectivity.",
            unless=("BrokerNodeGroupInfo.ConnectivityInfo",)),
    LeftOut("AWS::Pipes::Pipe", ("firehose:TagDeliveryStream", "iam:CreateServiceLinkedRole"), VENDED,
            unless=("LogConfiguration.FirehoseLogDestination",)),
    LeftOut("AWS::Pipes::Pipe", ("s3:GetBucketPolicy", "s3:PutBucketPolicy"), VENDED,
            unless=("LogConfiguration.S3LogDestination",)),
    LeftOut("AWS::Pipes::Pipe", ("kms:Decrypt", "kms:GenerateDataKey"),
            "The pipe's definition holds no secret and is encrypted with EventBridge's own key.",
            unless=("KmsKeyIdentifier",)),
    LeftOut("AWS::S3::Bucket", ("iam:PassRole",), "No bucket is replicated.", unless=("ReplicationConfiguration",)),
    LeftOut("AWS::S3::Bucket", ("s3tables:*",), "No bucket has a table of its metadata.",
            unless=("MetadataTableConfiguration", "MetadataConfiguration")),
    LeftOut("AWS::S3::Bucket", ("s3:DeleteObject", "s3:PutObjectAcl"),
            "CloudFormation touches no object: buckets outlive their stack, and ACLs are disabled."),
    LeftOut("AWS::S3::Bucket",
            ("s3:DeleteBucketAnalyticsConfiguration", "s3:DeleteBucketCors", "s3:DeleteBucketEncryption",
             "s3:DeleteBucketLifecycle", "s3:DeleteBucketMetricsConfiguration", "s3:DeleteBucketReplication",
             "s3:PutBucketReplication", "s3:PutObjectLockConfiguration"), NO_SUCH_ACTION),
    LeftOut("AWS::EC2::VPCEndpoint", ("vpc-lattice:*",), "No endpoint leads to a service network.",
            unless=("ServiceNetworkArn",)),
    LeftOut("AWS::EC2::VPCEndpoint", ("vpce:AllowMultiRegion",), "Every endpoint is for a service of its own Region.",
            unless=("ServiceRegion",)),
    LeftOut("AWS::SNS::Subscription", ("iam:PassRole", "iam:GetRole"), "Nobody subscribes a Firehose stream.",
            unless=("SubscriptionRoleArn",)),
    LeftOut("AWS::SNS::Topic", ("iam:PassRole", "iam:GetRole"), "The delivery of an alarm is not logged.",
            unless=("DeliveryStatusLogging",)),
    LeftOut("AWS::SecretsManager::Secret", ("secretsmanager:GetSecretValue",),
            "Secrets are made without a value, and CloudFormation reads none.", unless=("SecretString",)),
    LeftOut("AWS::SecretsManager::Secret", ("secretsmanager:GetRandomPassword",), "No secret's value is generated.",
            unless=("GenerateSecretString",)),
    LeftOut("AWS::SecretsManager::Secret",
            ("secretsmanager:ReplicateSecretToRegions", "secretsmanager:RemoveRegionsFromReplication"),
            "No secret is replicated.", unless=("ReplicaRegions",)),
)  # fmt: skip


def settings(**changed: str) -> Any:
    """The example's settings."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are

    return Settings.read("example", {**example_values(), **changed})


def policies(given: Any) -> list[Document]:
    """The documents that CloudFormation's role gets."""
    from infra.execution import execution_policies  # noqa: PLC0415 - as above

    return list(execution_policies(given).values())


def place(given: Any) -> Place:
    """Where these settings deploy to."""
    names = given.names
    return Place(names.account, names.region, names.qualifier, names.environment, names.prefix, names.iam_path)


def _refused(
    templates: Templates, given: Any, documents: Sequence[Document], left_out: Sequence[LeftOut] = LEFT_OUT
) -> list[str]:
    return sorted(
        {one for template in templates.values() for one in refused(template, place(given), documents, left_out)}
    )


def test_the_example_can_be_deployed(example: Templates) -> None:
    """Every call of every handler that is not left out for a reason is allowed, on that resource."""
    assert _refused(example, settings(), policies(settings())) == []


def test_every_option_can_be_deployed(full: Templates) -> None:
    """The same with a cluster, a topic, endpoints and secrets that are there."""
    given = settings(**OTHER_OPTIONS)
    assert _refused(full, given, policies(given)) == []


def test_nothing_is_left_out_in_vain(example: Templates, full: Templates) -> None:
    """Each entry of the list leaves out what would be refused; each reason is a sentence."""
    templates = [*example.values(), *full.values()]
    assert unused(templates, place(settings()), policies(settings(**OTHER_OPTIONS)), LEFT_OUT) == []
    assert all(one.reason.endswith(".") and len(one.reason) >= 20 for one in LEFT_OUT)


def _without(documents: Sequence[Document], action: str) -> list[Document]:
    """The documents without an action, as it stands in the statements that allow it."""
    return [
        {
            **document,
            "Statement": [
                one
                if one["Effect"] == "Deny"
                else {**one, "Action": [name for name in one["Action"] if name != action]}
                for one in document["Statement"]
            ],
        }
        for document in documents
    ]


# What CloudFormation needs beside the handlers' own list.
BESIDE = {
    "kms:Decrypt": "Secrets Manager asks for it when a secret with a key of one's own is made.",
    "kms:GenerateDataKey": "As above.",
    "route53:AssociateVPCWithHostedZone": "EC2 asks for it when an endpoint has private names.",
    "kafka:GetBootstrapBrokers": "Pipes may look for the brokers as whoever makes the pipe.",
    "kafka:List*": "As above, and drift detection lists.",
    "kafka:*Topic*": "MSK calls it for a topic; the schema names the data plane's actions alone.",
    "iam:ListRoleTags": "The schema's tagging part names it.",
    "kafka:CreateConfiguration": "Editions of the IAM reference differ on whether it knows a resource.",
}


@pytest.mark.parametrize(
    ("action", "missing"),
    [
        ("cloudformation:DescribeStacks", "Fn::GetStackOutput read: cloudformation:DescribeStacks on "),
        ("kms:EnableKeyRotation", "AWS::KMS::Key create: kms:EnableKeyRotation on "),
        (
            "s3:ListBucket",
            "AWS::S3::Bucket read: s3:ListBucket on arn:aws:s3:::lmdp-example-errors-000000000000-us-east-1",
        ),
        ("logs:ListLogDeliveries", "AWS::Pipes::Pipe create: logs:ListLogDeliveries on *"),
        (
            "iam:PassRole",
            "AWS::Lambda::Function create: iam:PassRole on arn:aws:iam::000000000000:role/lmdp-example-rows",
        ),
    ],
)
def test_an_action_that_is_missing_is_found(example: Templates, action: str, missing: str) -> None:
    """The comparison fails when an action is taken out of the policies, and names who needs it."""
    found = _refused(example, settings(), _without(policies(settings()), action))
    assert [one for one in found if one.startswith(missing)], found


def test_every_action_is_needed(example: Templates, full: Templates) -> None:
    """Without any one of its actions something could not be deployed, apart from those listed with a reason."""
    cases = [(example, settings()), (full, settings(**OTHER_OPTIONS))]
    needed: set[str] = set()
    allowed: set[str] = set()
    for templates, given in cases:
        documents = policies(given)
        calls = [one.request for template in templates.values() for one in demands(template, place(given), LEFT_OUT)]
        names = {name for document in documents for name in _allowed(document)}
        needed |= {name for name in names if _breaks(name, calls, documents)}
        allowed |= names
    assert allowed - needed == set(BESIDE)


def _allowed(document: Document) -> list[str]:
    return [name for one in document["Statement"] if one["Effect"] == "Allow" for name in one["Action"]]


def _breaks(name: str, calls: Sequence[Request], documents: Sequence[Document]) -> bool:
    """Whether a call that the action's pattern covers is refused without it."""
    covered = {
        (one.action, one.resource, str(one.context)): one
        for one in calls
        if fnmatch.fnmatchcase(one.action.lower(), name.lower())
    }
    less = _without(documents, name)
    return any(decide(one, less) != "allow" for one in covered.values())


@pytest.mark.parametrize(
    ("resource", "missing"),
    [
        (
            {"Type": "AWS::SQS::Queue", "Properties": {}},
            "AWS::SQS::Queue create: sqs:CreateQueue on sqs: which of queue?",
        ),
        (
            {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"ManagedPolicyName": "lmdp-example-x"}},
            "AWS::IAM::ManagedPolicy create: iam:CreatePolicy on iam: which of policy?",
        ),
        (
            {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "somebody-elses"}},
            "AWS::SNS::Topic create: sns:CreateTopic on arn:aws:sns:us-east-1:000000000000:somebody-elses",
        ),
        (
            {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "lmdp-example-x"}},
            "AWS::IAM::Role create: iam:CreateRole on arn:aws:iam::000000000000:role/lmdp-example-x",
        ),
        (
            {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": "lmdp-example-x",
                    "PermissionsBoundary": "arn:aws:iam::000000000000:policy/lmdp-example-boundary",
                    "ManagedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
                },
            },
            "AWS::IAM::Role create: iam:AttachRolePolicy on arn:aws:iam::000000000000:role/lmdp-example-x",
        ),
        (
            {"Type": "AWS::KMS::Key", "Properties": {}},
            "AWS::KMS::Key create: kms:CreateKey on *",
        ),
    ],
    ids=["new type", "policy", "foreign name", "role without boundary", "managed policy", "untagged key"],
)
def test_a_resource_that_cannot_be_made_is_found(example: Templates, resource: dict[str, Any], missing: str) -> None:
    """The comparison fails for a resource whose actions, name, tag, boundary or properties are not allowed."""
    changed = copy.deepcopy(example["base"])
    changed["Resources"]["Added"] = resource
    found = _refused({"base": changed}, settings(), policies(settings()))
    assert [one for one in found if one.startswith(missing)], found


def test_what_knows_no_resource_is_allowed_on_a_star(example: Templates, full: Templates) -> None:
    """An action without a resource type is refused wherever a policy names a resource, so no policy does."""
    documents = [
        *_bootstrap(settings()),
        *_bootstrap(settings(**OTHER_OPTIONS)),
        *_inline([*example.values(), *full.values()]),
    ]
    wrong = {
        (action, str(statement["Resource"]))
        for document in documents
        for statement in listed(document["Statement"])
        for action in listed(statement["Action"])
        if "*" not in action and not resource_types(action) and "*" not in listed(statement.get("Resource", "*"))
    }
    assert wrong == set()


def test_no_policy_has_a_wildcard_for_a_resource_type(example: Templates, full: Templates) -> None:
    """IAM matches no wildcard in the place of `cluster` in `arn:aws:kafka:…:cluster/name/uuid`.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html#arns-paths-wildcards
    """
    documents = [
        *_bootstrap(settings()),
        *_bootstrap(settings(**OTHER_OPTIONS)),
        *_inline([*example.values(), *full.values()]),
    ]
    patterns = {
        one
        for document in documents
        for statement in listed(document["Statement"])
        for one in listed(statement.get("Resource", statement.get("NotResource")))
        if isinstance(one, str) and one != "*"
    }
    types = {
        re.split("[/:]", one.split(":", 5)[5])[0]: one for one in patterns if re.search("[/:]", one.split(":", 5)[5])
    }
    assert len(types) > 15
    assert {kind: one for kind, one in types.items() if re.search("[*?]", kind) and ":s3:::" not in one} == {}


def _bootstrap(given: Any) -> list[Document]:
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - as above

    return [policy.document for policy in bootstrap_policies(given)]


def _inline(templates: Sequence[Template]) -> list[Document]:
    return [
        policy["PolicyDocument"]
        for template in templates
        for role in of_type(template, "AWS::IAM::Role")
        for policy in role["Properties"].get("Policies", [])
    ]


LONG = {
    "LMDP_ROLE_NAME_PREFIX": "a-prefix-of-24-character",
    "LMDP_IAM_PATH": "/an-organisation/its-department/its-team/",
    "LMDP_SUBNET_IDS": ",".join(f"subnet-{number:017d}" for number in range(3)),
}


@pytest.mark.parametrize("changed", [{}, OTHER_OPTIONS, {**OTHER_OPTIONS, **LONG}], ids=["example", "full", "long"])
def test_policies_fit_into_iams_limits(changed: dict[str, str]) -> None:
    """6,144 characters a policy, ten policies a role."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - as above
    from infra.execution import MAX_CHARACTERS, MAX_POLICIES, policy_text  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    given = Settings.read("abcdefghijkl" if "LMDP_IAM_PATH" in changed else "example", {**example_values(), **changed})
    sizes = {policy.what: len(policy_text(policy.document)) for policy in bootstrap_policies(given)}
    assert {what: size for what, size in sizes.items() if size > MAX_CHARACTERS} == {}
    assert len(policies(given)) <= MAX_POLICIES

"""Who may do what: every statement of every role, key and managed policy, as a reviewer would list them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from templates import of_type, only, role_statements, statements

from .conftest import UUID, Templates

A = "arn:aws"
HERE = "us-east-1:000000000000"
BUCKET = "arn:aws:s3:::lmdp-example-errors-000000000000-us-east-1"
SECRETS = " ".join(
    f"arn:aws:secretsmanager:{HERE}:secret:lmdp-example/{what}-??????"
    for what in ("kafka-client", "snowflake-loader", "snowflake-setup")
)
S3_KEY = "when kms:EncryptionContext:aws:s3:arn kms:ViaService"
TRACE = "Trace Allow: xray:PutTelemetryRecords xray:PutTraceSegments on *"
ROOT = 'Allow: kms:* on * by {"AWS": "arn:aws:iam::000000000000:root"}'


def _logs(group: str, actions: str = "logs:CreateLogStream logs:PutLogEvents") -> str:
    return f"WriteLogs Allow: {actions} on arn:aws:logs:{HERE}:log-group:{group}:*"


ROLES = {
    ("pipe", "lmdp-example-rows"): [
        f"SendRows Allow: firehose:PutRecordBatch on arn:aws:firehose:{HERE}:deliverystream/lmdp-example-rows",
        f"WriteRejects Allow: s3:PutObject on {BUCKET}/rejects/*",
        f"RejectsKey Allow: kms:Decrypt kms:GenerateDataKey on <storage:DataKey> {S3_KEY}",
        _logs("/aws/lambda/lmdp-example-rows"),
        TRACE,
    ],
    ("pipe", "lmdp-example-pipe"): [
        ("FindCluster Allow: kafka:DescribeClusterV2 on "
        f"arn:aws:kafka:{HERE}:cluster/example/00000000-0000-0000-0000-000000000000-1"),
        "ReadSecret Allow: secretsmanager:GetSecretValue on <auth:KafkaClient>",
        f"MakeInterfaces Allow: ec2:CreateNetworkInterface on arn:aws:ec2:{HERE}:network-interface/* "
        f"arn:aws:ec2:{HERE}:security-group/sg-00000000000000000 "
        + " ".join(f"arn:aws:ec2:{HERE}:subnet/subnet-0000000000000000{number}" for number in (1, 2, 3)),
        f"RemoveInterfaces Allow: ec2:DeleteNetworkInterface on arn:aws:ec2:{HERE}:network-interface/* when ec2:Vpc",
        ("LookAtNetwork Allow: ec2:DescribeNetworkInterfaces ec2:DescribeSecurityGroups ec2:DescribeSubnets "
        "ec2:DescribeVpcs kafka:GetBootstrapBrokers on *"),
        "CallFunction Allow: lambda:InvokeFunction on <AWS::Lambda::Function>",
        _logs("/aws/vendedlogs/pipes/lmdp-example"),
        "SecretKey Allow: kms:Decrypt on <auth:Key> when kms:ViaService",
    ],
    ("snowflake-setup", "lmdp-example-snowflake-setup"): [
        "ReadSecret Allow: secretsmanager:GetSecretValue on <snowflake-auth:Setup>",
        "SecretKey Allow: kms:Decrypt on <snowflake-auth:Key> when kms:ViaService",
        _logs("/aws/lambda/lmdp-example-snowflake-setup"),
        TRACE,
    ],
    ("delivery", "lmdp-example-firehose"): [
        f"BackupBucket Allow: s3:GetBucketLocation s3:ListBucket s3:ListBucketMultipartUploads on {BUCKET}",
        f"BackupObjects Allow: s3:AbortMultipartUpload s3:GetObject s3:PutObject on {BUCKET}/*",
        f"BackupKey Allow: kms:Decrypt kms:GenerateDataKey on <storage:DataKey> {S3_KEY}",
        "ReadSecret Allow: secretsmanager:GetSecretValue on <snowflake-auth:Loader>",
        _logs("/aws/kinesisfirehose/lmdp-example-rows", "logs:PutLogEvents"),
        "SecretKey Allow: kms:Decrypt on <snowflake-auth:Key> when kms:ViaService",
    ],
    ("delivery", "lmdp-example-canary"): [
        f"SendCanary Allow: firehose:PutRecord on arn:aws:firehose:{HERE}:deliverystream/lmdp-example-rows",
        "ReadSecret Allow: secretsmanager:GetSecretValue on <snowflake-auth:Setup>",
        f"ListErrors Allow: s3:ListBucket on {BUCKET}",
        f"ReadFailedRecords Allow: s3:GetObject on {BUCKET}/snowflake-failed/*",
        f"FailedRecordsKey Allow: kms:Decrypt on <storage:DataKey> {S3_KEY}",
        f"NoteCanary Allow: ssm:PutParameter on arn:aws:ssm:{HERE}:parameter/lmdp/example/state/canary-landed",
        "SecretKey Allow: kms:Decrypt on <snowflake-auth:Key> when kms:ViaService",
        _logs("/aws/lambda/lmdp-example-canary"),
        TRACE,
    ],
    ("alarms", "lmdp-example-watcher"): [
        f"LookAtPipe Allow: pipes:DescribePipe on arn:aws:pipes:{HERE}:pipe/lmdp-example",
        f"LookAtCertificate Allow: secretsmanager:DescribeSecret on {SECRETS.split()[0]}",
        f"LookAtKeys Allow: secretsmanager:ListSecretVersionIds on {' '.join(SECRETS.split()[1:])}",
        (f"LookAtState Allow: ssm:GetParameter on arn:aws:ssm:{HERE}:parameter/lmdp/example/state/canary-landed "
        f"arn:aws:ssm:{HERE}:parameter/lmdp/example/state/topic-retention-hours"),
        ("LookAtTopic Allow: kafka-cluster:Connect kafka-cluster:DescribeTopic "
        "kafka-cluster:DescribeTopicDynamicConfiguration kafka:DescribeTopic on "
        f"arn:aws:kafka:{HERE}:cluster/example/{UUID}-1 arn:aws:kafka:{HERE}:topic/example/{UUID}-1/lm.metrics.otlp"),
        _logs("/aws/lambda/lmdp-example-watcher"),
        TRACE,
    ],
}  # fmt: skip

PIPES = f"arn:aws:pipes:{HERE}:pipe/lmdp-example arn:aws:pipes:{HERE}:pipe/lmdp-example-r*"
LOG_GROUPS = " ".join(
    f"arn:aws:logs:{HERE}:log-group:/aws/{group}:*"
    for group in (
        "kinesisfirehose/lmdp-example-rows",
        "lambda/lmdp-example-canary",
        "lambda/lmdp-example-rows",
        "lambda/lmdp-example-snowflake-setup",
        "lambda/lmdp-example-watcher",
        "vendedlogs/kafka/lmdp-example-kafka",
        "vendedlogs/pipes/lmdp-example",
    )
)
LOOK = [
    f"LookAtPipe Allow: pipes:DescribePipe on {PIPES}",
    f"LookAtAlarms Allow: cloudwatch:DescribeAlarms on arn:aws:cloudwatch:{HERE}:alarm:*",
    f"ReadParameters Allow: ssm:GetParameter on arn:aws:ssm:{HERE}:parameter/lmdp/example/*",
    "LookAtMetrics Allow: cloudwatch:GetMetricStatistics on *",
]  # fmt: skip
STREAMS = " ".join(f"arn:aws:firehose:{HERE}:deliverystream/lmdp-example-rows{which}" for which in ("", "-r*"))
PEOPLE = {
    "lmdp-example-LmdpOperator": [
        f"ListErrors Allow: s3:ListBucket on {BUCKET}",
        f"ReplayErrors Allow: s3:DeleteObject s3:GetObject s3:PutObject on {BUCKET}/*",
        f"ErrorBucketKey Allow: kms:Decrypt kms:GenerateDataKey on arn:aws:kms:{HERE}:key/* {S3_KEY}",
        f"SendRows Allow: firehose:PutRecord firehose:PutRecordBatch on {STREAMS}",
        f"SendCanary Allow: lambda:InvokeFunction on arn:aws:lambda:{HERE}:function:lmdp-example-canary",
        *LOOK,
        f"RunPipe Allow: pipes:StartPipe pipes:StopPipe on {PIPES}",
        f"ReadLogs Allow: logs:DescribeLogStreams logs:FilterLogEvents logs:GetLogEvents on {LOG_GROUPS}",
    ],
    "lmdp-example-LmdpDeployer": [
        "AssumeCdkRoles Allow: sts:AssumeRole on "
        + " ".join(
            f"arn:aws:iam::000000000000:role/cdk-lmexample-{role}-role-000000000000-us-east-1"
            for role in ("deploy", "file-publishing", "lookup")
        ),
        ("FillSecrets Allow: secretsmanager:DescribeSecret secretsmanager:GetSecretValue secretsmanager:PutSecretValue "
        f"secretsmanager:TagResource secretsmanager:UpdateSecretVersionStage on {SECRETS}"),
        (f"SecretsKey Allow: kms:Decrypt kms:GenerateDataKey on arn:aws:kms:{HERE}:key/* "
        "when kms:EncryptionContext:SecretARN kms:ViaService"),
        f"SendCanary Allow: firehose:PutRecord on {STREAMS}",
        f"FlyCanary Allow: lambda:InvokeFunction on arn:aws:lambda:{HERE}:function:lmdp-example-canary",
        f"TestAlarm Allow: cloudwatch:SetAlarmState on arn:aws:cloudwatch:{HERE}:alarm:lmdp-example-*",
        f"LookAtSubscribers Allow: sns:ListSubscriptionsByTopic on arn:aws:sns:{HERE}:lmdp-example-alerts",
        f"LookAtStacks Allow: cloudformation:DescribeStacks on arn:aws:cloudformation:{HERE}:stack/lmdp-example-*/*",
        "LookAtBuckets Allow: s3:ListBucket on arn:aws:s3:::lmdp-example-access-logs-000000000000-us-east-1",
        ("NoteRetention Allow: ssm:PutParameter on "
        f"arn:aws:ssm:{HERE}:parameter/lmdp/example/state/topic-retention-hours"),
        "LookAtNetwork Allow: ec2:DescribeSecurityGroups ec2:DescribeVpcEndpoints kafka:ListClustersV2 on *",
        f"LookAtStream Allow: firehose:DescribeDeliveryStream on {STREAMS}",
        "LookAtRules Allow: ec2:DescribeSecurityGroupRules on *",
        f"ListErrors Allow: s3:ListBucket on {BUCKET}",
        f"ReadFailedRecords Allow: s3:GetObject on {BUCKET}/snowflake-failed/*",
        f"FailedRecordsKey Allow: kms:Decrypt on arn:aws:kms:{HERE}:key/* {S3_KEY}",
        *LOOK,
    ],
}  # fmt: skip


@pytest.mark.parametrize("where", ROLES)
def test_each_role_may_do_this_and_nothing_else(example: Templates, where: tuple[str, str]) -> None:
    """Every statement of the role, whole; no managed policy beside them."""
    stack, role = where
    assert role_statements(example[stack], role) == ROLES[where]


def test_there_is_no_other_role(example: Templates) -> None:
    """The list above has every role of every stack, and no policy hangs on one from outside."""
    found = {
        (stack, role["Properties"]["RoleName"])
        for stack, template in example.items()
        for role in of_type(template, "AWS::IAM::Role")
    }
    assert found == set(ROLES)
    assert [template for template in example.values() if of_type(template, "AWS::IAM::Policy")] == []


@pytest.mark.parametrize("policy", PEOPLE)
def test_people_may_do_this_and_nothing_else(policy: str) -> None:
    """Both policies that bootstrap makes for people, whole; no stack makes one, so no deployment changes them."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - only where the infrastructure's packages are

    from .test_execution import settings  # noqa: PLC0415 - as above

    made = {settings().names.policy(one.what): one.document for one in bootstrap_policies(settings())}
    assert statements(made[policy], {}) == PEOPLE[policy]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"LMDP_PIPE_REVISION": "2"}, []),
        ({"LMDP_STREAM_REVISION": "2"}, []),
        ({"LMDP_CONSUMER_GROUP": "other-group"}, []),
        ({"LMDP_TOPIC": "other.topic"}, []),
        ({"LMDP_BATCH_SIZE": "50"}, []),
        ({"LMDP_CLUSTER_RULES": "true"}, ["LmdpDeployer"]),
        ({"LMDP_TOPIC_CREATE": "true"}, ["cloudformation-network"]),
        ({"LMDP_IAM_PATH": "/team/"}, ["cloudformation-access"]),
    ],
)
def test_which_settings_ask_for_bootstrap_again(changed: dict[str, str], again: list[str]) -> None:
    """Those that docs/deploy.md lists change a policy of bootstrap; others, revisions among them, change none."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - only where the infrastructure's packages are

    from .test_execution import settings  # noqa: PLC0415 - as above

    # The names of policies have the path; their documents are compared.
    before, after = (
        {one.what: one.document for one in bootstrap_policies(settings(**given))}
        for given in ({"LMDP_CLUSTER_RULES": ""}, {"LMDP_CLUSTER_RULES": "", **changed})
    )
    assert sorted(what for what in after if after[what] != before[what]) == again
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")
    (listed,) = re.findall(r"setting that needs other\s+rights: (.*?)\. A new revision", page, re.DOTALL)
    assert all((f"`{name}`" in listed) is bool(again) for name in changed)


def test_who_assumes_a_role_acts_for_this_account(example: Templates) -> None:
    """Services that say for whom they act are asked; Lambda does not say."""
    told = {
        role["Properties"]["RoleName"]: statements(role["Properties"]["AssumeRolePolicyDocument"], template)
        for template in example.values()
        for role in of_type(template, "AWS::IAM::Role")
    }
    by_lambda = ['Allow: sts:AssumeRole on  by {"Service": "lambda.amazonaws.com"}']
    assert told == {
        "lmdp-example-rows": by_lambda,
        "lmdp-example-snowflake-setup": by_lambda,
        "lmdp-example-canary": by_lambda,
        "lmdp-example-watcher": by_lambda,
        "lmdp-example-pipe": [
            'Allow: sts:AssumeRole on  by {"Service": "pipes.amazonaws.com"} when aws:SourceAccount aws:SourceArn'
        ],
        "lmdp-example-firehose": [
            'Allow: sts:AssumeRole on  by {"Service": "firehose.amazonaws.com"} when sts:ExternalId'
        ],
    }


def _alerts_key(example: Templates) -> dict[str, Any]:
    topic = only(example["base"], "AWS::SNS::Topic", TopicName="lmdp-example-alerts")
    key = topic["Properties"]["KmsMasterKeyId"]["Fn::GetAtt"][0]
    policy: dict[str, Any] = example["base"]["Resources"][key]["Properties"]["KeyPolicy"]
    return policy


@pytest.mark.parametrize(
    ("service", "conditions"),
    [
        (
            "cloudwatch",
            {
                "StringEquals": {"aws:SourceAccount": "000000000000"},
                "ArnLike": {"aws:SourceArn": f"arn:aws:cloudwatch:{HERE}:alarm:*"},
            },
        ),
        (
            "budgets",
            {
                "StringEquals": {"aws:SourceAccount": "000000000000"},
                "ArnLike": {"aws:SourceArn": "arn:aws:budgets::000000000000:*"},
            },
        ),
        ("events", None),
    ],
)
def test_the_alerts_key_lets_each_sender_use_it(
    example: Templates, service: str, conditions: dict[str, Any] | None
) -> None:
    """Each sender alone: it may decrypt and make data keys; EventBridge sends no condition keys, so it has none."""
    found = [
        statement
        for statement in _alerts_key(example)["Statement"]
        if statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    ]
    assert [(sorted(one["Action"]), one["Effect"], one.get("Condition")) for one in found] == [
        (["kms:Decrypt", "kms:GenerateDataKey*"], "Allow", conditions)
    ]


def test_keys_know_the_account_and_those_services(example: Templates) -> None:
    """Every other statement of every key policy is the account's own."""
    others = {
        (stack, told)
        for stack, template in example.items()
        for key in of_type(template, "AWS::KMS::Key")
        for told in statements(key["Properties"]["KeyPolicy"], template)
        if told != ROOT and not told.startswith(("Alarms ", "Budgets ", "Events "))
    }
    assert others == {
        (
            "base",
            (
                "LogGroupsOfThisEnvironment Allow: kms:Decrypt* kms:Describe* kms:Encrypt* kms:GenerateDataKey* "
                'kms:ReEncrypt* on * by {"Service": "logs.us-east-1.amazonaws.com"} '
                "when kms:EncryptionContext:aws:logs:arn"
            ),
        )
    }


def test_only_its_reader_reads_a_secret(example: Templates) -> None:
    """Firehose reads the loader's, setup and canary the owner's, the pipe its certificate; no other role any."""
    readers = {
        (role, told.rpartition(" on ")[2])
        for (_, role), listed in ROLES.items()
        for told in listed
        if "secretsmanager:GetSecretValue" in told
    }
    assert readers == {
        ("lmdp-example-firehose", "<snowflake-auth:Loader>"),
        ("lmdp-example-snowflake-setup", "<snowflake-auth:Setup>"),
        ("lmdp-example-canary", "<snowflake-auth:Setup>"),
        ("lmdp-example-pipe", "<auth:KafkaClient>"),
    }
    assert example

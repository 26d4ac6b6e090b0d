"""What each stack makes, in the order of the stacks, matched by type and property."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lmdp.deployment.naming import STACKS
from policy_evaluator import Request, decide
from templates import of_type, only, props, statements, text

from .conftest import OTHER_OPTIONS, ROOT, Templates, example_values, synthesised

HERE = "us-east-1:000000000000"


def _every(templates: Templates, kind: str) -> list[dict[str, Any]]:
    return [resource for template in templates.values() for resource in of_type(template, kind)]


def test_nine_templates_stand_directly_under_the_app(example: Templates, example_folder: Path) -> None:
    """The assembly has nine stacks and no nested one."""
    assert tuple(example) == STACKS
    assert len(list(example_folder.glob("*.template.json"))) == 9
    assert _every(example, "AWS::CloudFormation::Stack") == []


def test_what_a_stack_takes_from_another_is_there(example: Templates) -> None:
    """Each output that a template names exists in the template that it names."""
    asked = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            given = value.get("Fn::GetStackOutput")
            if given:
                asked.add((given["StackName"], given["OutputName"]))
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(example)
    there = {(f"lmdp-example-{stack}", name) for stack, one in example.items() for name in one.get("Outputs", {})}
    assert len(asked) >= 6
    assert asked - there == set()


# BaseStack


def test_base_alerts_are_encrypted_and_sent_over_tls(full: Templates) -> None:
    """The topic has a customer key, refuses plain HTTP, and knows who is told."""
    topic = only(full["base"], "AWS::SNS::Topic", TopicName="lmdp-example-alerts")
    policy = only(full["base"], "AWS::SNS::TopicPolicy")
    assert "KmsMasterKeyId" in props(topic)
    assert statements(props(policy)["PolicyDocument"], full["base"]) == [
        "AllowPublishThroughSSLOnly Deny: sns:Publish on <AWS::SNS::Topic> by * when aws:SecureTransport",
        ('AlarmsPublish Allow: sns:Publish on <AWS::SNS::Topic> by {"Service": "cloudwatch.amazonaws.com"} '
        "when aws:SourceAccount aws:SourceArn"),
        ('BudgetsPublish Allow: sns:Publish on <AWS::SNS::Topic> by {"Service": "budgets.amazonaws.com"} '
        "when aws:SourceAccount aws:SourceArn"),
        'EventsPublish Allow: sns:Publish on <AWS::SNS::Topic> by {"Service": "events.amazonaws.com"}',
    ]  # fmt: skip
    assert [
        (props(one)["Protocol"], props(one)["Endpoint"]) for one in of_type(full["base"], "AWS::SNS::Subscription")
    ] == [
        ("email", "on-call@example.com"),
        ("https", "https://hooks.example.com/lmdp"),
    ]


def test_parameters_name_what_the_other_stacks_make(example: Templates) -> None:
    """The tools read names; each is the name that a resource has."""
    values = {props(one)["Name"]: props(one)["Value"] for one in _every(example, "AWS::SSM::Parameter")}
    stream = props(only(example["delivery"], "AWS::KinesisFirehose::DeliveryStream"))
    made = {
        "/lmdp/example/delivery-stream": stream["DeliveryStreamName"],
        "/lmdp/example/error-bucket": "lmdp-example-errors-000000000000-us-east-1",
        "/lmdp/example/function": props(only(example["pipe"], "AWS::Lambda::Function"))["FunctionName"],
        "/lmdp/example/pipe": props(only(example["pipe"], "AWS::Pipes::Pipe"))["Name"],
        "/lmdp/example/cluster-arn": props(only(example["pipe"], "AWS::Pipes::Pipe"))["Source"],
        "/lmdp/example/topic": "lm.metrics.otlp",
        "/lmdp/example/consumer-group": "lmdp-example-pipe",
        "/lmdp/example/kafka-secret": props(only(example["auth"], "AWS::SecretsManager::Secret"))["Name"],
        "/lmdp/example/loader-secret": "lmdp-example/snowflake-loader",
        "/lmdp/example/setup-secret": "lmdp-example/snowflake-setup",
        "/lmdp/example/snowflake-host": "example-account.snowflakecomputing.com",
    }  # fmt: skip
    assert values == made


def test_everything_carries_our_tag_and_the_customers(full: Templates) -> None:
    """Cost is counted by the tag `lmdp`; an organisation's own tags go along, also on roles, pipes and streams."""
    wanted = {"lmdp": "example", "team": "observability", "cost-center": "42"}
    kinds = {
        "AWS::KMS::Key", "AWS::S3::Bucket", "AWS::Lambda::Function", "AWS::SNS::Topic", "AWS::IAM::Role",
        "AWS::KinesisFirehose::DeliveryStream", "AWS::Pipes::Pipe", "AWS::MSK::Cluster", "AWS::Logs::LogGroup",
        "AWS::CloudWatch::Alarm", "AWS::SSM::Parameter", "AWS::EC2::SecurityGroup", "AWS::EC2::VPCEndpoint",
    }  # fmt: skip
    seen = set()
    for template in full.values():
        for resource in template["Resources"].values():
            given = resource.get("Properties", {}).get("Tags")
            if given is not None:
                seen.add(resource["Type"])
                pairs = given if isinstance(given, dict) else {one["Key"]: one["Value"] for one in given}
                assert {key: pairs.get(key) for key in wanted} == wanted, resource["Type"]
    assert kinds - seen == set()


def test_roles_have_the_path_and_the_prefix(full: Templates) -> None:
    """Every one of them, for an organisation that allows no others; no stack makes a managed policy."""
    for role in map(props, _every(full, "AWS::IAM::Role")):
        assert role["Path"] == "/team/"
        assert role["RoleName"].startswith("acme-lmdp-example-")
    assert _every(full, "AWS::IAM::ManagedPolicy") == []


# StorageStack


def test_storage_error_bucket_keeps_rows_for_us_alone(example: Templates) -> None:
    """KMS with a bucket key, versions, no public access, access logs, and an end for every object."""
    bucket = only(example["storage"], "AWS::S3::Bucket", BucketName="lmdp-example-errors-000000000000-us-east-1")
    found = props(bucket)
    (encryption,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = found["LifecycleConfiguration"]["Rules"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert encryption["BucketKeyEnabled"] is True
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert found["VersioningConfiguration"] == {"Status": "Enabled"}
    assert found["LoggingConfiguration"]["LogFilePrefix"] == "errors/"
    assert (rule["ExpirationInDays"], rule["NoncurrentVersionExpiration"]["NoncurrentDays"]) == (90, 30)
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_storage_buckets_take_tls_1_2_and_nothing_else(example: Templates) -> None:
    """Both buckets refuse plain HTTP and older TLS."""
    denied = [
        (statement["Effect"], json.dumps(statement["Condition"], sort_keys=True))
        for policy in of_type(example["storage"], "AWS::S3::BucketPolicy")
        for statement in props(policy)["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    plain = ("Deny", '{"Bool": {"aws:SecureTransport": "false"}}')
    old = ("Deny", '{"NumericLessThan": {"s3:TlsVersion": 1.2}}')
    assert denied == [plain, old, plain, old]


def test_every_key_rotates_and_outlives_its_stack(full: Templates) -> None:
    """A key that is gone takes the data with it."""
    keys = _every(full, "AWS::KMS::Key")
    assert len(keys) == 5
    assert {props(key)["EnableKeyRotation"] for key in keys} == {True}


HOLDS_DATA = {
    "AWS::KMS::Key", "AWS::MSK::Cluster", "AWS::MSK::Configuration", "AWS::MSK::Topic",
    "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SecretsManager::Secret",
}  # fmt: skip


def test_what_holds_data_outlives_its_stack_but_not_a_creation_that_failed(example: Templates, full: Templates) -> None:
    """Kept when a stack is deleted; not when what made it is rolled back, so that the next try finds no name taken."""
    kept = {
        (resource["Type"], resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
        for templates in (example, full)
        for template in templates.values()
        for resource in template["Resources"].values()
        if resource.get("DeletionPolicy", "Delete") != "Delete"
    }
    assert kept == {(kind, "RetainExceptOnCreate", "Retain") for kind in HOLDS_DATA} | {
        # Nothing stands behind it in AWS: CloudFormation only leaves Snowflake alone.
        ("Custom::LmdpSnowflakeSetup", "Retain", "Retain")
    }


# SnowflakeAuthStack, AuthStack


def test_secrets_have_a_key_and_no_value(example: Templates) -> None:
    """Three secrets: named, encrypted with a customer key, kept, and without anything in them."""
    secrets = _every(example, "AWS::SecretsManager::Secret")
    assert sorted(props(secret)["Name"] for secret in secrets) == [
        "lmdp-example/kafka-client",
        "lmdp-example/snowflake-loader",
        "lmdp-example/snowflake-setup",
    ]
    for secret in secrets:
        assert {"KmsKeyId", "Name", "Description", "Tags"} == set(props(secret))


def test_secrets_that_are_there_are_taken_by_arn(full: Templates) -> None:
    """With ARNs given, none of those is made, and the readers have those ARNs; containers have secrets of their own."""
    made = {props(one)["Name"].removeprefix("lmdp-example/") for one in _every(full, "AWS::SecretsManager::Secret")}
    assert made == {"kafka-receive", "kafka-write", "receive-tokens"}
    stream = props(only(full["delivery"], "AWS::KinesisFirehose::DeliveryStream"))
    pipe = props(only(full["pipe"], "AWS::Pipes::Pipe"))
    kafka = pipe["SourceParameters"]["ManagedStreamingKafkaParameters"]
    secret = f"arn:aws:secretsmanager:{HERE}:secret"
    read = stream["SnowflakeDestinationConfiguration"]["SecretsManagerConfiguration"]["SecretARN"]
    assert (read, kafka["Credentials"]) == (
        f"{secret}:loader-AbCdEf",
        {"ClientCertificateTlsAuth": f"{secret}:kafka-AbCdEf"},
    )


# SnowflakeSetupStack


def test_setup_runs_when_sql_or_settings_change(example: Templates) -> None:
    """The hash is a property, an answer that never comes has an end, and nothing secret is in the properties."""
    sql = only(example["snowflake-setup"], "Custom::LmdpSnowflakeSetup")
    function = only(example["snowflake-setup"], "AWS::Lambda::Function")
    assert set(props(sql)) == {"ServiceToken", "ServiceTimeout", "Hash", "Settings"}
    assert (props(sql)["ServiceTimeout"], props(function)["Timeout"]) == ("1200", 840)
    assert len(props(sql)["Hash"]) == 64
    assert props(sql)["Settings"]["RETENTION_DAYS"] == "30"
    assert sql["DeletionPolicy"] == "Retain"
    assert props(only(example["snowflake-setup"], "AWS::Lambda::EventInvokeConfig"))["MaximumRetryAttempts"] == 0


def test_the_hash_follows_the_settings() -> None:
    """Another retention is another hash; the same settings are the same one."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are
    from infra.stacks.snowflake_setup import setup_hash  # noqa: PLC0415 - as above

    from .conftest import example_values  # noqa: PLC0415 - as above

    def of(**changed: str) -> str:
        return setup_hash(Settings.read("example", {**example_values(), **changed}))

    assert of() == of(LMDP_BATCH_SIZE="50") != of(RETENTION_DAYS="60")


# DeliveryStack


def test_delivery_puts_rows_into_snowflake(example: Templates) -> None:
    """JSON mapping to the landing table, as the least role, tried for two hours, failed records kept in S3."""
    stream = props(only(example["delivery"], "AWS::KinesisFirehose::DeliveryStream"))
    to = stream["SnowflakeDestinationConfiguration"]
    assert (to["AccountUrl"], to["Database"], to["Schema"], to["Table"]) == (
        "https://example-account.snowflakecomputing.com",
        "LM_METRICS_EXAMPLE",
        "PIPELINE",
        "ROW_EVENTS",
    )
    assert to["DataLoadingOption"] == "JSON_MAPPING"
    assert to["SnowflakeRoleConfiguration"] == {"Enabled": True, "SnowflakeRole": "LM_FIREHOSE_EXAMPLE_ROLE"}
    assert to["SecretsManagerConfiguration"]["Enabled"] is True
    assert {"PrivateKey", "KeyPassphrase", "User"} & set(to) == set()
    assert to["RetryOptions"] == {"DurationInSeconds": 7200}
    assert to["BufferingHints"] == {"IntervalInSeconds": 0, "SizeInMBs": 1}
    assert to["S3BackupMode"] == "FailedDataOnly"
    assert "SnowflakeVpcConfiguration" not in to
    assert stream["DeliveryStreamEncryptionConfigurationInput"]["KeyType"] == "CUSTOMER_MANAGED_CMK"
    backup = to["S3Configuration"]
    assert backup["CompressionFormat"] == "GZIP"
    assert "AWSKMSKeyARN" in backup["EncryptionConfiguration"]["KMSEncryptionConfig"]
    assert {backup["Prefix"].split("/")[0], backup["ErrorOutputPrefix"].split("/")[0]} == {"snowflake-failed"}
    assert backup["BufferingHints"]["IntervalInSeconds"] >= 60
    assert to["CloudWatchLoggingOptions"]["Enabled"] is backup["CloudWatchLoggingOptions"]["Enabled"] is True


def test_delivery_goes_over_private_link_when_told(full: Templates) -> None:
    """The account's own id of the service is handed over as it is."""
    to = props(only(full["delivery"], "AWS::KinesisFirehose::DeliveryStream"))["SnowflakeDestinationConfiguration"]
    assert to["SnowflakeVpcConfiguration"] == {
        "PrivateLinkVpceId": "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"
    }


def test_a_new_revision_is_a_new_name(tmp_path: Path) -> None:
    """Pipe, group and stream get new names; the old stream delivers what it has, the role serves both pipes."""
    made = synthesised(tmp_path, {**example_values(), "LMDP_PIPE_REVISION": "3", "LMDP_STREAM_REVISION": "2"})
    pipe = props(only(made["pipe"], "AWS::Pipes::Pipe"))
    assert pipe["Name"] == "lmdp-example-r3"
    group = pipe["SourceParameters"]["ManagedStreamingKafkaParameters"]["ConsumerGroupID"]
    assert group == "lmdp-example-pipe-r3"
    stream = only(made["delivery"], "AWS::KinesisFirehose::DeliveryStream")
    assert props(stream)["DeliveryStreamName"] == "lmdp-example-rows-r2"
    assert stream["UpdateReplacePolicy"] == "Retain"
    function = props(only(made["pipe"], "AWS::Lambda::Function"))
    assert function["Environment"]["Variables"]["LMDP_DELIVERY_STREAM"] == "lmdp-example-rows-r2"
    role = props(only(made["pipe"], "AWS::IAM::Role", RoleName="lmdp-example-pipe"))
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["ArnLike"]["aws:SourceArn"] == [
        f"arn:aws:pipes:{HERE}:pipe/lmdp-example{mark}" for mark in ("", "-r2", "-r3")
    ]
    logs = {props(one)["LogGroupName"] for one in _every(made, "AWS::Logs::LogGroup")}
    assert {"/aws/vendedlogs/pipes/lmdp-example", "/aws/kinesisfirehose/lmdp-example-rows"} <= logs


def test_express_brokers_have_no_disks_of_ours(tmp_path: Path) -> None:
    """Neither storage, nor properties that are theirs, nor alarms and graphs of disks."""
    made = synthesised(tmp_path, {**example_values(), **OTHER_OPTIONS, "LMDP_MSK_INSTANCE_TYPE": "express.m7g.large"})
    cluster = props(only(made["network"], "AWS::MSK::Cluster"))
    assert "StorageInfo" not in cluster["BrokerNodeGroupInfo"]
    properties = props(only(made["network"], "AWS::MSK::Configuration"))["ServerProperties"]
    assert properties == "auto.create.topics.enable=false\n"
    assert "KafkaDataLogsDiskUsed" not in json.dumps(made["alarms"])


def test_delivery_says_which_quota_to_raise(example: Templates) -> None:
    """The planned load stands in the stack's outputs."""
    told = example["delivery"]["Outputs"]["PlannedLoad"]["Value"]
    assert "12,000 rows/s, 7.00 MiB/s" in told
    assert "raise Firehose's quota BytesPerSecondLimit" in told


# NetworkStack


def test_network_makes_no_rule_of_a_group_that_is_not_ours(example: Templates, full: Templates) -> None:
    """A rule that is there already would stop the stack, and a destroy would take it; and no endpoint unasked."""
    for templates in (example, full):
        for one in map(props, of_type(templates["network"], "AWS::EC2::SecurityGroupIngress")):
            assert one["GroupId"] != "sg-00000000000000000"
    assert of_type(example["network"], "AWS::EC2::SecurityGroupIngress") == []
    assert of_type(example["network"], "AWS::EC2::VPCEndpoint") == []


def test_network_has_the_endpoints_that_were_asked_for(full: Templates) -> None:
    """Each is private, in the cluster's subnets, and open to the VPC, for which it answers, and to both groups."""
    endpoints = of_type(full["network"], "AWS::EC2::VPCEndpoint")
    assert sorted(props(one)["ServiceName"].removeprefix("com.amazonaws.us-east-1.") for one in endpoints) == [
        "kinesis-firehose",
        "kms",
        "lambda",
        "pipes-data",
        "secretsmanager",
        "ssm",
        "sts",
    ]
    assert {props(one)["PrivateDnsEnabled"] for one in endpoints} == {True}
    (group,) = of_type(full["network"], "AWS::EC2::SecurityGroup")
    assert [rule["DestinationSecurityGroupId"] for rule in props(group)["SecurityGroupEgress"]] == [
        "sg-00000000000000000"
    ]
    rules = [props(one) for one in of_type(full["network"], "AWS::EC2::SecurityGroupIngress")]
    let_in = {rule.get("CidrIp") or rule["SourceSecurityGroupId"] for rule in rules if rule["FromPort"] == 443}
    assert let_in == {"10.0.0.0/16", "10.1.0.0/16", "sg-00000000000000000", "sg-00000000000000004"}


ENDPOINT_POLICIES = {
    "kinesis-firehose": f"firehose:PutRecord on arn:aws:firehose:{HERE}:deliverystream/lmdp-example-rows",
    "kms": f"kms:Decrypt on arn:aws:kms:{HERE}:key/*",
    "lambda": (f"lambda:InvokeFunction on arn:aws:lambda:{HERE}:function:lmdp-example-rows "
               f"arn:aws:lambda:{HERE}:function:lmdp-example-rows:*"),
    "pipes-data": None,
    "secretsmanager": "secretsmanager:GetSecretValue on " + " ".join(
        f"arn:aws:secretsmanager:{HERE}:secret:{secret}"
        for secret in ("kafka-AbCdEf", "lmdp-example/kafka-receive-??????", "lmdp-example/kafka-write-??????",
                       "lmdp-example/receive-tokens-??????", "loader-AbCdEf", "setup-AbCdEf")
    ),
    "ssm": f"ssm:PutParameter on arn:aws:ssm:{HERE}:parameter/lmdp/example/state/canary-landed",
    "sts": "sts:AssumeRole on arn:aws:iam::000000000000:role/team/acme-lmdp-example-pipe",
}  # fmt: skip


def test_an_endpoint_lets_through_what_this_environment_calls(full: Templates) -> None:
    """That for this environment's roles, anything for others; pipes-data has AWS's default: its calls are unknown."""
    found = {}
    for one in map(props, of_type(full["network"], "AWS::EC2::VPCEndpoint")):
        policy = one.get("PolicyDocument")
        told = statements(policy, full["network"]) if policy else [None]
        found[one["ServiceName"].rpartition(".")[2]] = told
    everybody = 'by {"AWS": "*"}'
    assert found == {
        name: [
            f"OurOwn Allow: {told} {everybody}",
            f"Others Allow: {told.partition(':')[0]}:* on * {everybody} when aws:PrincipalArn",
        ]
        if told
        else [None]
        for name, told in ENDPOINT_POLICIES.items()
    }


@pytest.mark.parametrize(
    ("caller", "action", "resource", "decision"),
    [
        ("role/team/acme-lmdp-example-pipe", "GetSecretValue", "secret:kafka-AbCdEf", "allow"),
        ("role/team/acme-lmdp-example-pipe", "GetSecretValue", "secret:theirs", "implicit deny"),
        ("role/team/acme-lmdp-example2-pipe", "GetSecretValue", "secret:lmdp-example2/kafka-client-AbCdEf", "allow"),
        ("role/eks-node", "ListSecrets", "*", "allow"),
        (None, "GetSecretValue", "secret:theirs", "allow"),
    ],
)
def test_an_endpoint_limits_nobody_else_in_the_vpc(
    full: Templates, caller: str | None, action: str, resource: str, decision: str
) -> None:
    """Another workload, and another environment, have no other way to the API: the name is answered for the VPC."""
    (policy,) = [
        props(one)["PolicyDocument"]
        for one in of_type(full["network"], "AWS::EC2::VPCEndpoint")
        if props(one)["ServiceName"].endswith(".secretsmanager")
    ]
    anybody = [{name: part for name, part in one.items() if name != "Principal"} for one in policy["Statement"]]
    context = {"aws:PrincipalArn": f"arn:aws:iam::000000000000:{caller}"} if caller else {}
    arn = resource if resource == "*" else f"arn:aws:secretsmanager:{HERE}:{resource}"
    request = Request(f"secretsmanager:{action}", arn, context)
    assert decide(request, [{"Statement": anybody}]) == decision


def test_setup_and_canary_reach_snowflake_from_a_vpc(example: Templates, full: Templates) -> None:
    """With subnets and a group they are in the VPC and use the private host; without, in none, and the public one."""
    for templates, host, subnets in (
        (example, "example-account.snowflakecomputing.com", None),
        (
            full,
            "example-account.privatelink.snowflakecomputing.com",
            ["subnet-00000000000000004", "subnet-00000000000000005"],
        ),
    ):
        for stack in ("snowflake-setup", "delivery"):
            function = props(only(templates[stack], "AWS::Lambda::Function"))
            assert function["Environment"]["Variables"]["SNOWFLAKE_ACCOUNT_URL"] == host
            assert function.get("VpcConfig", {}).get("SubnetIds") == subnets


def test_the_function_counts_under_the_name_that_a_reconciliation_asks_for(example: Templates) -> None:
    """Powertools' service is the dimension of every metric: `lmdp snowflake verify --reconcile` sums `Delivered`."""
    function = props(only(example["pipe"], "AWS::Lambda::Function", FunctionName="lmdp-example-rows"))
    given = function["Environment"]["Variables"]
    assert (given["POWERTOOLS_METRICS_NAMESPACE"], given["POWERTOOLS_SERVICE_NAME"]) == ("lmdp", "lmdp-example")


def test_a_canary_flies_each_day(example: Templates) -> None:
    """The schedule calls the function, which finds stream, table, bucket, secret and parameter by their names."""
    rule = props(only(example["delivery"], "AWS::Events::Rule", Name="lmdp-example-canary"))
    function = props(only(example["delivery"], "AWS::Lambda::Function", FunctionName="lmdp-example-canary"))
    assert (rule["ScheduleExpression"], len(rule["Targets"])) == ("rate(1 day)", 1)
    assert function["Handler"] == "lmdp.snowflake.canary_function.handler"
    expected = {
        "LMDP_DELIVERY_STREAM": "lmdp-example-rows",
        "LMDP_REJECTS_BUCKET": "lmdp-example-errors-000000000000-us-east-1",
        "LMDP_CANARY_PARAMETER": "/lmdp/example/state/canary-landed",
        "LMDP_ORG_ID": "example",
    }
    assert function["Environment"]["Variables"].items() >= expected.items()


def test_network_makes_a_cluster_that_wants_certificates(full: Templates) -> None:
    """Three brokers of 3.8.x, TLS alone, clients of the Private CA and nobody else, messages kept for 24 h."""
    cluster = only(full["network"], "AWS::MSK::Cluster")
    found = props(cluster)
    assert (found["KafkaVersion"], found["NumberOfBrokerNodes"], found["EnhancedMonitoring"]) == (
        "3.8.x",
        3,
        "PER_BROKER",
    )
    assert found["ClientAuthentication"]["Unauthenticated"] == {"Enabled": False}
    assert found["ClientAuthentication"]["Tls"]["Enabled"] is True
    assert set(found["ClientAuthentication"]) == {"Tls", "Unauthenticated"}
    assert found["EncryptionInfo"]["EncryptionInTransit"] == {"ClientBroker": "TLS", "InCluster": True}
    properties = props(only(full["network"], "AWS::MSK::Configuration"))["ServerProperties"]
    assert "log.retention.hours=24\n" in properties
    assert "auto.create.topics.enable=false\n" in properties


# PipeStack


def test_pipe_reads_the_topic_with_a_certificate(example: Templates) -> None:
    """The explicit consumer group, from the topic's begin, batches of 60; it waits for the function's answer."""
    pipe = props(only(example["pipe"], "AWS::Pipes::Pipe"))
    kafka = pipe["SourceParameters"]["ManagedStreamingKafkaParameters"]
    assert {name: kafka[name] for name in kafka if name != "Credentials"} == {
        "TopicName": "lm.metrics.otlp",
        "ConsumerGroupID": "lmdp-example-pipe",
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 60,
        "MaximumBatchingWindowInSeconds": 5,
    }
    assert text(kafka["Credentials"]["ClientCertificateTlsAuth"]) == "<auth:KafkaClient>"
    assert pipe["TargetParameters"] == {"LambdaFunctionParameters": {"InvocationType": "REQUEST_RESPONSE"}}
    assert pipe["DesiredState"] == "RUNNING"


def test_pipe_logs_errors_and_never_messages(example: Templates) -> None:
    """Level ERROR, no execution data, into a log group that exists."""
    logging = props(only(example["pipe"], "AWS::Pipes::Pipe"))["LogConfiguration"]
    group = logging["CloudwatchLogsLogDestination"]["LogGroupArn"].rpartition("log-group:")[2]
    assert (logging["Level"], "IncludeExecutionData" in logging) == ("ERROR", False)
    only(example["base"], "AWS::Logs::LogGroup", LogGroupName=group)


def test_function_ends_before_the_pipe_does(example: Templates) -> None:
    """Less than the pipe's five minutes, on arm64, without reserved concurrency."""
    function = props(only(example["pipe"], "AWS::Lambda::Function"))
    assert function["Timeout"] == 240
    assert (function["Architectures"], function["Runtime"]) == (["arm64"], "python3.14")
    assert "ReservedConcurrentExecutions" not in function
    assert "VpcConfig" not in function


def test_functions_run_on_what_the_zips_are_built_for(example: Templates) -> None:
    """The runtime, and the names of the zips, are tools/build_lambda.py's."""
    from infra.assets import HANDLER_ZIP, SETUP_ZIP  # noqa: PLC0415 - only where the infrastructure's packages are

    source = (ROOT / "tools" / "build_lambda.py").read_text()
    runtimes = {props(function)["Runtime"] for function in _every(example, "AWS::Lambda::Function")}
    (built,) = re.findall(r'^RUNTIME = "(.+)"$', source, re.MULTILINE)
    assert runtimes == {f"python{built}"}
    built = re.findall(r'"(\w+)": \([A-Z_]+, "\w+.txt"\)', source)
    assert [ROOT / "dist" / f"{name}.zip" for name in built] == [HANDLER_ZIP, SETUP_ZIP]


def test_function_has_the_settings_that_the_handler_reads(example: Templates, full: Templates) -> None:
    """The handler's own check takes the environment of either template."""
    from lmdp.cloud.settings import Settings  # noqa: PLC0415 - beside infra's of the same name

    for templates in (example, full):
        function = props(only(templates["pipe"], "AWS::Lambda::Function"))
        given = {name: text(value) for name, value in function["Environment"]["Variables"].items()}
        given["LMDP_REJECTS_KMS_KEY"] = f"arn:aws:kms:{HERE}:key/00000000-0000-0000-0000-000000000000"
        given["LMDP_REJECTS_BUCKET"] = "lmdp-example-errors-000000000000-us-east-1"
        read = Settings.from_env({"AWS_REGION": "us-east-1", **given})
        assert (read.stream, read.prefix) == ("lmdp-example-rows", "rejects/")
        assert read.transform.org_id == ("example" if templates is example else None)


def test_reserved_concurrency_is_the_partitions_when_asked(full: Templates) -> None:
    """As many as were asked for."""
    assert props(only(full["pipe"], "AWS::Lambda::Function"))["ReservedConcurrentExecutions"] == 12


def test_topic_loses_nothing_when_a_broker_dies(example: Templates, full: Templates) -> None:
    """Three copies, two in sync, what is asked to keep, messages of 1 MiB; made only when asked."""
    topic = only(full["network"], "AWS::MSK::Topic")
    found = props(topic)
    assert (found["TopicName"], found["PartitionCount"], found["ReplicationFactor"]) == ("lm.metrics.otlp", 12, 3)
    assert base64.b64decode(found["Configs"]).decode().splitlines() == [
        "retention.ms=86400000",
        "min.insync.replicas=2",
        "max.message.bytes=65536",
        "cleanup.policy=delete",
    ]
    assert _every(example, "AWS::MSK::Topic") == []


def test_every_log_group_is_ours(full: Templates) -> None:
    """Each is in the base stack, where no other's rollback deletes it, encrypted, and ends; each function has one."""
    groups = of_type(full["base"], "AWS::Logs::LogGroup")
    assert len(groups) == len(_every(full, "AWS::Logs::LogGroup"))
    assert sorted(props(group)["LogGroupName"] for group in groups) == [
        "/aws/ecs/lmdp-example-receive",
        "/aws/ecs/lmdp-example-write",
        "/aws/kinesisfirehose/lmdp-example-rows",
        "/aws/lambda/lmdp-example-canary",
        "/aws/lambda/lmdp-example-rows",
        "/aws/lambda/lmdp-example-snowflake-setup",
        "/aws/lambda/lmdp-example-watcher",
        "/aws/vendedlogs/kafka/lmdp-example-kafka",
        "/aws/vendedlogs/pipes/lmdp-example",
    ]
    assert {props(group)["RetentionInDays"] for group in groups} == {30}
    assert all("KmsKeyId" in props(group) for group in groups)
    functions = _every(full, "AWS::Lambda::Function")
    named = {props(group)["LogGroupName"] for group in groups}
    assert len([one for one in functions if props(one)["LoggingConfig"]["LogGroup"] in named]) == len(functions) == 4


@pytest.mark.parametrize("word", ["BEGIN", 'private_key":', "password"])
def test_no_template_has_anything_secret(example: Templates, full: Templates, word: str) -> None:
    """No key, and no password, in any template."""
    assert word not in json.dumps([example, full]).replace("private_key (base64", "")

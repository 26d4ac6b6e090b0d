"""Settings: what is demanded, what contradicts, and that all of it is said at once."""

from __future__ import annotations

import re

import pytest
from infra.settings import Settings

from lmdp.cost.capacity import Traffic, payload_bytes, quota_use
from lmdp.errors import SettingsError

from .conftest import OTHER_OPTIONS, ROOT, example_values

REQUIRED = [
    "LMDP_AWS_ACCOUNT", "LMDP_ORG_ID", "LMDP_PLANNED_DEVICES", "LMDP_PLANNED_DATAPOINTS", "LMDP_PLANNED_MESSAGE_BYTES",
    "LMDP_MSK_CLUSTER_ARN", "LMDP_VPC_ID", "LMDP_SUBNET_IDS", "LMDP_SECURITY_GROUP_ID", "LMDP_MONTHLY_BUDGET_USD",
    "SNOWFLAKE_ACCOUNT_URL",
]  # fmt: skip

KEYS = "arn:aws:kms:{}:key/one,arn:aws:kms:{}:key/two"
TWO = "subnet-00000000000000001,subnet-00000000000000002"
MADE = {
    "LMDP_MSK_CREATE": "true",
    "LMDP_MSK_CLUSTER_ARN": "",
    "LMDP_PRIVATE_CA_ARN": OTHER_OPTIONS["LMDP_PRIVATE_CA_ARN"],
}


def test_one_message_names_every_setting_that_is_missing() -> None:
    """Without any setting, all that real data needs is named in one error."""
    with pytest.raises(SettingsError) as caught:
        Settings.read("prod", {})
    assert [name for name in REQUIRED if name not in str(caught.value)] == []
    assert caught.value.exit_code == 2


def test_the_example_file_names_every_setting_that_is_needed() -> None:
    """What docs/deploy.md says of `.env.example`; the account is read from the ARN of the cluster."""
    named = re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert {*REQUIRED, "LMDP_AWS_REGION", "AWS_DEFAULT_REGION", "LMDP_PRIVATE_CA_ARN"} - {*named} == {
        "LMDP_AWS_ACCOUNT"
    }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"LMDP_AWS_REGION": "af-south-1"}, "LMDP_AWS_REGION is 'af-south-1', where Firehose has no Snowflake"),
        ({"LMDP_AWS_REGION": "cn-north-1", "LMDP_WRITER": "snowflake"}, "it is a Region of the partition aws"),
        ({"LMDP_AWS_REGION": "us-gov-west-1", "LMDP_WRITER": "snowflake"}, "it is a Region of the partition aws"),
        ({"LMDP_CANARY_MAX_AGE_HOURS": "24"}, "it is a whole number from 25 to 744"),
        ({"LMDP_KEY_MAX_AGE_DAYS": "59"}, "it is a whole number from 60 to 730"),
        ({"LMDP_AWS_REGION": "eu-west-1"}, "LMDP_MSK_CLUSTER_ARN is in us-east-1, and LMDP_AWS_REGION is eu-west-1"),
        ({"LMDP_AWS_ACCOUNT": "111111111111"}, "LMDP_MSK_CLUSTER_ARN is in the account 000000000000"),
        ({"LMDP_ORG_ID_FROM_RESOURCE": "true"}, "LMDP_ORG_ID and LMDP_ORG_ID_FROM_RESOURCE=true contradict each other"),
        ({"LMDP_MSK_CREATE": "true"}, "set LMDP_MSK_CLUSTER_ARN (a cluster that is there) or LMDP_MSK_CREATE=true"),
        ({"LMDP_MSK_CREATE": "true", "LMDP_MSK_CLUSTER_ARN": ""}, "LMDP_MSK_CREATE=true needs LMDP_PRIVATE_CA_ARN"),
        ({"LMDP_BATCH_SIZE": "200"}, "Take LMDP_BATCH_SIZE=62, or LMDP_TOPIC_MAX_MESSAGE_BYTES=20325 and the topic's"),
        ({"LMDP_TOPIC_MAX_MESSAGE_BYTES": "1048576"}, "come to 83.9 MB as a pipe hands them over"),
        ({"LMDP_TOPIC_MAX_MESSAGE_BYTES": "1048576"}, "Take LMDP_BATCH_SIZE=3"),
        ({"LMDP_BATCH_SIZE": "10000"}, "Take LMDP_BATCH_SIZE=62"),
        ({**MADE, "LMDP_MSK_INSTANCE_TYPE": "express.m7g.large", "LMDP_SUBNET_IDS": TWO, "LMDP_MSK_BROKERS": "4"},
         "LMDP_SUBNET_IDS has 2 subnets; Express brokers take three"),
        ({**MADE, "LMDP_MSK_INSTANCE_TYPE": "express.m7g.large", "LMDP_MSK_STORAGE_GIB": "500"},
         "LMDP_MSK_STORAGE_GIB is set, and Express brokers have no disks"),
        ({**MADE, "LMDP_SUBNET_IDS": TWO}, "take LMDP_MSK_BROKERS=4"),
        ({**MADE, "LMDP_MSK_BROKERS": "4"}, "has 3 subnets, over which MSK spreads brokers evenly: take"),
        ({**MADE, "LMDP_SUBNET_IDS": f"{TWO},{TWO}"}, "LMDP_SUBNET_IDS has 4 subnets; a cluster takes two or three"),
        ({**MADE, "LMDP_MSK_BROKERS": "2", "LMDP_SUBNET_IDS": TWO}, "LMDP_MSK_CREATE=true needs LMDP_MSK_BROKERS of 3"),
        ({**MADE, "LMDP_MSK_INSTANCE_TYPE": "kafka.t3.small", "LMDP_TOPIC_PARTITIONS": "400"},
         "kafka.t3.small is made for 300. Take LMDP_TOPIC_PARTITIONS=300"),
        ({**MADE, "LMDP_TOPIC_CREATE": "true", "LMDP_MSK_VERSION": "3.5.1"}, "LMDP_MSK_VERSION of 3.6 or newer"),
        ({"LMDP_PIPE_REVISION": "0"}, "LMDP_PIPE_REVISION is '0'; it is a whole number from 1 to 99"),
        ({"LMDP_STREAM_REVISION": "two"}, "LMDP_STREAM_REVISION is 'two'"),
        ({"LMDP_RESERVED_CONCURRENCY": "11"}, "LMDP_RESERVED_CONCURRENCY is 11, less than the topic's 12 partitions"),
        ({"LMDP_FUNCTION_TIMEOUT_SECONDS": "300"}, "it is a whole number from 30 to 290"),
        ({"LMDP_CONSUMER_GROUP": "lmdp:pipe"}, "LMDP_CONSUMER_GROUP is 'lmdp:pipe'"),
        ({"LMDP_CONSUMER_GROUP": "lmdp-größe"}, "LMDP_CONSUMER_GROUP is 'lmdp-größe'"),
        ({"LMDP_TOPIC_MAX_MESSAGE_BYTES": "1048577"}, "it is a whole number from 1,024 to 1,048,576"),
        ({"LMDP_TOPIC_MAX_MESSAGE_BYTES": "2048"}, "LMDP_PLANNED_MESSAGE_BYTES is 3,400, more than the topic takes"),
        ({"LMDP_TOPIC_RETENTION_HOURS": "5"}, "it is a whole number from 6 to 8,760"),
        ({"LMDP_TOPIC_CREATE": "true", "LMDP_MSK_BROKERS": "2"}, "LMDP_TOPIC_CREATE=true needs LMDP_MSK_BROKERS of 3"),
        ({"LMDP_COLLECTOR_CIDRS": "0.0.0.0/0"}, "the whole Internet"),
        ({"SNOWFLAKE_ALLOWED_IPS": "203.0.113.0/24"}, "SNOWFLAKE_ALLOWED_IPS would shut out the setup function"),
        ({"LMDP_COLLECTOR_CIDRS": "10.0.0.1/8"}, "it is IPv4 ranges such as 10.20.0.0/16"),
        ({"LMDP_TOPIC": "/x"}, "LMDP_TOPIC is '/x'; it is a Kafka topic's name"),
        ({"LMDP_TOPIC": ".x"}, "LMDP_TOPIC is '.x'"),
        ({"LMDP_TOPIC": "x" * 250}, "LMDP_TOPIC is 'xxx"),
        ({"LMDP_IAM_PATH": "team"}, "LMDP_IAM_PATH is 'team'; it is an IAM path such as /team/lmdp/"),
        ({"LMDP_ROLE_NAME_PREFIX": "a b"}, "LMDP_ROLE_NAME_PREFIX is 'a b'"),
        ({"LMDP_TAGS": "team"}, "LMDP_TAGS has 'team'; it is pairs such as team=observability"),
        ({"LMDP_TAGS": "lmdp=x"}, "LMDP_TAGS has the key 'lmdp'"),
        ({"LMDP_TAGS": "aws:x=y"}, "LMDP_TAGS has the key 'aws:x'"),
        ({"LMDP_VPC_ENDPOINTS": "lambda,sqs"}, "LMDP_VPC_ENDPOINTS has 'sqs'"),
        ({"LMDP_VPC_ENDPOINTS": "lambda,ssm"}, "LMDP_VPC_ENDPOINTS has ssm, which nothing in the VPC calls"),
        ({"LMDP_VPC_ENDPOINTS": "lambda"}, "LMDP_VPC_ENDPOINTS needs LMDP_VPC_CIDRS, the VPC's IPv4 ranges"),
        ({"LMDP_VPC_CIDRS": "0.0.0.0/0"}, "LMDP_VPC_CIDRS has '0.0.0.0/0': the whole Internet"),
        ({"LMDP_SECRETS_KMS_KEY_ARN": KEYS.format("us-east-1:000000000000", "us-east-1:111111111111")},
         "LMDP_SECRETS_KMS_KEY_ARN is in the account 111111111111, and this environment is in 000000000000"),
        ({"LMDP_SECRETS_KMS_KEY_ARN": KEYS.format("us-east-1:000000000000", "eu-west-1:000000000000")},
         "LMDP_SECRETS_KMS_KEY_ARN is in eu-west-1, and LMDP_AWS_REGION is us-east-1"),
        ({"LMDP_SNOWFLAKE_SUBNET_IDS": "subnet-00000001"}, "set both LMDP_SNOWFLAKE_SUBNET_IDS and LMDP_SNOWFLAKE_SEC"),
        ({"SNOWFLAKE_PRIVATE_HOST": "a.privatelink.snowflakecomputing.com"}, "that name resolves in a VPC alone"),
        ({"SNOWFLAKE_PRIVATE_HOST": "a.snowflakecomputing.com"}, "SNOWFLAKE_PRIVATE_HOST is 'a.snow"),
        ({"LMDP_TERMINATION_PROTECTION": "true"}, "nobody would hear an alarm of this protected environment"),
        ({"LMDP_ALERT_URLS": "http://example.com"}, "LMDP_ALERT_URLS has 'http://example.com'"),
        ({"LMDP_ALERT_CHATBOT_ARN": "arn:aws:sns:x"}, "LMDP_ALERT_CHATBOT_ARN is 'arn:aws:sns:x'"),
        ({"LMDP_LOG_RETENTION_DAYS": "31"}, "LMDP_LOG_RETENTION_DAYS is 31; CloudWatch knows"),
        ({"LMDP_TERMINATION_PROTECTION": "yes"}, "it is true or false"),
        ({"SNOWFLAKE_ACCOUNT_URL": "https://example.com"}, "SNOWFLAKE_ACCOUNT_URL is 'https://example.com'"),
        ({"SNOWFLAKE_IDENTIFIERS": "lower"}, "SNOWFLAKE_IDENTIFIERS is 'lower'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(changed: dict[str, str], said: str) -> None:
    """A setting beyond a limit, or against another one, is refused before anything is made."""
    with pytest.raises(SettingsError) as caught:
        Settings.read("example", {**example_values(), **changed})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "heard",
    [
        {"LMDP_ALERT_EMAILS": "on-call@example.com"},
        {"LMDP_ALERT_URLS": "https://hooks.example.com/lmdp"},
        {"LMDP_ALERT_CHATBOT_ARN": "arn:aws:chatbot::000000000000:chat-configuration/slack-channel/on-call"},
    ],
)
def test_one_subscriber_suffices_for_a_protected_environment(heard: dict[str, str]) -> None:
    """An e-mail address, an HTTPS address or a chat channel."""
    assert Settings.read("example", {**example_values(), "LMDP_TERMINATION_PROTECTION": "true", **heard}).protect


def test_a_shared_user_shares_its_secret() -> None:
    """Two key pairs for one user would shut each other out; with prod's secrets the environment is accepted."""
    shared = {**example_values(), "SNOWFLAKE_ENVIRONMENT": "prod"}
    with pytest.raises(SettingsError, match="set LMDP_LOADER_SECRET_ARN and LMDP_SETUP_SECRET_ARN to those"):
        Settings.read("example", shared)
    arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:lmdp-prod/snowflake"
    given = {**shared, "LMDP_LOADER_SECRET_ARN": f"{arn}-loader-AbCdEf", "LMDP_SETUP_SECRET_ARN": f"{arn}-setup-AbCdEf"}
    assert Settings.read("example", given).snowflake.place == "LM_METRICS.PIPELINE"
    own = {**shared, "SNOWFLAKE_FIREHOSE_USER": "DEV_A", "SNOWFLAKE_SETUP_USER": "DEV_B"}
    assert Settings.read("example", own).snowflake.firehose_user == "DEV_A"


@pytest.mark.parametrize(("environment", "database"), [("dev", "LM_METRICS_DEV"), ("prod", "LM_METRICS")])
def test_an_environment_writes_to_its_own_database(environment: str, database: str) -> None:
    """The environment that is deployed decides, whatever LMDP_ENVIRONMENT says in a `.env` of several tools."""
    values = {**example_values(), "LMDP_ENVIRONMENT": "prod"}
    assert Settings.read(environment, values).snowflake.database == database


def test_the_direct_writer_needs_no_region_of_firehose() -> None:
    """Firehose has no Snowflake in eu-central-2; the direct writer does not ask for it."""
    there = {name: value.replace("us-east-1", "eu-central-2") for name, value in example_values().items()}
    moved = {**there, "LMDP_AWS_REGION": "eu-central-2", "LMDP_WRITER": "snowflake"}
    assert Settings.read("example", moved).names.region == "eu-central-2"


def test_contradictions_and_gaps_come_in_one_message() -> None:
    """Faults of several kinds are told together, each in its own line."""
    wrong = {"LMDP_VPC_ID": "", "LMDP_BATCH_SIZE": "5000", "LMDP_AWS_REGION": "mars-north-1", "LMDP_MSK_CREATE": "true"}
    with pytest.raises(SettingsError) as caught:
        Settings.read("example", {**example_values(), **wrong})
    assert [name for name in wrong if name not in str(caught.value)] == []
    assert str(caught.value).startswith("6 settings are wrong:\n")


def test_the_account_is_read_from_the_cluster() -> None:
    """No setting repeats what the cluster's ARN says."""
    values = {**example_values(), "LMDP_AWS_ACCOUNT": ""}
    assert Settings.read("example", values).names.account == "000000000000"


def test_the_quota_to_raise_first_is_the_fullest() -> None:
    """12,000 rows/s of 612 bytes are 7.0 MiB/s: over 5 MiB/s, and far from the other two quotas of us-east-1."""
    traffic = Traffic(devices=1000, datapoints=720, message_bytes=3400)
    assert (traffic.rows_per_second, traffic.messages_per_second, round(traffic.mib_per_second, 1)) == (
        12_000,
        2_000,
        7.0,
    )
    use = [(one.name, round(one.share, 3)) for one in quota_use(traffic, 200, "us-east-1")]
    assert use == [
        ("BytesPerSecondLimit", 1.401),
        ("RecordsPerSecondLimit", 0.024),
        ("PutRequestsPerSecondLimit", 0.015),
    ]
    assert quota_use(traffic, 200, "eu-north-1")[0].quota == 1


def test_a_value_that_a_message_names_is_accepted() -> None:
    """Each of the two ways out of a batch that is too large is taken as it is named."""
    for ways in ({"LMDP_BATCH_SIZE": "62"}, {"LMDP_BATCH_SIZE": "200", "LMDP_TOPIC_MAX_MESSAGE_BYTES": "20325"},
                 {"LMDP_BATCH_SIZE": "3", "LMDP_TOPIC_MAX_MESSAGE_BYTES": "1048576"}):  # fmt: skip
        assert Settings.read("example", {**example_values(), **ways}).pipe.batch == int(ways["LMDP_BATCH_SIZE"])


def test_a_batch_is_measured_as_the_pipe_hands_it_over() -> None:
    """Values in base64, and the JSON around each."""
    assert round(payload_bytes(200, 3400)) == 986_667


def test_every_setting_is_documented() -> None:
    """What is read stands in the table of docs/deploy.md."""
    read = set(re.findall(r'"((?:LMDP|SNOWFLAKE)_[A-Z_]+)"', (ROOT / "infra" / "settings.py").read_text()))
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert len(read) > 40
    assert {name for name in read if f"`{name}" not in page} == set()

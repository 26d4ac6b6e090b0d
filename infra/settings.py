"""The settings of one environment: read once from `.env`, the environment and CDK's context, checked whole, frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from infra.containers import TOPIC, Containers
from infra.limits import FUNCTION_ENDPOINTS, check_together
from lmdp.cost.capacity import ROW_BYTES, SNOWFLAKE_REGIONS, Traffic
from lmdp.deployment.naming import CONTAINERS, STACKS, Names
from lmdp.errors import SettingsError
from lmdp.sql.settings import SnowflakeSettings, names_of
from lmdp.sql.settings import environment as whose
from lmdp.support.settings_reader import Reader, ipv4_range

# The permissions boundary that bootstrap makes.
BOUNDARY: Final = "boundary"
# What a pipe calls from an isolated subnet: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
_PIPE_ENDPOINTS: Final = ("pipes-data", "lambda", "sts", "secretsmanager", "kms")
ENDPOINTS: Final = (*_PIPE_ENDPOINTS, *FUNCTION_ENDPOINTS)

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_DAYS: Final = {
    1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH",
    60: "TWO_MONTHS", 90: "THREE_MONTHS", 120: "FOUR_MONTHS", 150: "FIVE_MONTHS", 180: "SIX_MONTHS",
    365: "ONE_YEAR", 400: "THIRTEEN_MONTHS", 545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1096: "THREE_YEARS",
    1827: "FIVE_YEARS", 2192: "SIX_YEARS", 2557: "SEVEN_YEARS", 2922: "EIGHT_YEARS", 3288: "NINE_YEARS",
    3653: "TEN_YEARS",
}  # fmt: skip
# A pipe's execution ends after 300 s, the function's time included.
_MOST_SECONDS: Final = 290
# What LogicMonitor advises; a topic that keeps less loses data in a night.
_LEAST_RETENTION_HOURS: Final = 6

_TAG: Final = r"[A-Za-z0-9 _.:/+@-]{1,128}=[A-Za-z0-9 _.:/=+@-]{0,256}"
_MOST_TAGS: Final = 40
_REGION: Final = r"(?!cn-)[a-z]{2}-[a-z]+-\d"  # not GovCloud (us-gov-…), China (cn-…) and other partitions
_CLUSTER: Final = r"arn:aws:kafka:[a-z0-9-]+:\d{12}:cluster/[A-Za-z0-9-]{1,64}/[0-9a-f-]{36}-\d+"
_SECRET: Final = (r"arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]{1,512}", "the ARN of a secret")
_SUBNET: Final = r"subnet-[0-9a-f]{8,17}"
_GROUP: Final = r"sg-[0-9a-f]{8,17}"
_CA: Final = r"arn:aws:acm-pca:[a-z0-9-]+:\d{12}:certificate-authority/[0-9a-f-]{36}"

_S = TypeVar("_S", "Kafka", "Pipe", "Delivery", "Watch")
_T = TypeVar("_T")


def _setting(read: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """Declare a field of a section by the reader's method that reads it, and what that takes."""
    declared: _T = field(metadata={"read": lambda reader: read(reader, *arguments, **named)})
    return declared


def _section(section: type[_S], read: Reader, **others: Any) -> _S:
    """Read a section; `others` are its fields that more than one setting decides."""
    declared = {one.name: one.metadata["read"] for one in fields(section) if one.name not in others}
    return section(**{name: get(read) for name, get in declared.items()}, **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """The cluster and the topic. `cluster_arn` is None where this project makes the cluster.

    `make_rules`: the deployment adds what the cluster's security group lacks; else it stops and names what is missing.
    """

    cluster_arn: str | None
    cluster_name: str
    brokers: int = _setting(Reader.number, "LMDP_MSK_BROKERS", 2, 90, default=3)
    vpc_id: str = _setting(Reader.text, "LMDP_VPC_ID", r"vpc-[0-9a-f]{8,17}", "the cluster's VPC, vpc-…")
    subnet_ids: tuple[str, ...] = _setting(
        Reader.listed, "LMDP_SUBNET_IDS", _SUBNET, "the cluster's subnets, two or more", least=2
    )
    security_group: str = _setting(Reader.text, "LMDP_SECURITY_GROUP_ID", _GROUP, "the cluster's security group, sg-…")
    collector_cidrs: tuple[str, ...]
    collector_group: str | None = _setting(
        Reader.optional, "LMDP_COLLECTOR_SECURITY_GROUP_ID", _GROUP, "a security group, sg-…"
    )
    endpoints: tuple[str, ...] = _setting(
        Reader.listed, "LMDP_VPC_ENDPOINTS", "|".join(ENDPOINTS), f"some of {', '.join(ENDPOINTS)}"
    )
    vpc_cidrs: tuple[str, ...]
    topic: str = _setting(Reader.text, "LMDP_TOPIC", *TOPIC, default="lm.metrics.otlp")
    make_topic: bool = _setting(Reader.yes, "LMDP_TOPIC_CREATE")
    partitions: int = _setting(Reader.number, "LMDP_TOPIC_PARTITIONS", 1, 1000, default=12)
    retention_hours: int = _setting(
        Reader.number, "LMDP_TOPIC_RETENTION_HOURS", _LEAST_RETENTION_HOURS, 24 * 365, default=24
    )
    max_message_bytes: int = _setting(Reader.number, "LMDP_TOPIC_MAX_MESSAGE_BYTES", 1024, 2**20, default=2**16)
    group: str
    secret_arn: str | None = _setting(Reader.optional, "LMDP_KAFKA_SECRET_ARN", *_SECRET)
    ca_arn: str | None = _setting(Reader.optional, "LMDP_PRIVATE_CA_ARN", _CA, "the ARN of an AWS Private CA")
    version: str = _setting(
        Reader.text, "LMDP_MSK_VERSION", r"\d+\.\d+\.(\d+|x)(\.kraft)?", "a version of MSK's", default="3.8.x"
    )
    instance_type: str = _setting(
        Reader.text, "LMDP_MSK_INSTANCE_TYPE", r"(kafka|express)\.[a-z0-9.]+", "kafka.…", default="kafka.m7g.large"
    )
    storage_gib: int = _setting(Reader.number, "LMDP_MSK_STORAGE_GIB", 1, 16_384, default=500)
    make_rules: bool = _setting(Reader.yes, "LMDP_CLUSTER_RULES")

    @property
    def express(self) -> bool:
        """Express brokers: AWS keeps their disks and their copies."""
        return self.instance_type.startswith("express.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """The pipe and its function. Times in seconds, memory in MiB; `reserved` is None for no reserved concurrency.

    `writer`: the function sends rows to Firehose, or straight to Snowflake.
    """

    batch: int = _setting(Reader.number, "LMDP_BATCH_SIZE", 1, 10_000, default=60)
    window: int = _setting(Reader.number, "LMDP_BATCH_WINDOW_SECONDS", 0, 300, default=5)
    memory: int = _setting(Reader.number, "LMDP_FUNCTION_MEMORY_MIB", 256, 10_240, default=1024)
    timeout: int = _setting(Reader.number, "LMDP_FUNCTION_TIMEOUT_SECONDS", 30, _MOST_SECONDS, default=240)
    reserved: int | None = _setting(Reader.optional_number, "LMDP_RESERVED_CONCURRENCY", 1, 10_000)
    writer: str = _setting(
        Reader.text, "LMDP_WRITER", "firehose|snowflake", "firehose or snowflake", default="firehose"
    )
    firehose_concurrency: int = _setting(Reader.number, "LMDP_FIREHOSE_CONCURRENCY", 1, 32, default=8)
    tenant_header: str | None = _setting(
        Reader.optional,
        "LMDP_TENANT_HEADER",
        r"[A-Za-z0-9._-]{1,200}",
        "the name of a Kafka header, such as lmdp-tenant",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Firehose's way to Snowflake. `host` is the account's, without a scheme.

    `private_host`, `function_subnets` and `function_group`: how setup and canary reach an account by PrivateLink alone.
    """

    host: str
    loader_secret_arn: str | None = _setting(Reader.optional, "LMDP_LOADER_SECRET_ARN", *_SECRET)
    setup_secret_arn: str | None = _setting(Reader.optional, "LMDP_SETUP_SECRET_ARN", *_SECRET)
    buffer_seconds: int = _setting(Reader.number, "LMDP_BUFFER_SECONDS", 0, 900, default=0)
    buffer_mib: int = _setting(Reader.number, "LMDP_BUFFER_MIB", 1, 128, default=1)
    retry_seconds: int = _setting(Reader.number, "LMDP_SNOWFLAKE_RETRY_SECONDS", 0, 7200, default=7200)
    private_link: str | None = _setting(
        Reader.optional, "SNOWFLAKE_PRIVATELINK_VPCE_ID", r"com\.amazonaws\.vpce\.[a-z0-9-]+\.vpce-svc-[0-9a-f]{17}",
        "SYSTEM$GET_PRIVATELINK_CONFIG()'s privatelink-vpce-id",
    )  # fmt: skip
    private_host: str | None = _setting(
        Reader.optional, "SNOWFLAKE_PRIVATE_HOST",
        r"[A-Za-z0-9][A-Za-z0-9_.-]*\.privatelink\.snowflakecomputing\.com",
        "SYSTEM$GET_PRIVATELINK_CONFIG()'s privatelink-account-url",
    )  # fmt: skip
    function_subnets: tuple[str, ...] = _setting(
        Reader.listed, "LMDP_SNOWFLAKE_SUBNET_IDS", _SUBNET, "subnets for the functions that reach Snowflake"
    )
    function_group: str | None = _setting(
        Reader.optional, "LMDP_SNOWFLAKE_SECURITY_GROUP_ID", _GROUP, "those functions' security group, sg-…"
    )

    @property
    def setup_host(self) -> str:
        """The address at which the functions find Snowflake."""
        return self.private_host or self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The subscribers of alarms, and how long things are kept."""

    emails: tuple[str, ...] = _setting(Reader.listed, "LMDP_ALERT_EMAILS", r"[^@\s]+@[^@\s]+", "e-mail addresses")
    urls: tuple[str, ...] = _setting(
        Reader.listed, "LMDP_ALERT_URLS", r"https://[^\s,]+", "HTTPS addresses that confirm an SNS subscription"
    )
    chatbot_arn: str | None = _setting(
        Reader.optional, "LMDP_ALERT_CHATBOT_ARN", r"arn:aws:chatbot::\d{12}:chat-configuration/[a-z-]+/[\w-]+",
        "the ARN of a channel's configuration in Amazon Q Developer in chat applications (AWS Chatbot)",
    )  # fmt: skip
    budget_usd: int = _setting(Reader.number, "LMDP_MONTHLY_BUDGET_USD", 1, 10_000_000)
    log_days: int
    error_days: int = _setting(Reader.number, "LMDP_ERROR_RETENTION_DAYS", 7, 3650, default=90)
    # More than the day between two canaries; and more than the 30 days before a key's end on which the alarm comes.
    canary_hours: int = _setting(Reader.number, "LMDP_CANARY_MAX_AGE_HOURS", 25, 24 * 31, default=26)
    key_days: int = _setting(Reader.number, "LMDP_KEY_MAX_AGE_DAYS", 60, 730, default=365)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the stacks need to know. `org_id` is None when each bundle's resource names its own.

    `secrets_key_arns` are the keys of secrets that are there already, where they are a customer's own. `boundary` is
    the ARN of the permissions boundary of every role: the one that bootstrap makes, or a customer's own. `tags` are
    the customer's, on every resource that takes tags. `bootstrap_template` is the file of a template of their own for
    CDK's bootstrap.
    """

    names: Names
    org_id: str | None
    traffic: Traffic
    kafka: Kafka
    pipe: Pipe
    delivery: Delivery
    containers: Containers
    snowflake: SnowflakeSettings
    watch: Watch
    secrets_key_arns: tuple[str, ...]
    boundary: str
    protect: bool
    tags: Mapping[str, str]
    bootstrap_template: str | None

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks of this environment, in their order."""
        return (*STACKS[:-1], CONTAINERS, STACKS[-1]) if self.containers.services else STACKS

    @property
    def is_direct(self) -> bool:
        """Return whether the function writes straight to Snowflake, so that there is no Firehose."""
        return self.pipe.writer == "snowflake"

    @classmethod
    def read(cls, environment: str, values: Mapping[str, str]) -> Settings:
        """Read and check them. Raises SettingsError, which names every fault."""
        read = Reader(values)
        names = _names(read, environment)
        snowflake, kafka = _snowflake(read, environment), _kafka(read, names)
        settings = cls(
            names=names,
            org_id=_org_id(read),
            traffic=_traffic(read),
            kafka=kafka,
            pipe=_section(Pipe, read),
            delivery=_delivery(read),
            containers=Containers.read(read, kafka.topic),
            snowflake=snowflake,
            watch=_watch(read),
            secrets_key_arns=read.listed(
                "LMDP_SECRETS_KMS_KEY_ARN",
                r"arn:aws:kms:[a-z0-9-]+:\d{12}:key/[\w-]+",
                "the ARNs of the KMS keys of the secrets that are given by their ARNs",
            ),
            boundary=read.optional(
                "LMDP_PERMISSIONS_BOUNDARY_ARN", r"arn:aws:iam::\d{12}:policy/.+", "the ARN of an IAM policy"
            )
            or names.policy_arn(BOUNDARY),
            protect=read.yes("LMDP_TERMINATION_PROTECTION"),
            tags=_tags(read),
            bootstrap_template=read.given("LMDP_BOOTSTRAP_TEMPLATE") or None,
        )
        check_together(read, settings)
        if read.faults:
            raise SettingsError.of(read.faults)
        return settings


def _names(read: Reader, environment: str) -> Names:
    if not (environment.isascii() and environment.isalnum() and environment.islower() and len(environment) <= 12):
        read.fault(f"the environment is {environment!r}; it is 1 to 12 lower-case letters and digits")
    region = read.given("LMDP_AWS_REGION") or "us-east-1"
    if read.given("LMDP_WRITER") == "snowflake":
        read.optional("LMDP_AWS_REGION", _REGION, "a Region of the partition aws")
    elif region not in SNOWFLAKE_REGIONS:
        read.fault(
            f"LMDP_AWS_REGION is {region!r}, where Firehose has no Snowflake: take LMDP_WRITER=snowflake, or one of "
            + ", ".join(SNOWFLAKE_REGIONS)
        )
    account = read.given("LMDP_AWS_ACCOUNT") or _part(read.given("LMDP_MSK_CLUSTER_ARN"), 4)
    if not (account.isascii() and account.isdecimal() and len(account) == 12):
        read.fault(f"LMDP_AWS_ACCOUNT is {account!r}; it is 12 digits, or is read from LMDP_MSK_CLUSTER_ARN")
    # A role's name has 64 characters at most, its path 512:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    path = read.text("LMDP_IAM_PATH", r"/([\w+=,.@-]+/){0,8}", "an IAM path such as /team/lmdp/", default="/")
    prefix = read.given("LMDP_ROLE_NAME_PREFIX")
    if not re.fullmatch(r"[\w+=.@-]{0,24}", prefix):
        read.fault(f"LMDP_ROLE_NAME_PREFIX is {prefix!r}; it is up to 24 letters, digits and +=.@_-")
    pipe = read.number("LMDP_PIPE_REVISION", 1, 99, default=1)
    stream = read.number("LMDP_STREAM_REVISION", 1, 99, default=1)
    return Names(environment, account, region, path, prefix, pipe, stream)


def _tags(read: Reader) -> dict[str, str]:
    """`key=value` pairs. A resource takes 50, of which some are AWS's and ours.

    https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    """
    tags = {}
    for pair in read.listed("LMDP_TAGS", _TAG, "pairs such as team=observability,cost-center=42"):
        key, _, value = pair.partition("=")
        if key in tags or key == "lmdp" or key.lower().startswith("aws:"):
            read.fault(f"LMDP_TAGS has the key {key!r} twice, or one that is not yours to set (lmdp, aws:…)")
        tags[key] = value
    if len(tags) > _MOST_TAGS:
        read.fault(f"LMDP_TAGS has {len(tags)} tags; {_MOST_TAGS} is the most")
    return tags


def _part(arn: str, index: int) -> str:
    parts = arn.split(":")
    return parts[index] if len(parts) > index else ""


def _org_id(read: Reader) -> str | None:
    org_id, from_resource = read.given("LMDP_ORG_ID"), read.yes("LMDP_ORG_ID_FROM_RESOURCE")
    if not org_id and not from_resource:
        read.fault(
            "LMDP_ORG_ID is not set; it is the tenant, which LogicMonitor's bundles do not name "
            "(or LMDP_ORG_ID_FROM_RESOURCE=true, when yours do)"
        )
    if org_id and from_resource:
        read.fault("LMDP_ORG_ID and LMDP_ORG_ID_FROM_RESOURCE=true contradict each other; set one of them")
    return org_id or None


def _traffic(read: Reader) -> Traffic:
    return Traffic(
        devices=read.number("LMDP_PLANNED_DEVICES", 1, 10_000_000),
        datapoints=read.number("LMDP_PLANNED_DATAPOINTS", 1, 1_000_000),
        message_bytes=read.number("LMDP_PLANNED_MESSAGE_BYTES", 100, 2**20),
        message_datapoints=read.number("LMDP_PLANNED_MESSAGE_DATAPOINTS", 1, 100_000, default=6),
        interval=read.number("LMDP_PLANNED_INTERVAL_SECONDS", 1, 3600, default=60),
        row_bytes=read.number("LMDP_PLANNED_ROW_BYTES", 100, 1_024_000, default=ROW_BYTES),
    )


def _kafka(read: Reader, names: Names) -> Kafka:
    arn = read.optional("LMDP_MSK_CLUSTER_ARN", _CLUSTER, "the ARN of a provisioned MSK cluster")
    make = read.yes("LMDP_MSK_CREATE")
    if make == bool(arn):
        read.fault("set LMDP_MSK_CLUSTER_ARN (a cluster that is there) or LMDP_MSK_CREATE=true, one of them")
    if make and not read.given("LMDP_PRIVATE_CA_ARN"):
        read.fault("LMDP_MSK_CREATE=true needs LMDP_PRIVATE_CA_ARN, the CA of the clients' certificates")
    # Lag metrics need an ASCII name without a colon: https://docs.aws.amazon.com/msk/latest/developerguide/consumer-lag.html
    shape, what = r"[a-zA-Z0-9\-/_.@]{1,200}", "letters, digits and -/_.@"
    return _section(
        Kafka,
        read,
        cluster_arn=arn,
        cluster_name=arn.split("/")[1] if arn and "/" in arn else names.cluster,
        collector_cidrs=_cidrs(read, "LMDP_COLLECTOR_CIDRS", "the Collectors'"),
        vpc_cidrs=_cidrs(read, "LMDP_VPC_CIDRS", "the VPC's"),
        group=read.text("LMDP_CONSUMER_GROUP", shape, what, default=names.group),
    )


def _cidrs(read: Reader, name: str, whose: str) -> tuple[str, ...]:
    cidrs = read.networks(name, f"{whose} IPv4 ranges")
    for cidr in cidrs:
        if (network := ipv4_range(cidr)) and network.prefixlen == 0:
            read.fault(f"{name} has {cidr!r}: the whole Internet; name {whose} ranges")
    return cidrs


def _delivery(read: Reader) -> Delivery:
    shape = r"(https://)?[A-Za-z0-9][A-Za-z0-9_.-]*\.snowflakecomputing\.com/?"
    address = read.text("SNOWFLAKE_ACCOUNT_URL", shape, "the account's address, such as xy12345.snowflakecomputing.com")
    return _section(Delivery, read, host=address.removeprefix("https://").removesuffix("/"))


def _watch(read: Reader) -> Watch:
    days = read.number("LMDP_LOG_RETENTION_DAYS", 1, 3653, default=30)
    if days not in LOG_DAYS:
        read.fault(f"LMDP_LOG_RETENTION_DAYS is {days}; CloudWatch knows {', '.join(map(str, LOG_DAYS))}")
    return _section(Watch, read, log_days=days)


def _snowflake(read: Reader, environment: str) -> SnowflakeSettings:
    env = {**read.values, "LMDP_ENVIRONMENT": environment}
    try:
        found = SnowflakeSettings.from_env(env)
    except SettingsError as error:
        read.fault(str(error))
        return SnowflakeSettings()
    _check_sharing(read, found, environment, whose(env))
    return found


def _check_sharing(read: Reader, found: SnowflakeSettings, environment: str, owner: str) -> None:
    """Two key pairs for one user would shut each other out, so that who shares a user shares its secret."""
    theirs = names_of(owner)
    shared = {
        "LMDP_LOADER_SECRET_ARN": found.firehose_user == theirs["firehose_user"],
        "LMDP_SETUP_SECRET_ARN": found.setup_user == theirs["setup_user"],
    }
    missing = [name for name, is_theirs in shared.items() if is_theirs and not read.given(name)]
    if owner != environment and missing:
        read.fault(
            f"SNOWFLAKE_ENVIRONMENT={owner} shares the users of {owner}, whose keys are in its secrets: set "
            f"{' and '.join(missing)} to those, and LMDP_SECRETS_KMS_KEY_ARN to their key"
        )

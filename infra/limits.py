"""Checks of settings together, which AWS would refuse only while a stack is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lmdp.cost.capacity import (
    BROKER_REPLICAS,
    LARGER_BROKER_REPLICAS,
    PIPE_PAYLOAD_BYTES,
    largest_message_bytes,
    payload_bytes,
)
from lmdp.support.settings_reader import Reader

if TYPE_CHECKING:
    from infra.settings import Delivery, Kafka, Pipe, Settings, Watch

COPIES: Final = 3
# What the canary calls, where it is in a VPC.
FUNCTION_ENDPOINTS: Final = ("kinesis-firehose", "ssm")


def check_together(read: Reader, settings: Settings) -> None:
    """Note what only shows when settings are seen together."""
    kafka = settings.kafka
    _check_payload(read, settings.pipe, kafka)
    if settings.traffic.message_bytes > kafka.max_message_bytes:
        read.fault(
            f"LMDP_PLANNED_MESSAGE_BYTES is {settings.traffic.message_bytes:,}, more than the topic takes "
            f"(LMDP_TOPIC_MAX_MESSAGE_BYTES, {kafka.max_message_bytes:,})"
        )
    if settings.pipe.reserved is not None and settings.pipe.reserved < kafka.partitions:
        read.fault(
            f"LMDP_RESERVED_CONCURRENCY is {settings.pipe.reserved}, less than the topic's {kafka.partitions} "
            "partitions: the pipe would be throttled; leave it out, or reserve as many"
        )
    if kafka.brokers < COPIES and (kafka.make_topic or not kafka.cluster_arn):
        wanted = "LMDP_TOPIC_CREATE=true" if kafka.make_topic else "LMDP_MSK_CREATE=true"
        read.fault(f"{wanted} needs LMDP_MSK_BROKERS of {COPIES} or more, for {COPIES} copies of each message")
    if not kafka.cluster_arn:
        _check_cluster(read, kafka)
    if settings.is_direct and settings.snowflake.identifiers == "wrapped":
        read.fault(
            "SNOWFLAKE_IDENTIFIERS is wrapped, which only Firehose's keys need; with LMDP_WRITER=snowflake take quoted"
        )
    if settings.is_direct and "kinesis-firehose" in kafka.endpoints:
        read.fault("LMDP_VPC_ENDPOINTS has kinesis-firehose, which nothing calls with LMDP_WRITER=snowflake")
    if kafka.endpoints and not kafka.vpc_cidrs:
        read.fault(
            "LMDP_VPC_ENDPOINTS needs LMDP_VPC_CIDRS, the VPC's IPv4 ranges: these endpoints answer for the whole VPC. "
            f"aws ec2 describe-vpcs --vpc-ids {kafka.vpc_id} --query 'Vpcs[].CidrBlockAssociationSet[].CidrBlock'"
        )
    _check_private(read, settings.delivery, kafka.endpoints)
    if settings.snowflake.allowed_ips and not settings.delivery.function_group:
        read.fault(
            "SNOWFLAKE_ALLOWED_IPS would shut out the setup function and the canary, which sign in from AWS without "
            "fixed addresses: leave it out, or set LMDP_SNOWFLAKE_SUBNET_IDS and LMDP_SNOWFLAKE_SECURITY_GROUP_ID, and "
            "name the addresses of that VPC too"
        )
    _check_subscribers(read, settings.watch, protect=settings.protect)
    _check_arns(read, settings)


def _check_payload(read: Reader, pipe: Pipe, kafka: Kafka) -> None:
    """A batch of the largest messages has to fit: what a pipe does with more than 6 MB is not documented.

    The topic's max.message.bytes bounds what a producer sends at once; compressed messages may be larger than that.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
    """
    size = payload_bytes(pipe.batch, kafka.max_message_bytes)
    if size <= PIPE_PAYLOAD_BYTES:
        return
    batch = int(PIPE_PAYLOAD_BYTES / payload_bytes(1, kafka.max_message_bytes))
    largest = largest_message_bytes(pipe.batch)
    smaller = (
        f", or LMDP_TOPIC_MAX_MESSAGE_BYTES={largest} and the topic's max.message.bytes" if largest >= 1024 else ""
    )
    read.fault(
        f"LMDP_BATCH_SIZE is {pipe.batch:,}: so many messages of LMDP_TOPIC_MAX_MESSAGE_BYTES "
        f"({kafka.max_message_bytes:,}) come to {size / 1e6:.1f} MB as a pipe hands them over; over "
        f"{PIPE_PAYLOAD_BYTES / 1e6:.1f} MB a partition may be blocked. Take LMDP_BATCH_SIZE={batch}{smaller}"
    )


def _check_cluster(read: Reader, kafka: Kafka) -> None:
    """The rules of a cluster that this project makes.

    https://docs.aws.amazon.com/msk/latest/developerguide/msk-create-cluster.html (subnets, brokers) and
    https://docs.aws.amazon.com/msk/latest/developerguide/msk-broker-types-express.html
    """
    subnets = len(kafka.subnet_ids)
    if kafka.express and subnets != 3:
        read.fault(f"LMDP_SUBNET_IDS has {subnets} subnets; Express brokers take three, in three Availability Zones")
    elif subnets > 3:
        read.fault(f"LMDP_SUBNET_IDS has {subnets} subnets; a cluster takes two or three")
    elif subnets and kafka.brokers % subnets:
        more = kafka.brokers + subnets - kafka.brokers % subnets
        read.fault(
            f"LMDP_MSK_BROKERS is {kafka.brokers}, and LMDP_SUBNET_IDS has {subnets} subnets, over which MSK spreads "
            f"brokers evenly: take LMDP_MSK_BROKERS={more}"
        )
    if kafka.express and read.given("LMDP_MSK_STORAGE_GIB"):
        read.fault("LMDP_MSK_STORAGE_GIB is set, and Express brokers have no disks to size; leave it out")
    replicas = -(-kafka.partitions * COPIES // kafka.brokers)
    most = BROKER_REPLICAS.get(kafka.instance_type.rpartition(".")[2], LARGER_BROKER_REPLICAS)
    if not kafka.express and replicas > most:
        fit = most * kafka.brokers // COPIES
        read.fault(
            f"LMDP_TOPIC_PARTITIONS is {kafka.partitions:,}: {replicas:,} replicas on each broker, and "
            f"{kafka.instance_type} is made for {most:,}. Take LMDP_TOPIC_PARTITIONS={fit}, or larger or more brokers"
        )
    version = tuple(int(part) for part in kafka.version.split(".")[:2] if part.isdecimal())
    if kafka.make_topic and version < (3, 6):
        read.fault(f"LMDP_TOPIC_CREATE=true needs LMDP_MSK_VERSION of 3.6 or newer; it is {kafka.version}")


def _check_arns(read: Reader, settings: Settings) -> None:
    names = settings.names
    arns = {
        "LMDP_MSK_CLUSTER_ARN": settings.kafka.cluster_arn,
        "LMDP_KAFKA_SECRET_ARN": settings.kafka.secret_arn,
        "LMDP_LOADER_SECRET_ARN": settings.delivery.loader_secret_arn,
        "LMDP_SETUP_SECRET_ARN": settings.delivery.setup_secret_arn,
        "LMDP_RECEIVE_CERTIFICATE_ARN": settings.containers.certificate_arn,
    }
    # Every policy and boundary allows the use of this account's keys alone.
    keys = [("LMDP_SECRETS_KMS_KEY_ARN", arn) for arn in settings.secrets_key_arns]
    for name, arn in [*arns.items(), *keys]:
        region, account = (arn or "").split(":")[3:5] if arn and arn.count(":") >= 5 else ("", "")
        if region and region != names.region:
            read.fault(f"{name} is in {region}, and LMDP_AWS_REGION is {names.region}; they have to be the same")
        if account and account != names.account:
            read.fault(f"{name} is in the account {account}, and this environment is in {names.account}")


def _check_private(read: Reader, delivery: Delivery, endpoints: tuple[str, ...]) -> None:
    """A private address needs a function in a VPC, and a VPC both subnets and a group."""
    idle = [endpoint for endpoint in endpoints if endpoint in FUNCTION_ENDPOINTS]
    if idle and not delivery.function_group:
        read.fault(
            f"LMDP_VPC_ENDPOINTS has {', '.join(idle)}, which nothing in the VPC calls: leave it out, or set "
            "LMDP_SNOWFLAKE_SUBNET_IDS and LMDP_SNOWFLAKE_SECURITY_GROUP_ID"
        )
    if bool(delivery.function_subnets) != bool(delivery.function_group):
        read.fault("set both LMDP_SNOWFLAKE_SUBNET_IDS and LMDP_SNOWFLAKE_SECURITY_GROUP_ID, or neither")
    if delivery.private_host and not delivery.function_group:
        read.fault(
            "SNOWFLAKE_PRIVATE_HOST needs LMDP_SNOWFLAKE_SUBNET_IDS and LMDP_SNOWFLAKE_SECURITY_GROUP_ID: "
            "that name resolves in a VPC alone"
        )


def _check_subscribers(read: Reader, watch: Watch, *, protect: bool) -> None:
    if protect and not (watch.emails or watch.urls or watch.chatbot_arn):
        read.fault(
            "nobody would hear an alarm of this protected environment: set LMDP_ALERT_EMAILS, LMDP_ALERT_URLS or "
            "LMDP_ALERT_CHATBOT_ARN"
        )

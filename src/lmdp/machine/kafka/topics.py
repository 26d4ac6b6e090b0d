"""The topic's shape and who may do what on it, by Kafka's admin protocol."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.kafka.access import REQUEST_SECONDS, Admin, KafkaAccess
from lmdp.support.printable import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]  # as above

PARTITIONS = 4
SAFE_REPLICATION = 3  # https://docs.aws.amazon.com/msk/latest/developerguide/bestpractices.html
RETENTION_HOURS = 6  # LogicMonitor's own advice: a consumer that is away for longer loses data
MAX_MESSAGE_BYTES = 1_048_588  # Kafka's own default: 1 MiB, and what a record batch adds
BATCH_OVERHEAD_BYTES = 12

CLUSTER = "kafka-cluster"  # the name of the only resource of its kind
_ADMIN = ("alter", "alter_configs", "create", "describe", "describe_configs")
# librdkafka calls the cluster a broker: RD_KAFKA_RESOURCE_BROKER has the number of Kafka's CLUSTER.
_TYPES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The shape that a topic should have. No `replication`: 3, or as many brokers as there are."""

    partitions: int = PARTITIONS
    replication: int | None = None
    retention_hours: float = 24
    max_message_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicDetails:
    """A topic's settings: `retention_ms` is -1 for ever; `min_replicas` is how many must have a message in sync."""

    name: str
    topic_id: str
    brokers: int
    partitions: int
    replication: int
    behind: tuple[int, ...]  # partitions that lack a replica or a leader
    min_replicas: int
    retention_ms: int
    max_message_bytes: int
    cleanup: str
    unclean_election: bool


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One ACL. `resource` is `topic`, `group` or `cluster`; `operation` has Kafka's name in lower case."""

    principal: str
    resource: str
    name: str
    operation: str
    pattern: str = "literal"
    permission: str = "allow"
    host: str = "*"


def describe(access: KafkaAccess, name: str, *, seconds: float = REQUEST_SECONDS) -> TopicDetails:
    """Read a topic's shape, within `seconds` a request.

    Raises SettingsError when it does not exist, UnreachableError when it is not ready.
    """
    with _administering(access, name) as admin:
        brokers = len(admin.metadata(seconds).brokers)
        described = admin.client.describe_topics(TopicCollection([name]), request_timeout=seconds)[name].result()
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        config = admin.client.describe_configs([resource], request_timeout=seconds)[resource].result()
    return details(brokers, described, {key: entry.value for key, entry in config.items()})


def details(brokers: int, described: TopicDescription, config: Mapping[str, str | None]) -> TopicDetails:
    """Return a topic's shape from the answers of its broker.

    Raises UnreachableError where its partitions are not known yet, LmdpError where a setting is not listed.
    """
    infos = described.partitions
    if not infos:
        raise UnreachableError(
            f"Kafka does not know the partitions of {described.name} yet: it may just have begun. Try again."
        )

    def setting(key: str) -> str:
        value = config.get(key)
        if value is None:
            raise LmdpError(f"Kafka does not list {key} of the topic {described.name!r}, so its shape is not known.")
        return value

    return TopicDetails(
        name=described.name,
        topic_id=str(described.topic_id),
        brokers=brokers,
        partitions=len(infos),
        replication=min(len(info.replicas) for info in infos),
        behind=tuple(info.id for info in infos if len(info.isr) < len(info.replicas) or info.leader is None),
        min_replicas=int(setting("min.insync.replicas")),
        retention_ms=int(setting("retention.ms")),
        max_message_bytes=int(setting("max.message.bytes")),
        cleanup=setting("cleanup.policy"),
        unclean_election=setting("unclean.leader.election.enable") == "true",
    )


def summary(shape: TopicDetails) -> str:
    """Describe a topic's shape in one line."""
    kept = "forever" if shape.retention_ms < 0 else f"for {_duration(shape.retention_ms)}"
    return (
        f"{shape.name}: {counted(shape.partitions, 'partition')}, replication {shape.replication} on "
        f"{counted(shape.brokers, 'broker')}, messages are kept {kept}, and have up to "
        f"{shape.max_message_bytes / 1_048_576:.3g} MiB"
    )


def _duration(ms: float) -> str:
    """Return a time in the largest unit that fits: 30 s, 45 min, 6 hours, 7 days."""
    for length, one, many in ((86_400_000, "day", "days"), (3_600_000, "hour", "hours"), (60_000, "min", "min")):
        if ms >= length:
            return f"{ms / length:.3g} {one if ms == length else many}"
    return f"{ms / 1000:.3g} s"


def faults(
    shape: TopicDetails,
    *,
    partitions: int | None = None,
    retention_hours: float | None = None,
    max_message_bytes: int | None = None,
) -> list[str]:
    """Name what is wrong with a topic's shape, and what it leads to.

    The least that is wanted: `partitions`, `retention_hours` (6 without it); the most that a message may have, which a
    consumer counts on: `max_message_bytes`.
    """
    return [
        *_replica_faults(shape, partitions),
        *_limit_faults(shape, retention_hours, max_message_bytes),
        *_policy_faults(shape),
    ]


def _alter(shape: TopicDetails, setting: str) -> str:
    return f"kafka-configs.sh --alter --topic {shape.name} --add-config {setting}"


def _replica_faults(shape: TopicDetails, partitions: int | None) -> Iterator[str]:
    if partitions is not None and shape.partitions < partitions:
        count = counted(shape.partitions, "partition")
        yield f"{count}, fewer than {partitions}: they bound how many consumers share the work."
    if shape.brokers > 1 and shape.replication < min(SAFE_REPLICATION, shape.brokers):
        yield f"replication {shape.replication} on {shape.brokers} brokers: losing a broker loses messages."
    if shape.replication >= SAFE_REPLICATION and shape.min_replicas < SAFE_REPLICATION - 1:
        fix = _alter(shape, "min.insync.replicas=2")
        yield f"min.insync.replicas is {shape.min_replicas}: a broker may acknowledge a message alone, and die. {fix}"
    if shape.behind:
        yield f"partitions {list(shape.behind)} lack a leader or a replica in sync: look at the brokers."


def _limit_faults(shape: TopicDetails, retention_hours: float | None, max_message_bytes: int | None) -> Iterator[str]:
    kept = RETENTION_HOURS if retention_hours is None else retention_hours
    why = f"LogicMonitor advises {RETENTION_HOURS} hours" if retention_hours is None else f"{kept:g} hours are expected"
    least_bytes = min(MAX_MESSAGE_BYTES, max_message_bytes or MAX_MESSAGE_BYTES)
    if 0 <= shape.retention_ms < kept * 3_600_000:
        yield (
            f"retention is {_duration(shape.retention_ms)}: a consumer that is away for longer loses data; {why}. "
            + _alter(shape, f"retention.ms={int(kept * 3_600_000)}")
        )
    if shape.max_message_bytes < least_bytes:
        yield (
            f"max.message.bytes is {shape.max_message_bytes:,}: a larger bundle is refused at the Collector. "
            + _alter(shape, f"max.message.bytes={least_bytes}")
        )
    if max_message_bytes is not None and shape.max_message_bytes > max_message_bytes + BATCH_OVERHEAD_BYTES:
        yield (
            f"max.message.bytes is {shape.max_message_bytes:,}, more than the {max_message_bytes:,} that are "
            "expected: a batch of such messages may not fit into one call of the consumer. "
            + _alter(shape, f"max.message.bytes={max_message_bytes}")
        )


def _policy_faults(shape: TopicDetails) -> Iterator[str]:
    if shape.unclean_election:
        yield (
            "unclean.leader.election.enable is true: a replica that lacks acknowledged messages may become the "
            "leader, and they are lost. " + _alter(shape, "unclean.leader.election.enable=false")
        )
    if "compact" in shape.cleanup:
        yield (
            f"cleanup.policy is {shape.cleanup}: compaction deletes messages that share a key, and refuses those "
            "without one. " + _alter(shape, "cleanup.policy=delete")
        )


def create(access: KafkaAccess, name: str, wanted: TopicSettings) -> bool:
    """Create the topic; returns False, and changes nothing, when it is there already."""
    with _administering(access, name) as admin:
        replication = wanted.replication or min(SAFE_REPLICATION, len(admin.metadata().brokers))
        settings = {
            "retention.ms": str(int(wanted.retention_hours * 3_600_000)),
            "max.message.bytes": str(wanted.max_message_bytes),
            "min.insync.replicas": str(max(1, replication - 1)),
        }
        new = NewTopic(name, wanted.partitions, replication, config=settings)
        try:
            admin.client.create_topics([new], request_timeout=REQUEST_SECONDS)[name].result()
        except KafkaException as error:
            if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                return False
            raise
    return True


def grants(topic: str, *, collectors: Iterable[str] = (), readers: Iterable[str] = (), group: str = "*") -> list[Grant]:
    """Return the rights of each principal: Collectors write and describe the topic, readers read it and their group.

    Both may read its settings too, which `describe` needs: a topic with an ACL is closed to everybody else.
    A principal is Kafka's, as in `User:CN=collector-1`.
    """
    of = [*((who, "write") for who in collectors), *((who, "read") for who in readers)]
    rights = [
        Grant(who, "topic", topic, operation) for who, use in of for operation in (use, "describe", "describe_configs")
    ]
    return [*rights, *(Grant(who, "group", group, "read") for who in readers)]


def admin_grants(topic: str, admins: Iterable[str], others: Iterable[Grant]) -> list[Grant]:
    """Return the rights to administer the cluster, and `topic` where one of `others` closes it to everybody else.

    Without one the topic is left open: its first ACL, an administrator's, would shut its senders out.
    """
    closed = any(one.resource == "topic" for one in others)
    resources = [("cluster", CLUSTER), *([("topic", topic)] if closed else [])]
    return [Grant(who, kind, name, operation) for who in admins for kind, name in resources for operation in _ADMIN]


def list_grants(access: KafkaAccess, topic: str) -> list[Grant]:
    """List every ACL on `topic`, by its name, by a prefix or by `*`, and every ACL on a group and on the cluster."""
    filters = (
        _filter(ResourceType.TOPIC, topic, ResourcePatternType.MATCH),
        _filter(ResourceType.GROUP, None, ResourcePatternType.ANY),
        _filter(_TYPES["cluster"], None, ResourcePatternType.ANY),
    )
    with _administering(access, topic) as admin:
        answers = [admin.client.describe_acls(one, request_timeout=REQUEST_SECONDS).result() for one in filters]
    return sorted(_grant(binding) for answer in answers for binding in answer)


def apply_grants(access: KafkaAccess, topic: str, wanted: list[Grant]) -> list[Grant]:
    """Add those of `wanted` that are not there, and return them."""
    missing = sorted(set(wanted) - set(list_grants(access, topic)))
    with _administering(access, topic) as admin:
        bindings = [_binding(grant) for grant in missing]
        for done in admin.client.create_acls(bindings, request_timeout=REQUEST_SECONDS).values() if bindings else ():
            done.result()
    return missing


def revoke(access: KafkaAccess, topic: str, principal: str, group: str | None = None) -> list[Grant]:
    """Delete what `principal` is allowed on the topic and on the group, by their names; return what was deleted.

    So is its right to administer the cluster, with which it could allow itself the topic again. Other topics and groups
    keep their ACLs, and a denial stays: without it a client may do more.
    """
    named = [("topic", topic, "any"), *([("group", group, "any")] if group else [])]
    filters = [
        _filter(_TYPES[kind], name, ResourcePatternType.LITERAL, principal, AclPermissionType.ALLOW, operation)
        for kind, name, operation in [*named, *(("cluster", CLUSTER, operation) for operation in _ADMIN)]
    ]
    with _administering(access, topic) as admin:
        ended = admin.client.delete_acls(filters, request_timeout=REQUEST_SECONDS).values()
        return sorted(_grant(binding) for done in ended for binding in done.result())


@contextmanager
def _administering(access: KafkaAccess, topic: str) -> Iterator[Admin]:
    admin = Admin(access)
    with admin.translating(topic):
        try:
            yield admin
        except KafkaException as error:
            if error.args[0].name() != "SECURITY_DISABLED":
                raise
            raise SettingsError(
                f"{access.bootstrap_servers} has no authorizer, so it knows no ACLs: every client may do everything."
            ) from error


def _filter(
    resource: ResourceType,
    name: str | None,
    pattern: ResourcePatternType,
    principal: str | None = None,
    permission: AclPermissionType = AclPermissionType.ANY,
    operation: str = "any",
) -> AclBindingFilter:
    wanted = AclOperation[operation.upper()]
    return AclBindingFilter(resource, name, pattern, principal, None, wanted, permission)  # type: ignore[arg-type]  # None: any


def _grant(binding: AclBinding) -> Grant:
    return Grant(
        principal=binding.principal,
        resource="cluster" if binding.restype is _TYPES["cluster"] else _word(binding.restype),
        name=binding.name,
        operation=_word(binding.operation),
        pattern=_word(binding.resource_pattern_type),
        permission=_word(binding.permission_type),
        host=binding.host,
    )


def _word(member: object) -> str:
    """Name an enum's member; the annotations of confluent_kafka allow text and numbers, which it never returns."""
    assert isinstance(member, Enum)
    return member.name.lower()


def _binding(grant: Grant) -> AclBinding:
    return AclBinding(
        _TYPES[grant.resource],
        grant.name,
        ResourcePatternType[grant.pattern.upper()],
        grant.principal,
        grant.host,
        AclOperation[grant.operation.upper()],
        AclPermissionType[grant.permission.upper()],
    )

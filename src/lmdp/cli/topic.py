"""`lmdp topic check | create | acls`: the topic's settings, and who may do what on it."""

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from lmdp.cli.command import Command, group, option_groups
from lmdp.cli.options import DEFAULT_HOME, Home, Json, KafkaOptions, option
from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.machine.kafka.topics import Grant

NO_ACL = "No ACL matches"
"""Begins the line of a topic that has no ACL; `make deploy` stops at it."""

app = group("The topic: its settings, and who may do what on it.")

Principals = list[str] | None
Partitions = Annotated[
    int, option("--partitions", "Number of partitions; it bounds how many consumers share the work.", min=1)
]


@app.command(cls=Command)
@option_groups()
def check(
    *,
    kafka: KafkaOptions,
    home: Home = DEFAULT_HOME,
    partitions: Annotated[int | None, option("--partitions", "Report a fault if it has fewer.", min=1)] = None,
    retention_hours: Annotated[
        float | None,
        option("--retention-hours", "Report a fault if it keeps messages for less. Without it: 6.", min=0.1),
    ] = None,
    max_message_bytes: Annotated[
        int | None,
        option("--max-message-bytes", "Report a fault if the topic accepts messages larger than this.", min=1024),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the topic's settings and problems; exits 1 if there are any.

    Example: lmdp topic check --partitions 12 --retention-hours 24 --max-message-bytes 1048576
    """
    from lmdp.machine.kafka import topics as admin  # noqa: PLC0415 - loads librdkafka

    shape = admin.describe(kafka.access(home), kafka.topic)
    faults = admin.faults(
        shape, partitions=partitions, retention_hours=retention_hours, max_message_bytes=max_message_bytes
    )
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(shape), "faults": faults}, indent=2))
    else:
        typer.echo(admin.summary(shape))
        for fault in faults:
            typer.echo(f"  wrong: {fault}")
    raise typer.Exit(1 if faults else 0)


@app.command(cls=Command)
@option_groups()
def create(
    *,
    kafka: KafkaOptions,
    home: Home = DEFAULT_HOME,
    partitions: Partitions = 4,
    replication: Annotated[
        int | None, option("--replication", "Copies of each message. Default: 3, or all brokers.", min=1)
    ] = None,
    retention_hours: Annotated[
        float, option("--retention-hours", "How long a consumer may be away without losing messages.", min=0.1)
    ] = 24,
    max_message_bytes: Annotated[int, option("--max-message-bytes", "The largest bundle, as sent.", min=1024)] = 8
    * 1024
    * 1024,
) -> None:
    """Create the topic; an existing one is left as it is.

    Example: lmdp topic create --topic lm.metrics.otlp --partitions 12 --retention-hours 48
    """
    from lmdp.machine.kafka import topics as admin  # noqa: PLC0415 - loads librdkafka

    access, topic = kafka.access(home), kafka.topic
    made = admin.create(access, topic, admin.TopicSettings(partitions, replication, retention_hours, max_message_bytes))
    shape = admin.describe(access, topic)
    typer.echo(f"{'Created' if made else 'Exists, left as it is'}: {admin.summary(shape)}")


@app.command(cls=Command)
@option_groups()
def acls(  # noqa: PLR0913 - each is an option
    *,
    kafka: KafkaOptions,
    home: Home = DEFAULT_HOME,
    collector: Annotated[
        Principals,
        option(
            "--collector NAME",
            "Let this client write to the topic (a Collector or any other sender): a CN, or User:CN=…,O=…",
        ),
    ] = None,
    reader: Annotated[
        Principals, option("--reader NAME", "Let this client, such as a run's or the pipe's, read the topic.")
    ] = None,
    group: Annotated[str | None, option("--group NAME", "The consumer group of --reader, or of --revoke.")] = None,
    admin: Annotated[
        Principals,
        option(
            "--admin NAME",
            "Let this client, and no other, change ACLs, topics and settings of the cluster, and of the topic where it "
            "has ACLs.",
        ),
    ] = None,
    revoke: Annotated[
        Principals,
        option(
            "--revoke NAME",
            "Revoke from this client every right on the topic, with --group its right to that group, and --admin's.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List who may do what on the topic, after granting and revoking rights.

    Collectors write and describe the topic, readers read it and their group, and nobody else gets anything. Granting
    twice changes nothing. On MSK, whose clusters are open to every certificate until they have an ACL, --admin closes
    the cluster itself.

    Example: lmdp topic acls --collector collector-1 --reader pipe --group lmdp-pipe
    """
    from lmdp.machine.kafka import topics  # noqa: PLC0415 - loads librdkafka

    if reader and not group:
        raise SettingsError("--reader needs --group NAME: the consumer group that this client reads with.")
    access, topic = kafka.access(home), kafka.topic
    collectors, readers, admins, former = (
        [_principal(name) for name in given or ()] for given in (collector, reader, admin, revoke)
    )
    if both := sorted({*collectors, *readers, *admins} & {*former}):
        raise SettingsError(f"--revoke names {both[0]}, which another option lets in. Nothing was changed.")
    wanted = topics.grants(topic, collectors=collectors, readers=readers, group=group or "")
    if admins:
        held = topics.list_grants(access, topic)
        if kafka.servers is not None:  # the embedded Kafka's client is its super user
            _refuse_lockout(access, admins, held)
        wanted += topics.admin_grants(topic, admins, [*held, *wanted])
    topics.apply_grants(access, topic, wanted)
    listed = topics.list_grants(access, topic)
    # Last, and not listed again: this client may revoke its own right to do either.
    ended = [grant for name in former for grant in topics.revoke(access, topic, name, group)]
    listed = [grant for grant in listed if grant not in ended]
    text = _table(listed, topic, is_embedded=kafka.servers is None)
    typer.echo(json.dumps([dataclasses.asdict(one) for one in listed], indent=2) if as_json else text)


def _refuse_lockout(access: "KafkaAccess", admins: list[str], held: "list[Grant]") -> None:
    """Refuse the cluster's first ACL where it would shut out who makes it: nobody could change an ACL again."""
    from lmdp.certificates.development_ca import principal_of, read_certificate  # noqa: PLC0415 - loads cryptography

    own = principal_of(read_certificate(access.cert)) if access.cert else "User:ANONYMOUS"
    if own not in admins and not any(one.resource == "cluster" for one in held):
        raise SettingsError(
            f"The cluster's first ACL shuts out every client that it does not name, this one ({own}) too, and then "
            f"perhaps nobody could change an ACL again. Name this client as well: --admin {shlex.quote(own)}"
        )


def _principal(name: str) -> str:
    return name if name.startswith("User:") else f"User:CN={name}"


def _table(listed: "list[Grant]", topic: str, *, is_embedded: bool) -> str:
    lines = [
        f"{one.principal}  {one.permission} {one.operation} {one.resource} {one.name}"
        + ("" if one.pattern == "literal" else f" ({one.pattern})")
        for one in listed
    ]
    if not any(one.resource == "topic" for one in listed):
        lines.append(
            f"{NO_ACL} {topic}. Where allow.everyone.if.no.acl.found is true, as on MSK, every client with a "
            "certificate may read and write it."
        )
    if not is_embedded and not any(one.resource == "cluster" for one in listed):
        lines.append(
            "The cluster has no ACL. Where allow.everyone.if.no.acl.found is true, as on MSK, every client with a "
            "certificate may change these ACLs. See --admin."
        )
    return "\n".join(lines)

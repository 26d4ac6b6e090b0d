"""`lmdp topic check | create | acls` against a real Kafka with ACLs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from lmdp.cli.topic import app
from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker


@pytest.fixture
def run(kafka_broker: KafkaBroker) -> Callable[..., Result]:
    """Run one `lmdp topic` command as the broker's own client."""
    access = kafka_broker.access
    reach = ["--bootstrap-servers", access.bootstrap_servers]
    reach += ["--ca", str(access.ca), "--cert", str(access.cert), "--key", str(access.key)]

    def call(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, [command, *reach, *arguments])

    return call


def test_create_then_check(run: Callable[..., Result]) -> None:
    """A new topic is created once and checks well; a check that finds something off ends with 1 and says what."""
    first = run("create", "--topic", "command.a", "--partitions", "3")
    again = run("create", "--topic", "command.a", "--partitions", "9")
    assert first.stdout.startswith(
        "Created: command.a: 3 partitions, replication 1 on 1 broker, messages are kept for 1 day, and have up to 8 MiB"
    )
    assert again.stdout.startswith("Exists, left as it is: command.a: 3 partitions")
    assert run("check", "--topic", "command.a").exit_code == 0
    off = run("check", "--topic", "command.a", "--partitions", "4", "--json")
    assert off.exit_code == 1
    assert len(json.loads(off.stdout)["faults"]) == 1
    short = run("check", "--topic", "command.a", "--retention-hours", "48", "--max-message-bytes", "1048576")
    assert short.exit_code == 1
    assert [line.split(":")[0] for line in short.stdout.splitlines()[1:]] == ["  wrong", "  wrong"]


def test_acls_are_given_listed_and_taken(run: Callable[..., Result]) -> None:
    """Names become principals; a group must be named for a reader; what is revoked is gone."""
    given = run("acls", "--topic", "command.b", "--collector", "c-1", "--reader", "User:CN=p,O=x", "--group", "g")
    assert given.stdout.splitlines() == [
        "User:CN=c-1  allow describe topic command.b",
        "User:CN=c-1  allow describe_configs topic command.b",
        "User:CN=c-1  allow write topic command.b",
        "User:CN=p,O=x  allow read group g",
        "User:CN=p,O=x  allow describe topic command.b",
        "User:CN=p,O=x  allow describe_configs topic command.b",
        "User:CN=p,O=x  allow read topic command.b",
        (
            "The cluster has no ACL. Where allow.everyone.if.no.acl.found is true, as on MSK, every client with a "
            "certificate may change these ACLs. See --admin."
        ),
    ]
    taken = run("acls", "--topic", "command.b", "--revoke", "c-1", "--revoke", "User:CN=p,O=x", "--group", "g")
    assert taken.stdout.startswith("No ACL matches command.b.")
    refused = run("acls", "--topic", "command.b", "--reader", "p")
    assert isinstance(refused.exception, SettingsError)
    assert "--reader needs --group" in str(refused.exception)


def test_an_administrator_is_let_in_before_the_cluster_is_closed(run: Callable[..., Result]) -> None:
    """Its first ACL names the client that makes it; a topic without ACLs gets none; all is revoked again."""
    refused = run("acls", "--topic", "command.c", "--admin", "a-1")
    assert isinstance(refused.exception, SettingsError)
    assert "Name this client as well: --admin User:CN=lmdp-client" in str(refused.exception)
    first = ["--admin", "lmdp-client", "--admin", "a-1"]
    of_cluster = [
        f"User:CN={name}  allow {operation} cluster kafka-cluster"
        for name in ("a-1", "lmdp-client")
        for operation in ("alter", "alter_configs", "create", "describe", "describe_configs")
    ]
    alone = run("acls", "--topic", "command.c", *first).stdout.splitlines()
    assert (alone[:-1], alone[-1][:15]) == (of_cluster, "No ACL matches ")
    beside = run("acls", "--topic", "command.c", "--collector", "c-1", "--admin", "a-1").stdout.splitlines()
    assert "User:CN=a-1  allow alter_configs topic command.c" in beside
    handed = run("acls", "--topic", "command.c", "--admin", "a-2", "--revoke", "a-1").stdout
    assert ("User:CN=a-2  allow alter cluster" in handed, "User:CN=a-1 " in handed) == (True, False)
    both = run("acls", "--topic", "command.c", "--admin", "a-2", "--revoke", "a-2")
    assert str(both.exception) == "--revoke names User:CN=a-2, which another option lets in. Nothing was changed."
    names = ("a-2", "lmdp-client", "c-1")
    taken = run("acls", "--topic", "command.c", *(word for name in names for word in ("--revoke", name)))
    assert "cluster kafka-cluster" not in taken.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no broker is named and none runs under"),
        (["--ca", "x.pem"], "--ca, --cert and --key are for a broker that --bootstrap-servers names"),
        (["--bootstrap-servers", "nowhere", "--cert", "x.pem"], "3 settings are wrong"),
    ],
)
def test_settings_are_checked_before_anything_is_asked(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Contradictory or unusable options are told at once, all of them."""
    result = CliRunner().invoke(app, ["check", "--home", str(tmp_path), *arguments])
    assert isinstance(result.exception, SettingsError)
    assert told in str(result.exception)

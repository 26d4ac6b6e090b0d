"""Keys: made, kept in Firehose's shape, rotated without a gap, never shown."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner, Result

from lmdp.cli.snowflake import app
from lmdp.deployment.checks import snowflake_fault
from lmdp.errors import LmdpError, SettingsError
from lmdp.snowflake import keypair, secrets
from lmdp.snowflake.connection import der
from lmdp.snowflake.keypair import Rotation
from lmdp.snowflake.secrets import KeySecret
from snowflake_double import Account

moto = pytest.importorskip("moto")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Arrow output on a DB-API"),  # fakesnow's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(boto|moto)"),
]

USER = "LM_FIREHOSE_SVC"
NAME = "lmdp/snowflake"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Secrets Manager, as moto plays it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        yield secrets.secrets_client()


@dataclass
class World:
    """Clock and canary of a rotation."""

    time: float = 0.0
    lands: bool = True
    slept: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.slept.append(seconds)
        self.time += seconds


def rotation(client: Any, connection: Any, world: World) -> Rotation:
    """A rotation in that world."""
    return Rotation(
        USER, NAME, client, connection, lambda: world.time, world.sleep, lambda: world.lands, world.told.append, 2048
    )


def first_key(client: Any, account: Account) -> keypair.KeyPair:
    """The key that is in use at first, in the first slot."""
    pair = keypair.make_pair(2048)
    secrets.write_current(NAME, KeySecret(USER, pair.private), client)
    account.keys[USER] = {"RSA_PUBLIC_KEY": pair.public}
    return pair


def test_a_secret_has_the_shape_that_firehose_reads(client: Any) -> None:
    """`user` and `private_key`: base64 in one line, of PKCS#8, without PEM's first and last."""
    pair = keypair.make_pair(2048)
    secrets.write_current(NAME, KeySecret(USER, pair.private), client)
    held = json.loads(client.get_secret_value(SecretId=NAME)["SecretString"])
    assert set(held) == {"user", "private_key"}
    assert "-----" not in held["private_key"]
    assert "\n" not in held["private_key"]
    loaded = serialization.load_der_private_key(base64.b64decode(held["private_key"]), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.key_size == 2048


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("setting", "region"), [("us-east-1", "us-east-1"), ("", "eu-west-1")])
def test_a_key_goes_to_the_deployments_region(monkeypatch: pytest.MonkeyPatch, setting: str, region: str) -> None:
    """LMDP_AWS_REGION decides where the secret is, else the profile."""
    monkeypatch.setenv("LMDP_AWS_REGION", setting)
    assert secrets.secrets_client().meta.region_name == region


def test_a_key_below_2048_bits_is_refused() -> None:
    """Snowflake would refuse it later."""
    with pytest.raises(SettingsError, match="2048 bits or more"):
        keypair.make_pair(1024)


def test_a_rotation_leaves_no_moment_without_a_key(client: Any, account: Account, connection: Any) -> None:
    """New key pending, registered in the free slot, current after that; the old one goes last."""
    old, world = first_key(client, account), World()
    world.time = secrets.read_versions(NAME, client).changed_at
    account.log.clear()
    keypair.rotate(rotation(client, connection, world))
    new = keypair.pair_of(secrets.read_secret(NAME, client=client))
    assert new != old
    assert account.keys[USER] == {"RSA_PUBLIC_KEY_2": new.public}
    assert [sql.split("=")[0].strip() for sql in account.log if sql.startswith("ALTER")] == [
        f"ALTER USER {USER} SET RSA_PUBLIC_KEY_2",
        f"ALTER USER {USER} UNSET RSA_PUBLIC_KEY",
    ]
    assert sum(world.slept) >= 600
    assert secrets.read_versions(NAME, client).pending is None
    keypair.rotate(rotation(client, connection, world))
    assert list(account.keys[USER]) == ["RSA_PUBLIC_KEY"]


@pytest.mark.parametrize("cut", ["SET RSA", "UNSET RSA", "sleep", "canary"])
def test_a_rotation_goes_on_where_it_was_cut_off(client: Any, account: Account, connection: Any, cut: str) -> None:
    """Wherever it ends, a key works, and the same command finishes with that one new key."""
    old, world = first_key(client, account), World()
    world.time = secrets.read_versions(NAME, client).changed_at
    world.lands = cut != "canary"
    account.denied = re.compile(cut)

    def no_sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    cut_off = rotation(client, connection, world)
    if cut == "sleep":
        cut_off = dataclasses.replace(cut_off, sleep=no_sleep)
    with pytest.raises((LmdpError, KeyboardInterrupt)):
        keypair.rotate(cut_off)
    in_use = keypair.pair_of(secrets.read_secret(NAME, client=client))
    assert in_use.public in account.keys[USER].values()
    assert old.public in account.keys[USER].values()
    account.denied, world.lands = None, True
    pending = secrets.read_versions(NAME, client).pending
    keypair.rotate(rotation(client, connection, world))
    assert secrets.read_versions(NAME, client).current == pending
    assert list(account.keys[USER].values()) == [keypair.pair_of(secrets.read_secret(NAME, client=client)).public]


def test_a_key_that_snowflake_does_not_know_stops_the_rotation(client: Any, account: Account, connection: Any) -> None:
    """Which slot is free cannot be told, so no slot is touched."""
    first_key(client, account)
    account.keys[USER] = {"RSA_PUBLIC_KEY": keypair.make_pair(2048).public}
    before = dict(account.keys[USER])
    with pytest.raises(LmdpError, match="does not know the key"):
        keypair.rotate(rotation(client, connection, World()))
    assert account.keys[USER] == before


def test_a_rotation_overwrites_no_other_key(client: Any, account: Account, connection: Any) -> None:
    """The other slot may be a direct writer's: the rotation names the statement that frees it."""
    first_key(client, account)
    account.keys[USER]["RSA_PUBLIC_KEY_2"] = keypair.make_pair(2048).public
    before = dict(account.keys[USER])
    with pytest.raises(LmdpError, match=f"If nobody does: ALTER USER {USER} UNSET RSA_PUBLIC_KEY_2"):
        keypair.rotate(rotation(client, connection, World()))
    assert account.keys[USER] == before


@pytest.mark.parametrize("user", ["firehose", "setup"])
@pytest.mark.parametrize("options", [["--bits", "2048"], ["--show"]], ids=["new", "show"])
def test_what_an_alter_user_replaces_is_said_before_it(user: str, options: list[str], tmp_path: Path) -> None:
    """Firehose or the setup function may sign in with the key of that slot."""
    file = tmp_path / "writer.p8"
    if options == ["--show"]:
        file.write_bytes(keypair.pem(keypair.make_pair(2048)))
    done = CliRunner().invoke(app, ["keypair", "--user", user, "--file", str(file), *options])
    name = "LM_FIREHOSE_SVC" if user == "firehose" else "LM_SETUP_SVC"
    *_, warning, statement = done.output.splitlines()
    assert warning == (
        f"-- It replaces the key in slot RSA_PUBLIC_KEY. If DESCRIBE USER {name} shows one there that is in use (by "
        "Firehose, the setup function or another run), write RSA_PUBLIC_KEY_2."
    )
    assert statement.startswith(f"ALTER USER {name} SET RSA_PUBLIC_KEY = '")


@pytest.mark.parametrize(
    ("arguments", "env", "error"),
    [
        (["--file"], {}, ""),
        (["--file"], {"SNOWFLAKE_FIREHOSE_SECRET": NAME}, ""),
        (["--secret", NAME, "--file"], {}, "the private key needs one place: --secret NAME or --file FILE"),
    ],
    ids=["file", "file, and the variable", "both"],
)
def test_a_file_that_is_given_beats_the_variable_of_the_secret(
    arguments: list[str], env: dict[str, str], error: str, tmp_path: Path
) -> None:
    """A setting in .env is for the commands that name no place; two places on one command line are refused."""
    file = tmp_path / "setup.p8"
    done = CliRunner().invoke(app, ["keypair", "--bits", "2048", *arguments, str(file)], env=env)
    assert (str(done.exception or ""), file.exists()) == (error, not error)


def test_no_command_prints_a_private_key(client: Any, tmp_path: Any) -> None:
    """Neither making nor showing one, nor an error about one; and what is there is not overwritten."""
    file = tmp_path / "key.p8"
    run = CliRunner()
    outputs = [
        run.invoke(app, ["keypair", "--secret", NAME, "--bits", "2048"]),
        run.invoke(app, ["keypair", "--secret", NAME, "--show"]),
        run.invoke(app, ["keypair", "--secret", NAME]),
        run.invoke(app, ["keypair", "--user", "setup", "--file", str(file), "--bits", "2048"]),
        run.invoke(app, ["keypair", "--user", "setup", "--file", str(file)]),
    ]
    assert [bool(one.exception) for one in outputs] == [False, False, True, False, True]
    private = [secrets.read_secret(NAME, client=client).private_key, base64.b64encode(der(file.read_bytes())).decode()]
    said = "".join(one.output + str(one.exception) + repr(one.exception) for one in outputs)
    assert "ALTER USER LM_FIREHOSE_SVC SET RSA_PUBLIC_KEY = '" in said
    assert "ALTER USER LM_SETUP_SVC SET RSA_PUBLIC_KEY = '" in said
    assert not [part for key in private for part in (key[:40], key[40:90], key[-60:]) if part in said]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "private" not in repr(keypair.make_pair(2048))


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--secret", "lmdp-dev/snowflake-loader"], {}, "LM_FIREHOSE_SVC is the user of prod"),
        (["--secret", "lmdp-dev/snowflake-loader"], {"LMDP_ENVIRONMENT": "prod"}, "--environment dev"),
        (["--secret", "arn:aws:secretsmanager:eu-west-1:1:secret:lmdp-dev/x-AbCdEf"], {}, "of the environment dev"),
        (["--secret", "lmdp-prod/snowflake-loader", "--environment", "dev"], {}, "LM_FIREHOSE_DEV_SVC is the user of"),
        (
            ["--secret", "lmdp-dev/snowflake-loader", "--environment", "dev"],
            {"SNOWFLAKE_ENVIRONMENT": "prod"},
            "LM_FIREHOSE_SVC is the user of prod",
        ),
    ],
)
def test_no_key_replaces_that_of_another_environment(
    client: Any, arguments: list[str], env: dict[str, str], said: str
) -> None:
    """A secret of one environment takes no key of another's user; nothing is made, nothing is printed to paste."""
    secret = arguments[1]
    done = CliRunner(env={"LMDP_ENVIRONMENT": "", **env}).invoke(app, ["keypair", "--bits", "2048", *arguments])
    assert said in str(done.exception)
    assert isinstance(done.exception, SettingsError)
    assert "ALTER USER" not in done.output
    with pytest.raises(LmdpError):
        secrets.read_secret(secret, client=client)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("{}", "is empty"),
        ('{"user": "LM_FIREHOSE_SVC", "private_key": "-----BEGIN PRIVATE KEY-----"}', "has no `private_key`"),
        ('{"username": "me", "password": "x"}', "has no `user`"),
    ],
)
def test_a_value_of_the_wrong_shape_is_replaced(client: Any, there: str, expected: str) -> None:
    """The command that `make deploy` names for such a secret fills it; the value that was there is AWSPREVIOUS."""
    client.create_secret(Name=NAME, SecretString=there)
    done = CliRunner().invoke(app, ["keypair", "--bits", "2048", "--secret", NAME])
    assert (done.exit_code, snowflake_fault(client.get_secret_value(SecretId=NAME)["SecretString"])) == (0, "")
    assert expected in done.output
    assert client.get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")["SecretString"] == there
    again = CliRunner().invoke(app, ["keypair", "--bits", "2048", "--secret", NAME])
    assert isinstance(again.exception, SettingsError)


def test_the_setup_users_key_is_replaced_by_one_command(client: Any) -> None:
    """It is made only where it is asked for; the old one is AWSPREVIOUS, and Firehose's user rotates instead."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["keypair", "--bits", "2048", "--secret", NAME, *arguments])

    call("--user", "setup")
    first = secrets.read_secret(NAME, client=client)
    refused = call("--user", "setup")
    assert str(refused.exception).endswith(f"snowflake keypair --replace --user setup --secret {NAME}")
    assert "--replace is for the setup user's key" in str(call("--replace").exception)
    assert secrets.read_secret(NAME, client=client) == first
    done = call("--user", "setup", "--replace")
    second = secrets.read_secret(NAME, client=client)
    assert (done.exit_code, second.user, second == first) == (0, "LM_SETUP_SVC", False)
    assert keypair.register("LM_SETUP_SVC", keypair.pair_of(second)) in done.output
    assert "has one in RSA_PUBLIC_KEY_2: ALTER USER LM_SETUP_SVC UNSET RSA_PUBLIC_KEY_2;" in done.output
    previous = client.get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")["SecretString"]
    assert json.loads(previous)["private_key"] == first.private_key


def test_each_environment_registers_a_user_of_its_own(client: Any) -> None:
    """Three environments, three users: none of the statements touches another's."""
    said = {
        name: CliRunner(env={"LMDP_ENVIRONMENT": ""})
        .invoke(app, ["keypair", "--bits", "2048", "--environment", name, "--secret", f"lmdp-{name}/snowflake-loader"])
        .output
        for name in ("dev", "test1", "prod")
    }
    users = [text.split("ALTER USER ")[1].split(" SET")[0] for text in said.values()]
    assert users == ["LM_FIREHOSE_DEV_SVC", "LM_FIREHOSE_TEST1_SVC", "LM_FIREHOSE_SVC"]
    assert secrets.read_secret("lmdp-dev/snowflake-loader", client=client).user == "LM_FIREHOSE_DEV_SVC"


@pytest.mark.parametrize("text", ["no JSON", '{"privateKey": "x"}', '["user"]'])
def test_a_secret_in_another_shape_is_refused_unseen(client: Any, text: str) -> None:
    """The error says what the shape is, and nothing of what is in the secret."""
    client.create_secret(Name=NAME, SecretString=text)
    with pytest.raises(SettingsError, match="not in Firehose's shape") as raised:
        secrets.read_secret(NAME, client=client)
    assert text not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_encrypted_key_needs_its_passphrase() -> None:
    """PEM or base64, with a passphrase or without; the error shows nothing of the key, and converts DER."""
    pair = keypair.make_pair(2048)
    key = serialization.load_der_private_key(base64.b64decode(pair.private), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"open")
    )
    assert base64.b64encode(der(locked, "open")).decode() == pair.private
    wrapped = "\r\n".join(textwrap.wrap(pair.private, 64)) + "\r\n"
    for form in (keypair.pem(pair), pair.private.encode() + b"\n", wrapped.encode()):
        assert base64.b64encode(der(form)).decode() == pair.private
    with pytest.raises(SettingsError, match="openssl pkey -inform DER"):
        der(base64.b64decode(pair.private))
    for passphrase in (None, "wrong"):
        with pytest.raises(SettingsError, match="cannot be read"):
            der(locked, passphrase)

"""The first container of a task: secrets as lmdp writes them become files that lmdp reads."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from lmdp.certificates import development_ca
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.receive import senders

SCRIPT = Path(__file__).parents[2] / "deploy" / "secret_files.py"


def ended(home: Path, **env: str) -> tuple[int, str]:
    """Run the script as a container does; its exit code, and what it printed."""
    env = {"PATH": os.environ["PATH"], "LMDP_HOME": str(home), **env}
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("password", ["", "secret"])
def test_secrets_become_files(tmp_path: Path, password: str) -> None:
    """Certificate and key as Kafka's client takes them, the writer's key, and the tokens; for this user alone."""
    made = development_ca.make(tmp_path / "certs").client
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    form = serialization.PrivateFormat.PKCS8
    lock = serialization.BestAvailableEncryption(b"secret") if password else serialization.NoEncryption()
    pem, der = (
        key.private_bytes(encoding, form, lock) for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    )
    kafka = {"certificate": made.cert.read_text(), "privateKey": pem.decode(), "privateKeyPassword": password}
    snowflake = {"user": "U", "private_key": base64.b64encode(der).decode(), "key_passphrase": password}
    senders.add(tmp_path / "tokens", "collector-1")
    env = {"KAFKA": json.dumps(kafka), "SNOWFLAKE": json.dumps(snowflake), "TOKENS": (tmp_path / "tokens").read_text()}
    home = tmp_path / "home"
    home.mkdir()
    assert ended(home, **env) == (0, "")
    keys = home / "keys"
    assert {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir()} == dict.fromkeys(
        ("kafka.pem", "kafka.key", "snowflake.p8", "tokens.json"), 0o600
    )
    assert KafkaAccess("k:9094", cert=keys / "kafka.pem", key=keys / "kafka.key").faults() == []
    assert b"BEGIN PRIVATE KEY" in (keys / "snowflake.p8").read_bytes()
    assert [one.name for one in senders.load(keys / "tokens.json")] == ["collector-1"]


@pytest.mark.parametrize(
    "env",
    [
        {"KAFKA": ""}, {"KAFKA": "{}"}, {"KAFKA": '{"certificate": "c", "privateKey": "secret"}'}, {"TOKENS": "secret"},
        {"SNOWFLAKE": '{"private_key": "c2VjcmV0"}'},
    ],
)  # fmt: skip
def test_a_secret_that_is_none_stops_the_task(tmp_path: Path, env: dict[str, str]) -> None:
    """The log has no part of it."""
    code, text = ended(tmp_path, **env)
    assert code == 1
    assert "a secret is not as lmdp writes it" in text
    assert "Traceback" not in text
    assert not [word for word in ('"secret"', "c2VjcmV0") if word in text]

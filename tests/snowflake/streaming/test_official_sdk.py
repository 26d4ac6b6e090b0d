"""The official SDK against the double, so that the double is more than our own belief."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lmdp.certificates import development_ca
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import snowpipe_double

SDK = "snowpipe-streaming==1.9.1"
SCRIPT = Path(__file__).with_name("official_sdk.py")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python with the SDK, which pins an older msgspec than ours."""
    uv = ROOT / ".uv/bin/uv"
    tool = str(uv) if uv.exists() else shutil.which("uv")
    folder = tmp_path_factory.mktemp("sdk")
    found = folder / "bin/python"
    try:
        assert tool, "there is no uv"
        for command in (["venv", "--clear", "--python", sys.executable, str(folder)], ["pip", "install", SDK]):
            env = {**os.environ, "VIRTUAL_ENV": str(folder)}
            subprocess.run([tool, "--quiet", *command], env=env, check=True, timeout=240)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        why = f"{SDK} cannot be installed: {error}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    yield found
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(400)
def test_the_official_sdk_takes_the_double_for_snowflake(python: Path, tmp_path: Path) -> None:
    """It signs in, opens, appends, sees its rows committed, opens again behind them, and drops; elastic too."""
    certs = development_ca.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certs.server.cert, certs.server.key)
    key = pem(make_pair(2048))
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    with snowpipe_double(tls=tls, key=private.public_key(), commit_s=0.5) as double:
        host, _, port = double.url.removeprefix("https://").partition(":")
        properties = {
            "account": "xy12345",
            "user": "LM_FIREHOSE_SVC",
            "private_key": key.decode(),
            "scheme": "https",
            "host": host,
            "port": int(port),
            "url": double.url,
            "enable_telemetry_reporting": "false",
        }
        env = {**os.environ, "SSL_CERT_FILE": str(certs.ca.cert), "SS_LOG_TARGET": "stderr", "SS_LOG_LEVEL": "error"}
        done = subprocess.run(
            [str(python), str(SCRIPT), json.dumps(properties)],
            env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = [line for line in done.stderr.splitlines() if line.startswith("RESULT ")]
    assert json.loads(found.removeprefix("RESULT ")) == {
        "opened": None, "committed": "2", "inserted": 3, "errors": 0, "reopened": "2",
    }  # fmt: skip
    assert sorted(json.loads(row)["n"] for row in double.rows) == [0, 1, 2, 3]
    assert "c.0" not in double.channels
    operations = {request.operation for request in double.requests}
    assert operations == {"hostname", "token", "pipe-info", "open", "append", "status", "elastic", "drop"}
    assert {request.answer[0] for request in double.requests} == {200}

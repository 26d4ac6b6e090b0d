"""The first container of a task on ECS: secrets, which ECS hands over as variables, become the files that lmdp reads.

KAFKA      {"certificate", "privateKey", "privateKeyPassword"?}, as `lmdp certs --secret` writes it
SNOWFLAKE  {"user", "private_key" (base64), "key_passphrase"?}, as `lmdp snowflake keypair --secret` writes it
TOKENS     the file of `lmdp receive token`

Each that is set is written below `keys` in LMDP_HOME, for this user alone, keys without a password.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization


def files(env: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each file by its name. Raises ValueError, KeyError for a secret that is none."""
    found: dict[str, str] = {}
    if "KAFKA" in env:
        held = json.loads(env["KAFKA"])
        key = serialization.load_pem_private_key(held["privateKey"].encode(), _password(held, "privateKeyPassword"))
        found |= {"kafka.pem": held["certificate"], "kafka.key": _pem(key)}
    if "SNOWFLAKE" in env:
        held = json.loads(env["SNOWFLAKE"])
        der = base64.b64decode(held["private_key"])
        found["snowflake.p8"] = _pem(serialization.load_der_private_key(der, _password(held, "key_passphrase")))
    if "TOKENS" in env:
        json.loads(env["TOKENS"])
        found["tokens.json"] = env["TOKENS"]
    return found


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Write the files, readable by this user alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in contents.items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)


def _password(held: Mapping[str, Any], name: str) -> bytes | None:
    return held[name].encode() if held.get(name) else None


def _pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text: bytes = key.private_bytes(serialization.Encoding.PEM, *form)
    return text.decode()


if __name__ == "__main__":
    try:
        write(Path(os.environ["LMDP_HOME"]) / "keys", files(os.environ))
    except (KeyError, ValueError, TypeError) as error:
        sys.exit(f"a secret is not as lmdp writes it: {type(error).__name__}")  # an error's text may hold a part of it

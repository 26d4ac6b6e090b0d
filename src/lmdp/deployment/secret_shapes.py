"""What is wrong with a secret's shape, in words that never hold its value."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any


def snowflake_fault(text: str | None) -> str:
    """What is wrong with a secret as Firehose reads it; empty when nothing is."""
    held = json_object(text)
    if not held:
        return "has no value, or no JSON object"
    if not isinstance(held.get("user"), str) or not held["user"]:
        return "has no `user`"
    try:
        key = base64.b64decode(held.get("private_key") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        key = b""
    # A DER sequence; PEM's first and last line, or line ends, are what people leave in.
    return "" if key[:1] == b"\x30" else "has no `private_key` of one line of base64 without BEGIN and END"


def kafka_fault(text: str | None) -> str:
    """What is wrong with a secret as a pipe reads it; empty when nothing is."""
    held = json_object(text)
    if not held:
        return "has no value, or no JSON object"
    if "-----BEGIN CERTIFICATE-----" not in str(held.get("certificate")):
        return "has no `certificate` in PEM"
    key = str(held.get("privateKey"))
    if "-----BEGIN PRIVATE KEY-----" in key:
        return ""
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in key and held.get("privateKeyPassword"):
        return ""
    return "has no `privateKey` in PKCS#8 (BEGIN PRIVATE KEY), or an encrypted one without `privateKeyPassword`"


def json_object(text: str | None) -> dict[str, Any] | None:
    """The JSON object in `text`, if there is one."""
    try:
        held = json.loads(text or "")
    except ValueError:
        return None
    return held if isinstance(held, dict) else None

"""Requests to the double of Snowpipe Streaming: routes, JWTs, scoped tokens, and what the SDK asks of a pipe."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

if TYPE_CHECKING:
    from lmdp.testing.snowpipe import SnowpipeDouble

_CLOCKS_DIFFER_S: Final = 60.0
_JWT_S: Final = 3_600
_MILLISECONDS: Final = 10**11


_PIPE = r"/databases/([^/]+)/schemas/([^/]+)/pipes/([^/:]+)"
_ROUTES: Final = (
    ("GET", r"/v2/streaming/hostname", "hostname"),
    ("POST", r"/oauth/token", "token"),
    ("POST", rf"/v2/streaming{_PIPE}:pipe-info", "pipe-info"),
    ("POST", rf"/v2/streaming{_PIPE}:bulk-channel-status", "status"),
    ("PUT", rf"/v2/streaming{_PIPE}/channels/([^/]+)", "open"),
    ("DELETE", rf"/v2/streaming{_PIPE}/channels/([^/]+)", "drop"),
    ("POST", rf"/v2/streaming/data{_PIPE}/channels/ELASTIC/rows", "elastic"),
    ("POST", r"/v2/streaming/data/databases/([^/]+)/schemas/([^/]+)/tables/([^/]+)/rows", "elastic"),
    ("POST", rf"/v2/streaming/data{_PIPE}/channels/([^/]+)/rows", "append"),
    ("POST", r"/telemetry/send/sessionless", "telemetry"),
)


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status


def issue_token(double: SnowpipeDouble, headers: Mapping[str, str], body: bytes) -> bytes:
    """Exchange a JWT for a token of this service: plain text, or JSON as documented."""
    check_jwt(double, headers)
    form = dict(parse_qsl(body.decode()))
    if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" or not form.get("scope"):
        raise RefusedError(400, "ERR_MALFORMED_REQUEST")
    expires = double.now() + double.token_s
    claims = ({"alg": "HS256"}, {"exp": int(expires), "n": len(double.tokens)})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in claims]
    token = ".".join([*parts, "c2ln"])
    double.tokens[token] = expires
    return json.dumps({"token": token}).encode() if double.documented else token.encode()


def check_token(double: SnowpipeDouble, headers: Mapping[str, str]) -> None:
    """Refuse a token that was not issued, or has ended."""
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if double.tokens.get(token, 0.0) < double.now():
        raise RefusedError(401, "ERR_TOKEN_EXPIRED")


def check_jwt(double: SnowpipeDouble, headers: Mapping[str, str]) -> None:
    """Check a JWT as Snowflake does: the key, and a time that is neither over nor yet to come."""
    parts = headers.get("authorization", "").removeprefix("Bearer ").split(".")
    if headers.get("x-snowflake-authorization-token-type") != "KEYPAIR_JWT" or len(parts) != 3:
        raise RefusedError(401, "JWT_TOKEN_INVALID")
    claims = json.loads(_decoded(parts[1]))
    now = double.now()
    # The SDK gives both times in milliseconds, the documents in seconds; a later end than an hour counts as an hour.
    issued, expires = (claims[name] / (1_000 if claims[name] > _MILLISECONDS else 1) for name in ("iat", "exp"))
    if not issued - _CLOCKS_DIFFER_S <= now <= min(expires, issued + _JWT_S):
        raise RefusedError(401, "JWT_TOKEN_INVALID_ISSUE_TIME")
    if double.key is not None:
        public = double.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public)
        fingerprint = f"SHA256:{base64.b64encode(digest.finalize()).decode()}"
        try:
            double.key.verify(_decoded(parts[2]), ".".join(parts[:2]).encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise RefusedError(401, "JWT_TOKEN_INVALID_PUBLIC_KEY_FINGERPRINT_MISMATCH") from error
        if claims["iss"] != f"{claims['sub']}.{fingerprint}":
            raise RefusedError(401, "JWT_TOKEN_INVALID")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def pipe_info(url: str) -> dict[str, Any]:
    """Return the answer to `:pipe-info`, which is not documented, as the SDK accepts it."""
    names = {
        "max_client_lag_seconds": 1,
        "rowset_flush_threshold_kb": 1_024,
        "max_buffered_kb_for_rowset_mode": 16_384,
        "rowset_threshold_lookback_seconds": 10,
        "rowset_threshold_ewma_weight": 50,
        "target_file_size_compressed_mb": 64,
        "cpu_throttle_high_watermark_percent": 90,
        "cpu_throttle_low_watermark_percent": 80,
        "mem_throttle_high_watermark_percent": 90,
        "mem_throttle_low_watermark_percent": 80,
    }
    stage = {
        "location": "b/p/",
        "location_type": "S3",
        "use_s3_regional_url": False,
        "region": "us-east-1",
        "expiry_time_ms": 1_900_000_000_000,
        "storage_account": None,
        "storage_endpoint": urlsplit(url).netloc,
        "bucket_name": "b",
        "path_prefix": "p/",
        "use_fips": False,
        "creds": {"AWS_KEY_ID": "k", "AWS_SECRET_KEY": "s", "AWS_TOKEN": "t"},
        "parameters": names,
    }
    key = base64.b64encode(bytes(32)).decode()
    return {
        "rowset_stage_location": stage,
        "durable_stage_location": stage,
        "encryption_info": {"pipe_key": key, "pipe_key_id": 1, "diversifier": "x"},
        "parameter_overrides": {},
    }


def route(method: str, path: str) -> tuple[str, list[str]]:
    """Return the operation of a request, and the names in its path."""
    for known, pattern, operation in _ROUTES:
        match = re.fullmatch(pattern, path) if known == method else None
        if match is not None:
            return operation, [unquote(name) for name in match.groups()]
    return "unknown", []

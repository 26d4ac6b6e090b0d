"""Senders: tokens and their tenants, in a file that has no token, only their hashes.

A token is 256 random bits, made here. So one round of SHA-256 keeps it: guessing is hopeless at any speed, and
scrypt, which slows the guessing of passwords down, would take a tenth of a second of every request.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import hmac
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec
from filelock import FileLock

from lmdp.errors import LmdpError, RequestRefusedError, SettingsError
from lmdp.receive.answers import too_many, unavailable
from lmdp.support.atomic_files import write_whole
from lmdp.support.opening import file_version, others_may, read_bytes
from lmdp.support.program import program

PREFIX: Final = "lmdp_"  # so that a scanner for secrets knows one
QUERY: Final = "token"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TENANT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_CHALLENGE: Final = 'Bearer realm="lmdp", Basic realm="lmdp"'
_CREDENTIALS: Final = "send Authorization: Bearer TOKEN, or Basic with the token's name and the token"


class Sender(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """A sender, as the file has it: the token's name and hash in hexadecimal. Times are in Unix seconds.

    No tenant: the consumer's setting decides.
    """

    name: str = ""
    sha256: str = ""
    created: int = 0
    tenant: str = ""
    expires: int | None = None
    requests_per_second: float | None = None
    max_body_bytes: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: list[Sender] = msgspec.field(default_factory=list)


def load(path: Path) -> list[Sender]:
    """Return the tokens of a file. Raises SettingsError where it is unreadable, or others may write it."""
    try:
        mode = path.stat().st_mode
        tokens = msgspec.json.decode(read_bytes(path), type=_File).tokens
    except OSError as error:
        raise SettingsError(
            f"the tokens' file {path} cannot be read: {error.strerror}. Make one: {program()} receive token add"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the tokens' file {path} is not as `{program()} receive token` writes it: {error}"
        ) from error
    if others_may(mode, stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(f"the tokens' file {path}: others may write it. Run: chmod go-w {path}")
    return tokens


def add(
    path: Path,
    name: str,
    tenant: str = "",
    *,
    expires_days: int | None = None,
    requests_per_second: float | None = None,
    max_body_bytes: int | None = None,
) -> str:
    """Add a token to the file, and return it: nothing keeps it. Raises SettingsError, LmdpError."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is not a valid name for a token: up to 64 letters, digits, '.', '_' and '-'")
    if tenant and not _TENANT.fullmatch(tenant):
        raise SettingsError("--tenant: up to 200 characters, none of them a control character")
    token, now = PREFIX + secrets.token_urlsafe(32), int(time.time())
    with _changing(path) as tokens:
        if any(name == one.name for one in tokens):
            raise SettingsError(f"{path} has a token {name!r}. Revoke it first, or choose another name.")
        tokens.append(
            Sender(
                name=name,
                sha256=_digest(token).hex(),
                created=now,
                tenant=tenant,
                expires=None if expires_days is None else now + expires_days * 86_400,
                requests_per_second=requests_per_second,
                max_body_bytes=max_body_bytes,
            )
        )
    return token


def revoke(path: Path, name: str) -> None:
    """Take a token out of the file. Raises SettingsError, LmdpError."""
    with _changing(path) as tokens:
        kept = [one for one in tokens if one.name != name]
        if len(kept) == len(tokens):
            raise SettingsError(f"{path} has no token {name!r}. Its tokens: {program()} receive token list")
        tokens[:] = kept


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Sender]]:
    """Yield the tokens, and write what they are at the end of the block; one command at a time."""
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=10, mode=0o600):
            tokens = load(path) if path.exists() else []
            yield tokens
            content = msgspec.json.format(msgspec.json.encode(_File(tokens)), indent=2)
            write_whole(path, content + b"\n")
    except OSError as error:  # also the lock's timeout
        raise LmdpError(f"{path} cannot be changed: {error}. Nothing was changed.") from error


class Senders:
    """The senders that a file admits. Without a file, whoever reaches the receiver is admitted.

    `fault` is what is wrong with the file; empty while nothing is.
    """

    def __init__(self, path: Path | None, *, from_query: bool = False) -> None:
        self._path = path
        self._from_query = from_query
        self._tokens: dict[bytes, Sender] = {}
        self._seen: tuple[int, ...] = ()
        self.fault = ""
        self._buckets: dict[str, tuple[float, float]] = {}  # by name: what is left, and when that was
        if path is not None:
            self._seen, self._tokens = _version(path), _by_digest(load(path))

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return len(self._tokens)

    def refresh(self) -> str:
        """Take up a file that has changed; return what an operator should know, or nothing.

        While it is missing or broken nobody is admitted, and senders are asked to come again.
        """
        if self._path is None or (version := _version(self._path)) == self._seen:
            return ""
        self._seen, self.fault = version, ""
        try:
            self._tokens = _by_digest(load(self._path))
        except SettingsError as error:
            self._tokens, self.fault = {}, str(error)
            return f"{error} Until that is repaired, every request is answered with 503."
        return f"{self._path} has changed: {len(self)} tokens"

    def admit(self, authorization: str, query: bytes, certificate: str) -> Sender:
        """Return who sent a request, by its credentials and the name in its client certificate, which TLS has checked.

        Raises RequestRefusedError: 401, 429 beyond the sender's rate, or 503 while the file is broken.
        """
        if self._path is None:
            return Sender(certificate)
        if self.fault:
            raise unavailable("the receiver cannot read its tokens at the moment; retry the request")
        token = self._token(authorization, query)
        if token.expires is not None and token.expires <= time.time():
            day = dt.datetime.fromtimestamp(token.expires, dt.UTC)
            raise _unauthorized(f"the token {token.name!r} expired on {day:%Y-%m-%d}")
        if token.requests_per_second is not None:
            self._limit(token.name, token.requests_per_second)
        return token

    def _token(self, authorization: str, query: bytes) -> Sender:
        scheme, _, given = authorization.strip().partition(" ")
        name, given = "", given.strip()
        if scheme.lower() == "basic":
            name, given = _basic(given)
        elif not authorization and self._from_query:
            given = next(iter(parse_qs(query.decode("latin-1"), max_num_fields=20).get(QUERY, ())), "")
        elif scheme.lower() != "bearer":
            raise _unauthorized(f"no credentials: {_CREDENTIALS}")
        digest = _digest(given)
        # How long finding it takes may depend on the digest, which says nothing about a token.
        token = self._tokens.get(digest)
        known = hmac.compare_digest(bytes.fromhex(token.sha256) if token else bytes(32), digest)
        if token is None or not known or (name and name != token.name):
            raise _unauthorized(f"the token is unknown here, or was revoked: {_CREDENTIALS}")
        return token

    def _limit(self, name: str, rate: float) -> None:
        """Take a request out of the sender's bucket, which holds a second's, and one request at least."""
        now, most = time.monotonic(), max(1.0, rate)
        left, since = self._buckets.get(name, (most, now))
        left = min(most, left + (now - since) * rate)
        if left < 1.0:
            raise too_many(f"the token {name!r} may send {rate:g} requests a second", (1.0 - left) / rate)
        self._buckets[name] = (left - 1.0, now)


def _by_digest(tokens: list[Sender]) -> dict[bytes, Sender]:
    try:
        return {bytes.fromhex(token.sha256): token for token in tokens}
    except ValueError as error:
        raise SettingsError(f"the tokens' file has a sha256 that is none: {error}") from error


def _basic(given: str) -> tuple[str, str]:
    try:
        name, _, token = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _unauthorized("Authorization: Basic is not the base64 of NAME:TOKEN") from error
    return name, token


def _unauthorized(text: str) -> RequestRefusedError:
    return RequestRefusedError(401, text, www_authenticate=_CHALLENGE)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return *file_version(found), found.st_mode  # others may write it, or no longer

"""Key pairs of the service users: made, registered, rotated through the second slot. No private key is ever shown.

https://docs.snowflake.com/en/user-guide/key-pair-auth
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lmdp.certificates.pem import public_half
from lmdp.errors import LmdpError, SettingsError
from lmdp.snowflake import secrets
from lmdp.snowflake.connection import ask, key_of
from lmdp.snowflake.secrets import KeySecret, Versions
from lmdp.support.program import program

LEAST_BITS: Final = 2048
BITS: Final = 4096
# https://docs.aws.amazon.com/firehose/latest/dev/secrets-manager-how.html (and a minute for clocks that differ)
CACHE_SECONDS: Final = 660

Slot: TypeAlias = Literal["RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2"]
SLOTS: Final[tuple[Slot, Slot]] = ("RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One line of base64 each: `private` PKCS#8, `public` X.509; `fingerprint` is as DESCRIBE USER has it."""

    private: str = field(repr=False)
    public: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """Input of a rotation: the user, its secret, and the clocks and proofs of the real world.

    `landed` sends a canary and returns whether it arrived; `now` is epoch seconds; `report` takes what was done.
    """

    user: str
    secret: str
    client: Any
    connection: Any
    now: Callable[[], float]
    sleep: Callable[[float], None]
    landed: Callable[[], bool]
    report: Callable[[str], None]
    bits: int = BITS


def make_pair(bits: int = BITS) -> KeyPair:
    """A new RSA pair. Raises SettingsError below the 2048 bits that Snowflake asks for."""
    if bits < LEAST_BITS:
        raise SettingsError(f"--bits {bits}: Snowflake takes RSA keys of {LEAST_BITS} bits or more")
    return _pair(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def pair_of(held: KeySecret) -> KeyPair:
    """The pair whose private half a secret holds."""
    key = serialization.load_der_private_key(key_of(held), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SettingsError(f"the key of {held.user} is not an RSA key, which Snowflake requires")
    return _pair(key)


def pem(pair: KeyPair) -> bytes:
    """The private half as a PEM file, for one who keeps it in a file."""
    key = serialization.load_der_private_key(base64.b64decode(pair.private), None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def register(user: str, pair: KeyPair, slot: Slot = "RSA_PUBLIC_KEY") -> str:
    """The statement that makes the public half known."""
    return f"ALTER USER {user} SET {slot} = '{pair.public}'"


def rotate(rotation: Rotation) -> None:
    """Replace the key without a moment in which neither works; resume where an earlier call ended.

    The new key is kept in the secret (pending) before it is registered in the free slot; then it becomes current; the
    old one is unset only when Firehose's cache is over and a canary has landed. Raises LmdpError, with the state.
    """
    versions = secrets.read_versions(rotation.secret, rotation.client)
    if versions.current is None:
        raise LmdpError(
            f"the secret {rotation.secret} has no key to rotate. Nothing was done. "
            f"Make the first: {program()} snowflake keypair"
        )
    if versions.pending is None:
        held = KeySecret(rotation.user, make_pair(rotation.bits).private)
        secrets.write_pending(rotation.secret, held, rotation.client)
        rotation.report("made a new key, and kept it in the secret beside the current one")
        versions = secrets.read_versions(rotation.secret, rotation.client)
    new = pair_of(secrets.read_secret(rotation.secret, versions.pending, rotation.client))
    slot = _register(rotation, new, versions)
    if versions.current != versions.pending:
        secrets.promote(rotation.secret, versions, rotation.client)
        rotation.report("made the new key the secret's current one; Firehose reads it within ten minutes")
        versions = secrets.read_versions(rotation.secret, rotation.client)
    _wait_and_prove(rotation, versions)
    old = SLOTS[1 - SLOTS.index(slot)]
    ask(rotation.connection, f"ALTER USER {rotation.user} UNSET {old}")
    rotation.report(f"unset the old key ({old}): it opens nothing any more")
    assert versions.pending is not None
    secrets.remove_pending(rotation.secret, versions.pending, rotation.client)


def fingerprints(connection: Any, user: str) -> dict[Slot, str]:
    """Return the fingerprint of each slot of the user that holds a key."""
    answer = {str(row["property"]): str(row["value"] or "") for row in ask(connection, f"DESCRIBE USER {user}")}
    held = {slot: answer.get(f"{slot}_FP", "") for slot in SLOTS}
    return {slot: value for slot, value in held.items() if value not in ("", "null")}


def _register(rotation: Rotation, new: KeyPair, versions: Versions) -> Slot:
    """Put the new key into the slot that the key in use does not have; return that slot."""
    held = fingerprints(rotation.connection, rotation.user)
    there = next((slot for slot, value in held.items() if value == new.fingerprint), None)
    if there is not None:
        return there
    old = pair_of(secrets.read_secret(rotation.secret, versions.current, rotation.client))
    used = next((slot for slot, value in held.items() if value == old.fingerprint), None)
    if used is None:
        raise LmdpError(
            f"Snowflake does not know the key that the secret {rotation.secret} holds for {rotation.user}, so which "
            "slot is free is unknown. No key was changed. Register the current one first: "
            f"{program()} snowflake keypair --secret {rotation.secret} --show"
        )
    slot = SLOTS[1 - SLOTS.index(used)]
    if slot in held:
        raise LmdpError(
            f"both slots of {rotation.user} hold a key, and who signs in with {slot} would be locked out. No key was "
            f"changed. If nobody does: ALTER USER {rotation.user} UNSET {slot}, and repeat the command"
        )
    ask(rotation.connection, register(rotation.user, new, slot))
    rotation.report(f"registered the new key as {slot}; both keys work now")
    return slot


def _wait_and_prove(rotation: Rotation, versions: Versions) -> None:
    left = versions.changed_at + CACHE_SECONDS - rotation.now()
    if left > 0:
        rotation.report(
            f"waiting {left / 60:.0f} min for Firehose's cache; stopping here is safe, the same command resumes"
        )
        rotation.sleep(left)
    if not rotation.landed():
        raise LmdpError(
            f"no canary landed with the new key of {rotation.user}. Both keys still work; no row is lost. "
            f"Find out why with `{program()} snowflake verify --canary`, then repeat the command: it resumes here."
        )
    rotation.report("a canary landed")


def _pair(key: rsa.RSAPrivateKey) -> KeyPair:
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public, fingerprint = public_half(key)
    return KeyPair(base64.b64encode(private).decode(), base64.b64encode(public).decode(), fingerprint)

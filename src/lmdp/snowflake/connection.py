"""The connection to Snowflake, as a service user with a key pair, and its errors translated into ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization

from lmdp.certificates import pem
from lmdp.errors import LmdpError, ObjectNotFoundError, PrivilegeError, SettingsError, UnreachableError, translating
from lmdp.snowflake.secrets import KeySecret, read_secret
from lmdp.sql.settings import NO_ACCOUNT, SnowflakeSettings, address
from lmdp.support.opening import read_bytes
from lmdp.support.program import program

if TYPE_CHECKING:
    from snowflake.connector.errors import Error

_LOGIN_SECONDS: Final = 30
# The time for one request, not for a statement, whose end is polled.
_REQUEST_SECONDS: Final = 120
# https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting
_WRONG_KEY: Final = range(390_144, 390_147)
_NO_PRIVILEGE: Final = 3001
# The object does not exist, or this role may not see it: 2003 a table, 2043 what ALTER, GRANT and DESCRIBE name.
_NOT_THERE: Final = (2003, 2043)


@dataclass(frozen=True, slots=True)
class Access:
    """The account's address, the user that signs in, and its private key (PKCS#8, DER), which nothing prints.

    Database and schema are those of the session; statements here name both, so it may have none.
    """

    account_url: str
    user: str
    role: str
    warehouse: str
    key: bytes = field(repr=False)
    database: str = ""
    schema: str = ""


def access_from_env(env: Mapping[str, str], settings: SnowflakeSettings) -> Access:
    """Read `SNOWFLAKE_ACCOUNT_URL` and the key. Raises SettingsError with every fault."""
    faults: list[str] = []
    url = env.get("SNOWFLAKE_ACCOUNT_URL", "").strip()
    if not address(url).hostname:
        faults.append(NO_ACCOUNT)
    key = b""
    try:
        key = _key_from_env(env)
    except SettingsError as error:
        faults.append(str(error))
    if faults:
        raise SettingsError.of(faults)
    return Access(
        account_url=url,
        user=settings.setup_user,
        role=settings.setup_role,
        warehouse=settings.warehouse,
        database=settings.database,
        schema=settings.schema,
        key=key,
    )


def access_from_secret(env: Mapping[str, str], settings: SnowflakeSettings) -> Access:
    """The setup owner's access in a function: user and key of `LMDP_SETUP_SECRET`. Raises LmdpError."""
    held = read_secret(env["LMDP_SETUP_SECRET"])
    return Access(
        account_url=env["SNOWFLAKE_ACCOUNT_URL"],
        user=held.user,
        role=settings.setup_role,
        warehouse=settings.warehouse,
        database=settings.database,
        schema=settings.schema,
        key=key_of(held),
    )


def der(key: bytes, passphrase: str | None = None) -> bytes:
    """A private key as the connector wants it: from PEM, or from base64 as Firehose reads it, wrapped or not."""
    password = passphrase.encode() if passphrase else None
    try:
        loaded = pem.private_key(key, password)
    except (ValueError, TypeError):
        # The library's own message may quote what it could not read.
        raise SettingsError(
            "the private key cannot be read: it is PKCS#8, in PEM or in base64; give its passphrase if it has one. "
            + pem.conversion(key, "FILE", "key")
        ) from None
    return loaded.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_of(held: KeySecret) -> bytes:
    """Return the private key (PKCS#8, DER) that a secret holds. Raises SettingsError."""
    return der(held.private_key.encode(), held.passphrase)


@contextlib.contextmanager
def connected(access: Access, *, login_seconds: int = _LOGIN_SECONDS) -> Iterator[Any]:
    """A connection (snowflake.connector's), closed at the end. Raises LmdpError or UnreachableError."""
    from snowflake.connector import connect  # noqa: PLC0415 - an extra, slow to import; SQL is printed without it
    from snowflake.connector.errors import Error  # noqa: PLC0415 - as above

    parts = address(access.account_url)
    host = parts.hostname or ""
    with translating({Error: lambda error: _login_error(access, error)}):
        connection = connect(
            account=host.removesuffix(".snowflakecomputing.com"),
            host=host,
            port=parts.port or 443,
            protocol=parts.scheme,
            user=access.user,
            role=access.role,
            warehouse=access.warehouse,
            database=access.database or None,
            schema=access.schema or None,
            authenticator="SNOWFLAKE_JWT",
            private_key=access.key,
            login_timeout=login_seconds,
            network_timeout=_REQUEST_SECONDS,
            session_parameters={
                "QUERY_TAG": "lmdp",
                "TIMEZONE": "UTC",
                "QUOTED_IDENTIFIERS_IGNORE_CASE": False,  # an account may set it, and "orgId" would be ORGID
                "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
            },
        )
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Any, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Run one statement and return its rows, with lower-case column names. Raises LmdpError."""
    return list(each(connection, sql, values))


def each(connection: Any, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
    """Run one statement and yield its rows as `ask` returns them, without all of them in memory. Raises LmdpError."""
    from snowflake.connector.errors import Error  # noqa: PLC0415 - as above

    with contextlib.closing(connection.cursor()) as cursor, translating({Error: lambda error: to_error(error, sql)}):
        cursor.execute(sql, tuple(values) or None)
        names = [column[0].lower() for column in cursor.description or ()]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


def to_error(error: Error, sql: str) -> LmdpError:
    """Return the error for a statement that failed; the statement is never one with a key in it."""
    from snowflake.connector.errors import InterfaceError, OperationalError  # noqa: PLC0415 - as above

    what = sql.strip().partition("\n")[0][:120]
    number = int(error.errno or 0)
    text = (error.raw_msg if hasattr(error, "raw_msg") else None) or error.msg or str(error)
    if number == _NO_PRIVILEGE:
        return PrivilegeError(f"a privilege is missing for: {what}\n{text}\n{_BOOTSTRAP}")
    if number in _NOT_THERE:
        return ObjectNotFoundError(f"not there, or not visible to this role: {what}\n{text}\n{_BOOTSTRAP}")
    if isinstance(error, InterfaceError | OperationalError):
        return UnreachableError(
            f"Snowflake did not answer: {what}\n{text}\nTry again; every command here may be repeated."
        )
    return LmdpError(f"Snowflake refused: {what}\n{text}")


_BOOTSTRAP: Final = (
    "All that was done before it stays, and is not done again. Have an ACCOUNTADMIN run what "
    f"`{program()} snowflake ddl --bootstrap` prints, and repeat the command."
)


def _login_error(access: Access, error: Error) -> LmdpError:
    from snowflake.connector.errors import DatabaseError, OperationalError  # noqa: PLC0415 - as above

    number = int(error.errno or 0)
    if number in _WRONG_KEY:
        return LmdpError(
            f"Snowflake knows no such key of {access.user} (error {number}). Nothing was done.\n"
            f"Register its public key: `{program()} snowflake keypair --user setup --show`, with its --file or "
            "--secret, prints the ALTER USER."
        )
    if isinstance(error, DatabaseError) and not isinstance(error, OperationalError):
        return LmdpError(f"{access.user} cannot sign in at {access.account_url}: {error.msg}\nNothing was done.")
    return UnreachableError(f"{access.account_url} cannot be reached: {error.msg}\nNothing was done.")


def _key_from_env(env: Mapping[str, str]) -> bytes:
    file, secret = env.get("SNOWFLAKE_PRIVATE_KEY_FILE"), env.get("SNOWFLAKE_PRIVATE_KEY_SECRET")
    if secret:
        return key_of(read_secret(secret))
    if not file:
        raise SettingsError(
            "the setup user's private key is not set: SNOWFLAKE_PRIVATE_KEY_FILE (PKCS#8) or "
            f"SNOWFLAKE_PRIVATE_KEY_SECRET (a Secrets Manager name or ARN); `{program()} snowflake keypair` makes one"
        )
    try:
        return der(read_bytes(Path(file)), env.get("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"))
    except OSError as error:
        raise SettingsError(f"SNOWFLAKE_PRIVATE_KEY_FILE: {file} cannot be read: {error.strerror}") from error

"""Settings of who writes to Snowflake directly: account, user, key, pipe, and how the columns are named."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from lmdp.core.column_names import KeyStyle
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.snowflake.connection import der, key_of
from lmdp.snowflake.secrets import read_secret
from lmdp.snowflake.streaming.session import Account, PipeName
from lmdp.sql.settings import NO_ACCOUNT, SnowflakeSettings, address
from lmdp.support.opening import read_bytes
from lmdp.support.settings_reader import Reader

TABLE: Final = "ROW_EVENTS"
OWN_PIPE: Final = f"{TABLE}_STREAM"
"""The pipe that takes names of columns as they are: MATCH_BY_COLUMN_NAME = CASE_SENSITIVE."""

DEFAULT_PIPE: Final = f"{TABLE}-STREAMING"
"""The pipe that every table has; it compares names without their case."""

KEYS: Final = ("SNOWFLAKE_WRITER_KEY_FILE", "SNOWFLAKE_WRITER_KEY_SECRET", "SNOWFLAKE_WRITER_KEY_COMMAND")
_COMMAND_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Settings of a writer: who signs in, the pipe, and how the columns are named. `key` reads the key each time."""

    account: Account = field(repr=False)
    place: PipeName
    identifiers: KeyStyle

    @classmethod
    def from_env(
        cls, env: Mapping[str, str], settings: SnowflakeSettings, key: Callable[[], bytes] | None = None
    ) -> WriterSettings:
        """Read account, user, key and pipe. Raises SettingsError with every fault.

        A `key` that is given is not read before it is needed, and the environment names none.
        """
        read = Reader(env)
        url = read.given("SNOWFLAKE_ACCOUNT_URL")
        if not address(url).hostname:
            read.fault(NO_ACCOUNT)
        found = key or _key(read)
        if not (key or read.faults):
            try:
                found()
            except (LmdpError, OSError) as error:
                read.fault(f"the writer's private key: {error}")
        if read.faults:
            raise SettingsError.of(read.faults)
        is_upper = settings.identifiers == "upper"
        pipe = read.given("SNOWFLAKE_PIPE") or (DEFAULT_PIPE if is_upper else OWN_PIPE)
        user = read.given("SNOWFLAKE_WRITER_USER") or settings.firehose_user
        place = PipeName(settings.database, settings.schema, pipe)
        return cls(Account(url, user, found), place, "upper" if is_upper else "quoted")

    @property
    def name(self) -> str:
        """The pipe's address, without a secret."""
        return f"snowflake://{urlsplit(self.account.base).netloc}/{self.place}"


def _key(read: Reader) -> Callable[[], bytes]:
    """Return what reads the private key: a file, a secret of AWS, or what a command prints."""
    file, secret, command = (read.given(name) for name in KEYS)
    given = [name for name, value in zip(KEYS, (file, secret, command), strict=True) if value]
    if len(given) > 1:
        read.fault(f"{' and '.join(given)} are set; the writer has one key: leave one of them")
    passphrase = read.given("SNOWFLAKE_WRITER_KEY_PASSPHRASE") or None
    secret = secret or ("" if file or command else read.given("SNOWFLAKE_FIREHOSE_SECRET"))
    if file:
        return lambda: der(_content(file), passphrase)
    if command:
        return lambda: der(_printed(command), passphrase)
    if secret:
        return lambda: key_of(read_secret(secret))
    read.fault(
        f"the writer's private key is not set: {KEYS[0]} (PKCS#8), {KEYS[1]} (a Secrets Manager name or ARN) or "
        f"{KEYS[2]} (a command that prints it)"
    )
    return bytes


def _content(file: str) -> bytes:
    """Return what a file has; one that is being replaced is missing for a moment."""
    try:
        return read_bytes(Path(file))
    except OSError as error:
        raise UnreachableError(f"the key file {file} cannot be read: {error.strerror or error}") from error


def _printed(command: str) -> bytes:
    """Return what a command prints; it is run without a shell."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=_COMMAND_S, check=True)  # noqa: S603 - the operator's own
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise LmdpError(f"{KEYS[2]} failed: {type(error).__name__}. Run it by hand to see why.") from error
    return done.stdout

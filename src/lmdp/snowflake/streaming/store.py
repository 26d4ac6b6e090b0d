"""Snowflake as the store of a run: settings from the environment, the sink, and its part of status and report."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lmdp.core.column_names import KeyStyle, styled
from lmdp.core.encode import encode
from lmdp.core.specification import Spec
from lmdp.errors import LmdpError, SettingsError
from lmdp.machine.metrics import Progress
from lmdp.machine.settings import Notify
from lmdp.machine.store import OpenStore
from lmdp.machine.warehouse.totals import Totals, by_reason
from lmdp.snowflake.connection import der
from lmdp.snowflake.secrets import read_secret
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.session import Account, Place, Session
from lmdp.snowflake.streaming.sink import SnowflakeSink, writer_name
from lmdp.sql.settings import SnowflakeSettings
from lmdp.support.opening import read_bytes
from lmdp.support.settings_reader import Reader

TABLE: Final = "ROW_EVENTS"
OWN_PIPE: Final = f"{TABLE}_STREAM"
"""The pipe that takes names of columns as they are: MATCH_BY_COLUMN_NAME = CASE_SENSITIVE."""

DEFAULT_PIPE: Final = f"{TABLE}-STREAMING"
"""The pipe that every table has; it compares names without their case."""

_KEYS: Final = ("SNOWFLAKE_WRITER_KEY_FILE", "SNOWFLAKE_WRITER_KEY_SECRET", "SNOWFLAKE_WRITER_KEY_COMMAND")
_COMMAND_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Settings of a writer: who signs in, the pipe, and how the columns are named. `key` reads the key each time."""

    account: Account = field(repr=False)
    place: Place
    identifiers: KeyStyle

    @classmethod
    def from_env(cls, env: Mapping[str, str], settings: SnowflakeSettings) -> WriterSettings:
        """Read account, user, key and pipe. Raises SettingsError with every fault."""
        read = Reader(env)
        url = read.given("SNOWFLAKE_ACCOUNT_URL")
        if not urlsplit(url if "//" in url else f"https://{url}").hostname:
            read.fault(
                "SNOWFLAKE_ACCOUNT_URL is not set; it is the account's address, such as xy12345.snowflakecomputing.com"
            )
        key = _key(read)
        if not read.faults:
            try:
                key()
            except (LmdpError, OSError) as error:
                read.fault(f"the writer's private key: {error}")
        if read.faults:
            raise SettingsError.of(read.faults)
        is_upper = settings.identifiers == "upper"
        pipe = read.given("SNOWFLAKE_PIPE") or (DEFAULT_PIPE if is_upper else OWN_PIPE)
        user = read.given("SNOWFLAKE_WRITER_USER") or settings.firehose_user
        place = Place(settings.database, settings.schema, pipe)
        return cls(Account(url, user, key), place, "upper" if is_upper else "quoted")

    @property
    def name(self) -> str:
        """The pipe's address, without a secret."""
        return f"snowflake://{urlsplit(self.account.base).netloc}/{self.place}"


def _key(read: Reader) -> Callable[[], bytes]:
    """Return what reads the private key: a file, a secret of AWS, or what a command prints."""
    file, secret, command = (read.given(name) for name in _KEYS)
    given = [name for name, value in zip(_KEYS, (file, secret, command), strict=True) if value]
    if len(given) > 1:
        read.fault(f"{' and '.join(given)} are set; the writer has one key: leave one of them")
    passphrase = read.given("SNOWFLAKE_WRITER_KEY_PASSPHRASE") or None
    secret = secret or ("" if file or command else read.given("SNOWFLAKE_FIREHOSE_SECRET"))
    if file:
        return lambda: der(read_bytes(Path(file)), passphrase)
    if command:
        return lambda: der(_printed(command), passphrase)
    if secret:
        return partial(_held, secret)
    read.fault(
        f"the writer's private key is not set: {_KEYS[0]} (PKCS#8), {_KEYS[1]} (a Secrets Manager name or ARN) or "
        f"{_KEYS[2]} (a command that prints it)"
    )
    return bytes


def _held(secret: str) -> bytes:
    held = read_secret(secret)
    return der(held.private_key.encode(), held.passphrase)


def _printed(command: str) -> bytes:
    """Return what a command prints; it is run without a shell."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=_COMMAND_S, check=True)  # noqa: S603 - the operator's own
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise LmdpError(f"{_KEYS[2]} failed: {type(error).__name__}. Run it by hand to see why.") from error
    return done.stdout


@dataclass(slots=True)
class SnowflakeStore:
    """A pipe in Snowflake. What is counted is what this run did: the table is not asked."""

    sink: SnowflakeSink
    name: str
    progress: Progress
    warehouse: None = None

    @contextlib.contextmanager
    def moment(self) -> Iterator[Totals]:
        """The counts of this run."""
        yield self.count()

    def count(self) -> Totals:
        """Return the rows that Snowflake has taken through the channels, and the rejects and gaps of this run."""
        rows = int(self.sink.status()["rowsInserted"])
        return Totals(rows=rows, rejects=self.progress.reasons.copy(), gaps=self.progress.gaps)

    def status(self, totals: Totals, _running_s: float) -> dict[str, Any]:
        """Return what is known here; what only the table knows is null."""
        return {
            "warehouse": self.name,
            "rows": totals.rows,
            "rejects": totals.rejects.total(),
            "rejectsByReason": by_reason(totals),
            "gaps": totals.gaps,
            **_UNKNOWN,
            "missing": self.sink.refused_rows(),
            "oldest": None,
            "newest": None,
            "freshnessSeconds": None,
            "sizeBytes": None,
            "freeBytes": None,
            "daysLeftOnDisk": None,
            "snowflake": self.sink.status(),
        }

    def figures(self, _totals: Totals) -> dict[str, Any]:
        """Return the report's part: rows that Snowflake refused are missing in the table."""
        refused = self.sink.refused_rows()
        return {**_UNKNOWN, "missing": refused, "warehouse": self.name, "snowflake": self.sink.status()}

    def check(self) -> None:
        """Do nothing: a channel that was taken is noticed at the next append."""

    def maintain(self, stop: threading.Event, _notify: Notify, first: threading.Event) -> None:
        """Do nothing: Snowflake removes old rows by a task of its own."""
        first.set()
        stop.wait()

    def end_maintenance(self) -> None:
        """Do nothing."""


_UNKNOWN: Final[Mapping[str, Any]] = {
    "duplicates": 0,
    "missing": 0,
    "holes": 0,
    "clock": {"ahead": 0, "expired": 0},
}


def opening(settings: WriterSettings, spec: Spec) -> OpenStore:
    """Return what opens the store for a run."""

    @contextlib.contextmanager
    def opened(progress: Progress, stop: threading.Event, notify: Notify) -> Iterator[SnowflakeStore]:
        session, writer = Session(settings.account, stop), writer_name()
        keys = styled(spec, settings.identifiers)
        sink = SnowflakeSink(
            Channels(session, settings.place, writer),
            partial(encode, spec=keys),
            settings.name,
            writer=writer,
            stop=stop,
            notify=notify,
        )
        try:
            yield SnowflakeStore(sink, settings.name, progress)
        finally:
            session.close()

    return opened

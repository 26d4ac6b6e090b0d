"""Input and result of a check, and a finding: a result with the check's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

NET_S = 4
"""The longest time for one request over the network, in seconds."""

State: TypeAlias = Literal["ok", "wrong", "not tried"]
Area: TypeAlias = Literal["local", "kafka", "aws", "snowflake"]


@dataclass(frozen=True, slots=True)
class Context:
    """One machine's settings. `servers` is None for the embedded Kafka of `home`; `environment` names a deployment."""

    home: Path
    warehouse: Path
    env: Mapping[str, str]
    topic: str
    servers: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    plaintext: bool = False
    environment: str | None = None
    env_file: Path = Path(".env")


class Result(NamedTuple):
    """State and text; `fix` is what to do about something wrong. No text ever holds a secret."""

    state: State
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check `name`."""

    area: Area
    name: str
    state: State
    text: str
    fix: str

    def to_json(self) -> dict[str, str]:
        """Return the finding as `lmdp doctor --json` shows it."""
        return {"area": self.area, "name": self.name, "state": self.state, "text": self.text, "fix": self.fix}


def ok(text: str) -> Result:
    """Return the result for what is as it should be."""
    return Result("ok", text)


def wrong(text: str, fix: str) -> Result:
    """Return the result for what is wrong; `fix` is the command or the page with the next step."""
    return Result("wrong", text, fix)


def not_tried(why: str) -> Result:
    """Return the result for what is not set up here, or cannot be checked."""
    return Result("not tried", why)


def refused(error: Exception, fix: str) -> Result:
    """Return the result for an error, in one line."""
    return wrong(" ".join(str(error).split()), fix)


def days_left(ends: datetime) -> int:
    """Return the whole days until then."""
    return (ends - datetime.now(UTC)) // timedelta(days=1)

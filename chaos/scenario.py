"""A scenario: a fault on purpose, and what is there afterwards."""

from __future__ import annotations

import functools
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded

Size = Literal["short", "full", "long"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The input and the result of a scenario: all must add up, and `broken` promises must be none.

    `times`: faults injected. `repeats`: rows that are there more than once. `measured`: what else is worth knowing.
    """

    times: int
    messages: int
    expected_rows: int
    found_rows: int
    repeats: int
    rejects: int
    measured: str = ""
    broken: tuple[str, ...] = ()

    def faults(self) -> tuple[str, ...]:
        """Everything that is not as promised."""
        missing = self.expected_rows - self.found_rows
        return (
            *([f"{missing:,} rows are missing"] if missing > 0 else []),
            *([f"{-missing:,} rows too many"] if missing < 0 else []),
            *([f"{self.repeats:,} rows are there more than once"] if self.repeats else []),
            *self.broken,
        )


def broken(promises: dict[str, bool]) -> tuple[str, ...]:
    """The promises that were not kept: `{"what is wrong then": kept}`."""
    return tuple(text for text, kept in promises.items() if not kept)


class Site:
    """The site of scenarios: a folder each, and one Kafka for all that want one."""

    def __init__(self, size: Size, folder: Path, broker: KafkaBroker | None = None) -> None:
        self.size = size
        self._folder = folder
        self._parts = ExitStack()
        self._given = broker

    def by_size(self, short: _T, full: _T, long: _T | None = None) -> _T:
        """The one of these that is meant for this size; without a `long` one, the full one."""
        if self.size == "short":
            return short
        return full if self.size == "full" or long is None else long

    def folder(self) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    @functools.cached_property
    def broker(self) -> KafkaBroker:
        """A real Kafka over mutual TLS, started for the first who asks. Not to be harmed: others use it too."""
        return self._given or self._parts.enter_context(KafkaBroker(embedded(self.folder())))

    def new_topic(self, partitions: int = 4) -> str:
        """Make a topic of its own on that Kafka."""
        name = f"chaos.{uuid.uuid4().hex[:12]}"
        self.broker.create_topic(name, partitions)
        return name

    def close(self) -> None:
        """End what was started."""
        self._parts.close()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and the promise that must hold (one sentence). `play` raises when it could not be played."""

    name: str
    promise: str
    play: Callable[[Site], Outcome] = field(repr=False)

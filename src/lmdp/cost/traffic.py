"""Traffic: planned from devices, or measured by a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from lmdp.cost.basis import is_amount
from lmdp.support.opening import read_bytes
from lmdp.support.program import program

STDIN: Final = "-"
_COUNTS: Final = ("messages", "rows", "bytesIn", "seconds")


@dataclass(frozen=True, slots=True)
class Planned:
    """So many devices, with instances each, datapoints an instance, polled every `interval` seconds."""

    kind: ClassVar = "planned"

    devices: int
    instances: int
    datapoints: int
    interval: float

    def numbers(self) -> dict[str, float]:
        """Return the numbers that formulas may name."""
        return asdict(self)

    def faults(self) -> list[str]:
        """Return what is no load."""
        return [f"--{name} is {value:g}; it is more than 0" for name, value in self.numbers().items() if not value > 0]

    def summary(self) -> str:
        """Return it in words."""
        return (
            f"{self.devices:,} devices x {self.instances:,} instances x {self.datapoints:,} datapoints "
            f"every {self.interval:g} s"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A run: what it took in, and in how many seconds; its rate is used for the month."""

    kind: ClassVar = "measured"

    messages: int
    rows: int
    bytes: int
    seconds: float
    rejects: int = 0

    def numbers(self) -> dict[str, float]:
        """Return the numbers that formulas may name."""
        return {f"run_{name}": value for name, value in asdict(self).items()}

    def summary(self) -> str:
        """Return it in words."""
        return f"a measured run: {self.rows:,} rows of {self.messages:,} messages in {self.seconds:,.0f} s"


def read_run(file: str, faults: list[str]) -> Measured | None:
    """Return the report of `lmdp run --json`, or the run within `lmdp status --json`; None and a fault for neither."""
    where = "standard input" if file == STDIN else file
    try:
        text = sys.stdin.read() if file == STDIN else read_bytes(Path(file)).decode()
        found = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"--report: {where} cannot be read: {error}")
        return None
    except (ValueError, RecursionError) as error:
        faults.append(f"--report: {where} is not valid JSON: {error}")
        return None
    report = _report(found)
    if isinstance(report, str):
        faults.append(f"--report: {where} {report}")
        return None
    return Measured(
        messages=int(report["messages"]),
        rows=int(report["rows"]),
        bytes=int(report["bytesIn"]),
        seconds=float(report["seconds"]),
        rejects=int(report["rejectedMessages"]) if is_amount(report.get("rejectedMessages")) else 0,
    )


def _report(found: object) -> Mapping[str, Any] | str:
    """Return the report within, or what is wrong with it."""
    if isinstance(found, dict) and "running" in found:
        if not isinstance(found["running"], dict):
            return (
                f"is the status of a warehouse that nobody writes to: start `{program()} run`, and repeat the command"
            )
        found = found["running"].get("report")
    if not isinstance(found, dict) or not all(is_amount(found.get(name)) for name in _COUNTS):
        return f"is not a report of a run: {', '.join(_COUNTS)} have to be numbers in it (`{program()} run --json`)"
    if "rowsPerSecond" not in found:
        return f"is a report of a command that reads files, which has no rate: use that of `{program()} run --json`"
    if not all(found[name] for name in _COUNTS):
        return "is the report of a run that took in nothing: let it run for some minutes"
    return found

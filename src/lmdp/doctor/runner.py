"""All checks, in the order of the path, run in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lmdp.doctor import aws, kafka, machine, snowflake
from lmdp.doctor.result import Area, Context, Finding, Result, refused, wrong
from lmdp.errors import LmdpError
from lmdp.support.program import program

PATIENCE_S = 25.0
"""How long all of them together may take, in seconds; what has no answer by then is reported as such."""


class Check(NamedTuple):
    """A check by area and name."""

    area: Area
    name: str
    look: Callable[[Context], Result]


CHECKS: Final = (
    Check("local", "python", machine.python),
    Check("local", "settings", machine.settings_file),
    Check("local", "disk", machine.disk),
    Check("local", "java", machine.java),
    Check("local", "kafka jars", machine.jars),
    Check("local", "certificates", kafka.embedded),
    Check("local", "warehouse", machine.warehouse),
    Check("local", "run", machine.run),
    Check("local", "page", machine.page),
    Check("kafka", "client certificate", kafka.client),
    Check("kafka", "topic", kafka.topic),
    Check("aws", "credentials", aws.credentials),
    Check("aws", "region", aws.region),
    Check("aws", "stacks", aws.stacks),
    Check("aws", "secrets", aws.secrets),
    Check("aws", "network", aws.network),
    Check("aws", "pipe", aws.pipe),
    Check("aws", "alarms", aws.alarms),
    Check("aws", "log groups", aws.logs),
    Check("snowflake", "settings", snowflake.settings),
    Check("snowflake", "login", snowflake.login),
)


@dataclass(slots=True)
class _Running:
    """A check that runs in a thread, which nobody has to wait for."""

    check: Check
    result: Result | None = None
    thread: threading.Thread = field(init=False)

    def begin(self, context: Context) -> None:
        self.thread = threading.Thread(target=self._look, args=[context], name=self.check.name, daemon=True)
        self.thread.start()

    def finding(self, seconds: float, patience: float) -> Finding:
        self.thread.join(max(0.0, seconds))
        late = wrong(
            f"no answer within {patience:g} s", f"check the network and its proxy; then {program()} doctor again"
        )
        result = self.result or late
        return Finding(self.check.area, self.check.name, result.state, result.text, result.fix)

    def _look(self, context: Context) -> None:
        try:
            self.result = self.check.look(context)
        except LmdpError as error:
            self.result = refused(error, f"fix this; then {program()} doctor again")
        except OSError as error:
            self.result = wrong(
                f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), f"{program()} doctor again"
            )


def run_checks(context: Context, checks: Iterable[Check] = CHECKS, *, seconds: float = PATIENCE_S) -> list[Finding]:
    """Run these checks, within `seconds` together; return the findings in their order."""
    running = [_Running(check) for check in checks]
    ends = time.monotonic() + seconds
    for one in running:
        one.begin(context)
    return [one.finding(ends - time.monotonic(), seconds) for one in running]

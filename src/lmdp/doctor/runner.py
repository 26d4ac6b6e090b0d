"""All checks, in the order of the path, made side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lmdp.doctor import aws, certificates, kafka, machine, pipeline, settings_file, snowflake
from lmdp.doctor.context import Place
from lmdp.doctor.result import Area, Finding, Verdict, refused, wrong
from lmdp.errors import LmdpError
from lmdp.support.program import program

PATIENCE_S = 25.0
"""How long all of them together may take, in seconds; what has no answer by then is told so."""


class Check(NamedTuple):
    """What is looked at, and how."""

    area: Area
    name: str
    look: Callable[[Place], Verdict]


CHECKS: Final = (
    Check("local", "python", machine.python),
    Check("local", "settings", settings_file.settings_file),
    Check("local", "disk", machine.disk),
    Check("local", "java", machine.java),
    Check("local", "kafka jars", machine.jars),
    Check("local", "certificates", certificates.embedded),
    Check("local", "warehouse", pipeline.warehouse),
    Check("local", "run", pipeline.run),
    Check("local", "page", pipeline.page),
    Check("kafka", "client certificate", certificates.client),
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
class _Looking:
    """A check under way, in a thread that nobody has to wait for."""

    check: Check
    verdict: Verdict | None = None
    thread: threading.Thread = field(init=False)

    def begin(self, place: Place) -> None:
        self.thread = threading.Thread(target=self._look, args=[place], name=self.check.name, daemon=True)
        self.thread.start()

    def finding(self, seconds: float) -> Finding:
        self.thread.join(max(0.0, seconds))
        late = wrong(
            f"no answer within {PATIENCE_S:g} s", f"look at the network and its proxy; then {program()} doctor again"
        )
        verdict = self.verdict or late
        return Finding(self.check.area, self.check.name, verdict.state, verdict.text, verdict.mend)

    def _look(self, place: Place) -> None:
        try:
            self.verdict = self.check.look(place)
        except LmdpError as error:
            self.verdict = refused(error, f"mend what it says; then {program()} doctor again")
        except OSError as error:
            self.verdict = wrong(
                f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), f"{program()} doctor again"
            )


def examine(place: Place, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Make these checks, within PATIENCE_S together; the findings in their order."""
    under_way = [_Looking(check) for check in checks]
    ends = time.monotonic() + PATIENCE_S
    for looking in under_way:
        looking.begin(place)
    return [looking.finding(ends - time.monotonic()) for looking in under_way]

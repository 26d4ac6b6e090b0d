"""All checks, in the order of the path, run in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from lmdp.doctor import aws, kafka, machine, receiver, snowflake
from lmdp.doctor.result import Area, Context, Finding, Result, refused, wrong
from lmdp.errors import LmdpError
from lmdp.support.program import program

PATIENCE_S = 25.0
"""The longest time for all of them together, in seconds; what has no answer by then is reported as such."""


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
    Check("local", "receiver", receiver.receiver),
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
    Check("snowflake", "direct writer", snowflake.direct_writer),
)


def run_checks(context: Context, checks: Iterable[Check] = CHECKS, *, seconds: float = PATIENCE_S) -> list[Finding]:
    """Run these checks, within `seconds` together; return the findings in their order.

    Each has a thread of its own, which nobody has to wait for.
    """
    ends, found, again = time.monotonic() + seconds, dict[Check, Result](), f"{program()} doctor again"
    late = wrong(f"no answer within {seconds:g} s", f"check the network and its proxy; then {again}")

    def look(check: Check) -> None:
        try:
            found[check] = check.look(context)
        except LmdpError as error:
            found[check] = refused(error, f"fix this; then {again}")
        except OSError as error:
            found[check] = wrong(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), again)

    threads = {check: threading.Thread(target=look, args=[check], name=check.name, daemon=True) for check in checks}
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, ends - time.monotonic()))
    return [Finding(check.area, check.name, *found.get(check, late)) for check in threads]

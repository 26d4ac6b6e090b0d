"""The canary in AWS, each day and whenever it is invoked: `lmdp.snowflake.canary_function.handler`.

It sends one marked row on the way of all rows, looks for it in Snowflake, and looks at the dynamic tables. When all is
well it writes the time into a parameter, from which the watcher makes the metric. The answer has the result of the row:
a caller needs no key of Snowflake.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lmdp.errors import LmdpError, frames
from lmdp.snowflake.custom_resource import Context, write_log

if TYPE_CHECKING:
    from lmdp.snowflake.canary import Arrival
    from lmdp.snowflake.verify import Check

# Kept back for the sign-in and the answer, in seconds.
MARGIN_SECONDS: Final = 60.0
# One in the style that is set, and where it does not land, one in each of the two other styles.
_CANARIES: Final = 3
_LONGEST_SECONDS: Final = 180.0

Send: TypeAlias = Callable[[Mapping[str, str], float], tuple[list[dict[str, Any]], str]]
"""Sends with these settings, waiting so many seconds for each. Raises LmdpError.

Returns the arrivals (`style`, `landed`, `error`), the style that is set first, and what to do about them.
"""


def handler(_event: object, context: Context) -> dict[str, Any]:
    """Send one canary. Never raises: the answer has the reason, and Lambda would send another one."""
    return answer(os.environ, context.get_remaining_time_in_millis() / 1000, send_in_aws)


def answer(env: Mapping[str, str], seconds: float, send: Send) -> dict[str, Any]:
    """Send a canary and return its result within `seconds`.

    `landed`, `error` (empty when it landed), and `canary`, the arrivals by style of keys.
    """
    wait = min(_LONGEST_SECONDS, max(1.0, (seconds - MARGIN_SECONDS) / _CANARIES))
    arrivals: list[dict[str, Any]] = []
    try:
        arrivals, text = send(env, wait)
        error = "" if arrivals[0]["landed"] else text
    except LmdpError as refusal:
        error = str(refusal)
    except Exception as fault:  # noqa: BLE001 - its text might hold a secret
        error = f"{type(fault).__name__} inside the canary function; its log has the place."
        _log(fault=type(fault).__name__, frames=frames(fault))
    done = {"landed": not error, "error": error, "canary": arrivals}
    _log(**done)
    return done


def send_in_aws(env: Mapping[str, str], wait: float) -> tuple[list[dict[str, Any]], str]:
    """Sign in as the setup owner, send a row, look for it, and write the time of its arrival."""
    # Imported here, so that a package that does not load is an answer, too.
    from lmdp.snowflake.canary import canary_of, send_canary, summary  # noqa: PLC0415 - see above
    from lmdp.snowflake.connection import access_from_secret, connected  # noqa: PLC0415 - see above
    from lmdp.snowflake.verify import Installation, refused_lately, verify  # noqa: PLC0415 - see above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - see above
    from lmdp.support.settings_reader import is_direct  # noqa: PLC0415 - see above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - see above

    settings = SnowflakeSettings.from_env(env)
    canary = canary_of(env, settings, env.get("LMDP_DELIVERY_STREAM"), env.get("LMDP_REJECTS_BUCKET"), wait)
    with connected(access_from_secret(env, settings)) as connection:
        scope = Installation(connection, settings, configured_spec(), datetime.now(UTC))
        arrivals = send_canary(scope, canary, env.get("LMDP_ORG_ID") or "lmdp")
        checks = verify(scope, ("refreshes", "tasks"))
        if is_direct(env):  # rows that Firehose could not deliver have an alarm of their own
            checks.append(refused_lately(scope))
    _log(**{check.name: check.said for check in checks})
    record(arrivals, checks, env["LMDP_CANARY_PARAMETER"])
    return [asdict(arrival) for arrival in arrivals], summary(arrivals, settings.identifiers, wait)


def record(arrivals: Sequence[Arrival], checks: Sequence[Check], parameter: str) -> None:
    """Write the time when all is well: the row landed, tables refresh, tasks run, and no row was refused.

    Refused rows are not known where the account keeps none. Raises LmdpError.
    """
    refreshes, *others = checks
    if not (arrivals[0].landed and refreshes.ok) or any(check.ok is False for check in others):
        return
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    from lmdp.snowflake.secrets import aws_client  # noqa: PLC0415 - as above

    try:
        aws_client("ssm").put_parameter(
            Name=parameter, Value=datetime.now(UTC).isoformat(), Type="String", Overwrite=True
        )
    except (BotoCoreError, ClientError) as error:
        raise LmdpError(f"the canary landed, but {parameter} could not be written: {error}") from error


_log = partial(write_log, "lmdp-canary")

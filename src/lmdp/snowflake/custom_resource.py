"""CloudFormation's custom resource that runs the SQL: `lmdp.snowflake.custom_resource.handler`.

CloudFormation waits for one answer at a URL, whatever happens; so every outcome becomes one, in time. The property Hash
identifies the SQL; the hashes that were run so far are kept in the physical id, since CloudFormation returns that. A
hash that was run before is a rollback: the newer tables and views stay, and nothing is run.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from lmdp.errors import LmdpError, frames

PREFIX: Final = "lmdp-snowflake/"
# Kept back for the answer itself, in seconds.
MARGIN_SECONDS: Final = 30.0
# The whole answer is 4,096 bytes at most.
_REASON_CHARACTERS: Final = 1_500
_HASH_CHARACTERS: Final = 12
_HISTORY: Final = 40
_ANSWER_TRIES: Final = 4
_ANSWER_SECONDS: Final = 5.0

Run: TypeAlias = Callable[[Mapping[str, str]], str]
"""Runs the SQL for these settings (by their names in the environment), and says what it did. Raises LmdpError."""


class Context(Protocol):
    """Lambda's context object, as far as it is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends this invocation."""


def handler(event: dict[str, Any], context: Context) -> None:
    """Answer one request of CloudFormation. Never raises: Lambda would call again, and answer twice."""
    respond(event, context, run_sql)


def respond(event: Mapping[str, Any], context: Context, run: Run) -> None:
    """Do what is asked with `run`, within the time that there is, and answer once."""
    wait = max(context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS, 0.1)
    answer = {
        "PhysicalResourceId": str(event.get("PhysicalResourceId") or PREFIX + "never-made"),
        **_in_time(lambda: _outcome(event, run), wait),
        **{name: event.get(name) for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    _log(request=event.get("RequestType"), status=answer["Status"], outcome=answer.get("Reason") or answer.get("Data"))
    _put(str(event.get("ResponseURL")), json.dumps(answer).encode())


def run_sql(given: Mapping[str, str], **options: int) -> str:
    """Sign in as the setup owner, and bring the schema to this version; `options` are those of `connected`."""
    # Imported here, so that a package that does not load is a failure which CloudFormation hears of.
    from lmdp.snowflake.connection import access_from_secret, connected  # noqa: PLC0415 - see above
    from lmdp.snowflake.setup import migrate  # noqa: PLC0415 - see above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - see above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - see above

    settings = SnowflakeSettings.from_env(given)
    with connected(access_from_secret(os.environ, settings), **options) as connection:
        done = migrate(connection, settings, configured_spec())
    ran = f"ran {', '.join(done.applied) or 'nothing'}; {len(done.altered)} changes to the table"
    return "; refused ".join([ran, *done.refused])


def _outcome(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Status, physical id and data of the answer. Raises LmdpError, or anything else."""
    if event["RequestType"] == "Delete":
        return _success(str(event.get("PhysicalResourceId")), "kept: deleting the stack touches nothing in Snowflake")
    properties = event["ResourceProperties"]
    wanted = str(properties["Hash"])[:_HASH_CHARACTERS]
    known = _history(str(event.get("PhysicalResourceId") or ""))
    if wanted in known:
        return _success(
            PREFIX + ".".join(known), f"{wanted} was run before: nothing was run, what is newer in Snowflake stays"
        )
    outcome = run({str(name): str(value) for name, value in properties["Settings"].items()})
    return _success(PREFIX + ".".join([*known, wanted][-_HISTORY:]), outcome)


def _success(physical_id: str, outcome: str) -> dict[str, Any]:
    return {"Status": "SUCCESS", "PhysicalResourceId": physical_id, "Data": {"Outcome": outcome[:_REASON_CHARACTERS]}}


def _history(physical_id: str) -> list[str]:
    """The hashes that were run, the oldest first."""
    hashes = physical_id.removeprefix(PREFIX).split(".") if physical_id.startswith(PREFIX) else []
    return [one for one in hashes if one != "never-made"]


def _in_time(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the result of `work`, or a failure after `seconds`: Snowflake may still end what it began."""
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_caught(work)), name="setup", daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return _failure(
            f"Snowflake did not end the setup within {seconds:.0f} s. What it has done stays, and is not done again. "
            "Look for long statements in Snowflake's query history (QUERY_TAG lmdp), then deploy again."
        )


def _caught(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except LmdpError as error:
        return _failure(str(error))
    except BaseException as error:  # noqa: BLE001 - its text might hold a secret; CloudFormation has to hear all the same
        _log(fault=type(error).__name__, frames=frames(error))
        return _failure(f"{type(error).__name__} inside the setup function; its log ({_log_group()}) says where.")


def _log_group() -> str:
    """Its log group; it is in another stack than the function, so that it outlives a rollback."""
    return os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "the function's log group")


def _failure(reason: str) -> dict[str, Any]:
    return {"Status": "FAILED", "Reason": reason[:_REASON_CHARACTERS]}


def _put(url: str, body: bytes) -> None:
    """Hand the answer over. It is sent again only when nobody took it."""
    for attempt in range(_ANSWER_TRIES):
        # A signed URL of S3 refuses a content type that was not signed.
        request = urllib.request.Request(url, body, {"Content-Type": ""}, method="PUT")  # noqa: S310 - CloudFormation's URL
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310 - as above
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                _log(answer_refused=error.code)
                return
        except OSError as error:
            _log(answer_not_sent=type(error).__name__)
        time.sleep(0.5 * 2**attempt)


def write_log(service: str, **fields: object) -> None:
    """Write one line of a function's log."""
    print(json.dumps({"service": service, **fields}, default=str))


_log = partial(write_log, "lmdp-snowflake-setup")

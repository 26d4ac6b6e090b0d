"""The Lambda function `lmdp.cloud.handler.handler`: settings, sinks and telemetry, made once, and its invocations.

No function has that name: the module's `__getattr__` makes it when Lambda looks it up, while it starts, so that wrong
settings end the start, every fault in one message. Importing this module makes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from lmdp.cloud import telemetry
from lmdp.cloud.firehose_sink import deliver, open_firehose
from lmdp.cloud.pipeline import Invocation, Pipeline, Sink
from lmdp.cloud.reject_sink import reject_bucket, s3_client
from lmdp.cloud.settings import Settings
from lmdp.cloud.telemetry import Telemetry, open_telemetry
from lmdp.errors import InternalError, LmdpError


class Context(Protocol):
    """Lambda's context object, as far as it is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends this invocation."""


@dataclass(slots=True)
class Function:
    """The function, ready to be called. `cold` until the first call."""

    pipeline: Pipeline
    telemetry: Telemetry
    cold: bool = True

    def __call__(self, event: object, context: Context) -> dict[str, Any]:
        """Handle one event; returns its summary, which a pipe ignores."""
        invocation = Invocation(self.pipeline, time.time_ns() // 1_000_000, telemetry.steps())
        failure = ""
        try:
            invocation.run(event, context.get_remaining_time_in_millis() / 1000)
        except LmdpError as error:
            failure = type(error).__name__
            raise
        except Exception as error:  # noqa: BLE001 - its text might hold data, and Lambda would log it
            failure = telemetry.log_fault(self.telemetry, error)
            raise InternalError(
                f"{failure} inside the function; the log has the place. The batch is sent again."
            ) from None
        finally:
            telemetry.record(
                self.telemetry, invocation, request_id=context.aws_request_id, cold_start=self.cold, failure=failure
            )
            self.cold = False
        return invocation.summary()


def open_function(env: dict[str, str]) -> Function:
    """Read the settings and open the sinks. Raises LmdpError; nothing is sent yet."""
    settings = Settings.from_env(env)
    client: Callable[[], Any] = partial(s3_client, settings.region, attempts=1)
    pipeline = Pipeline(
        transform=settings.transform,
        row_spec=settings.row_spec,
        write_rejects=reject_bucket(settings.bucket, settings.prefix, settings.kms_key, client),
        sink=_sink(settings, env),
        margin=settings.margin,
    )
    return Function(pipeline, open_telemetry(env))


def _sink(settings: Settings, env: dict[str, str]) -> Sink:
    if settings.writer is not None:
        from lmdp.cloud.snowflake_sink import into_snowflake  # noqa: PLC0415 - loads cryptography

        return Sink("snowflake", into_snowflake(settings.writer))
    firehose = open_firehose(settings.stream, settings.region, env, settings.concurrency)
    return Sink("firehose", partial(deliver, firehose), firehose.clock)


def __getattr__(name: str) -> Function:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = function = open_function(dict(os.environ))
    return function

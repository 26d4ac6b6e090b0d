"""The function that the pipe calls: settings, sinks and telemetry, made once, and what an invocation answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from lmdp.cloud import telemetry
from lmdp.cloud.firehose_sink import open_firehose
from lmdp.cloud.pipeline import Path, Report, invoke
from lmdp.cloud.reject_sink import reject_bucket, s3_client
from lmdp.cloud.settings import Settings
from lmdp.cloud.telemetry import Telemetry, open_telemetry
from lmdp.errors import InternalError, LmdpError


class Context(Protocol):
    """What is used of Lambda's context object."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """The milliseconds until Lambda ends this invocation."""


@dataclass(slots=True)
class Function:
    """The function, ready to be called. `cold` until the first call."""

    path: Path
    telemetry: Telemetry
    cold: bool = True

    def __call__(self, event: object, context: Context) -> dict[str, Any]:
        """Handle one event; the answer is the summary, which a pipe does not look at."""
        report, failure = Report(), ""
        try:
            self._run(event, context, report)
        except LmdpError as error:
            failure = type(error).__name__
            raise
        except Exception as error:  # noqa: BLE001 - its text might hold data, and Lambda would log it
            failure = telemetry.fault(self.telemetry, error)
            raise InternalError(
                f"{failure} inside the function; the log says where. The batch is sent again."
            ) from None
        finally:
            telemetry.note(
                self.telemetry, report, request_id=context.aws_request_id, cold_start=self.cold, failure=failure
            )
            self.cold = False
        return report.summary()

    def _run(self, event: object, context: Context, report: Report) -> None:
        invoke(
            event,
            replace(self.path, step=telemetry.steps()),
            report,
            now_ms=time.time_ns() // 1_000_000,
            seconds_left=context.get_remaining_time_in_millis() / 1000,
        )


def open_function(env: dict[str, str]) -> Function:
    """Read the settings and open the sinks. Raises LmdpError; nothing is sent yet."""
    settings = Settings.from_env(env)
    client: Callable[[], Any] = partial(s3_client, settings.region, attempts=1)
    path = Path(
        transform=settings.transform,
        keys=settings.keys,
        write_rejects=reject_bucket(settings.bucket, settings.prefix, settings.kms_key, client),
        firehose=open_firehose(settings.stream, settings.region, env, settings.concurrency),
        margin=settings.margin,
        step=telemetry.steps(),
    )
    return Function(path, open_telemetry(env))

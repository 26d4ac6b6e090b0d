"""The two functions that Lambda could call, ours and a plain one, and what they are called with.

Nothing is imported here that is not in the functions too: their memory is measured.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TextIO

from benchmarks import workloads
from benchmarks.peers import plain

STREAM: Final = "metrics"
REGION: Final = "eu-west-1"
MESSAGES: Final = 200  # an event's: the pipe's batch
EXAMPLE: Final = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "an-example"}  # pragma: allowlist secret


class Context:
    """Lambda's context, as far as it is used."""

    aws_request_id = "00000000-0000-0000-0000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Enough."""
        return 60_000


def environment(url: str) -> dict[str, str]:
    """Return the function's environment in Lambda, with Firehose at `url`."""
    return {
        **EXAMPLE,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "LMDP_DELIVERY_STREAM": STREAM,
        "LMDP_REJECTS_BUCKET": "none-needed",
        "LMDP_ORG_ID": plain.ORG,
        "AWS_ENDPOINT_URL_FIREHOSE": url,
    }


def event(messages: Sequence[bytes]) -> list[dict[str, Any]]:
    """An event as a pipe gives it."""
    return [
        {
            "eventSource": "aws:kafka",
            "topic": "lm.metrics.otlp",
            "partition": "0",
            "offset": number,
            "timestamp": workloads.START_MS,
            "value": b64encode(value).decode(),
        }
        for number, value in enumerate(messages)
    ]


def events(messages: Sequence[bytes]) -> list[list[dict[str, Any]]]:
    """Messages in events of 200."""
    return [event(messages[at : at + MESSAGES]) for at in range(0, len(messages), MESSAGES)]


def ours() -> Callable[[list[dict[str, Any]]], int]:
    """The function, as the process's environment sets it up; its log goes nowhere."""
    from lmdp.cloud.handler import open_function  # noqa: PLC0415 - it reads the environment

    with contextlib.redirect_stdout(_nowhere()):  # the logger keeps what it finds now, the metrics look each time
        function = open_function(dict(os.environ))

    def handle(given: list[dict[str, Any]]) -> int:
        with contextlib.redirect_stdout(_nowhere()):
            return int(function(given, Context())["delivered"])

    return handle


@cache
def _nowhere() -> TextIO:
    """One file for as long as the process: the logger keeps it, and is itself kept."""
    return Path(os.devnull).open("w", encoding="utf-8")


def theirs() -> Callable[[list[dict[str, Any]]], int]:
    """The plain function."""
    return plain.handler(open_client(), STREAM)


@contextlib.contextmanager
def double() -> Iterator[str]:
    """The Firehose double in a process of its own, and the environment that leads there; gives its URL."""
    command = [sys.executable, "-m", "lmdp.testing.firehose"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().strip()
        before = dict(os.environ)
        os.environ.update(environment(url))
        try:
            yield url
        finally:
            os.environ.clear()
            os.environ.update(before)
            process.stdin.close()


def open_client() -> Any:
    """boto3's client of the double."""
    import boto3  # noqa: PLC0415 - after the environment

    return boto3.client("firehose", region_name=REGION, endpoint_url=os.environ["AWS_ENDPOINT_URL_FIREHOSE"])

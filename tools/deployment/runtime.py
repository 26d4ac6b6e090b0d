"""The outside of the tool: commands, AWS, and the user at the terminal."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from infra.assets import OUTPUT, ROOT
from infra.settings import Settings

from lmdp.errors import LmdpError, SettingsError

# More than the canary function may take.
_PATIENCE_S = 780

Run: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The outside of the tool: commands (their output goes to the terminal, or is captured), AWS, the user, the clock.

    `cloud` is the folder of this environment's cloud assembly.
    """

    run: Run
    capture: Run
    client: Callable[[str], Any]
    ask: Callable[[str], str]
    say: Callable[[str], None]
    cloud: Path
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    yes: bool = False
    topic_checked: bool = False
    delete_data: bool = False
    skip_canary: bool = False


def confirm(runtime: Runtime, options: Options, question: str, word: str) -> None:
    """Continue only when the user types the word."""
    if not options.yes and runtime.ask(f"{question} Type {word} to continue: ").strip() != word:
        raise LmdpError("Not confirmed. Nothing more was changed.")


def open_runtime(settings: Settings) -> Runtime:
    """The terminal, subprocesses in the project's folder, and AWS (where AWS_ENDPOINT_URL points, if it is set)."""
    import boto3  # noqa: PLC0415 - half a second, and not for a settings fault
    from botocore.config import Config  # noqa: PLC0415 - as above

    def client(service: str) -> Any:
        session = boto3.Session(region_name=settings.names.region)
        account = session.client("sts").get_caller_identity()["Account"]
        if account != settings.names.account:
            raise SettingsError(
                f"You are signed in to the account {account}; the settings name {settings.names.account}. Nothing was "
                "changed. Set AWS_PROFILE to a profile of that account, or correct LMDP_AWS_ACCOUNT."
            )
        # A canary is waited for, over connections that a NAT gateway would forget after 350 silent seconds.
        return session.client(service, config=Config(read_timeout=_PATIENCE_S, tcp_keepalive=True))

    def command(
        arguments: Sequence[str], env: Mapping[str, str], *, capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, check=False, text=True, cwd=ROOT, env={**os.environ, **env}, capture_output=capture
        )

    return Runtime(
        run=command,
        capture=lambda arguments, env: command(arguments, env, capture=True),
        client=client,
        ask=input,
        say=print,
        cloud=OUTPUT / settings.names.environment,
    )

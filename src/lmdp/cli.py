"""The command `lmdp`: its commands, and how an error ends it."""

from __future__ import annotations

import os
import sys
import threading
from importlib.metadata import version
from typing import Annotated

import typer
from dotenv import load_dotenv

from lmdp import streams
from lmdp.commands import (
    certs,
    cost,
    doctor,
    flatten,
    powerbi,
    publish,
    query,
    replay,
    run,
    snowflake,
    status,
    topic,
    validate,
)
from lmdp.errors import LmdpError, SettingsError, Unreachable
from lmdp.printable import printable
from lmdp.program import install_extras

ENV_FILE = ".env"
_EXTRAS = {"boto3", "botocore", "aws_lambda_powertools", "pybase64", "snowflake"}  # what `make run` leaves out

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(publish.publish)
app.command()(flatten.flatten)
app.command()(validate.validate)
app.command()(query.query)
app.command()(status.status)
app.command()(replay.replay)
app.command()(powerbi.powerbi)
app.command()(certs.certs)
app.command()(cost.cost)
app.command()(doctor.doctor)
app.add_typer(topic.app, name="topic")
app.add_typer(snowflake.app, name="snowflake")


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        print(f"lmdp {version('lmdp')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LogicMonitor Data Publisher's OTLP metrics on Kafka, as rows that people query.

    Start with: lmdp run. Settings come from options, from the environment, and from `.env` in this folder.
    """


def main() -> None:
    """Run the command line, and end the process with what `execute` returns."""
    code = execute()
    if any(thread.daemon for thread in threading.enumerate()):
        # One that waits in DuckDB or librdkafka cannot be ended; coming back to a Python that ends, it aborts.
        os._exit(code)
    sys.exit(code)


def execute() -> int:
    """Run the command line. Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 3 a part not reached."""
    streams.open_closed()
    try:
        _read_env_file()
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # typer's way to end, also of what is done
        return int(ended.code or 0)
    except LmdpError as error:
        streams.tell(printable(f"lmdp: {error}"))
        return error.exit_code
    except ModuleNotFoundError as error:
        part = (error.name or "").partition(".")[0]
        if part not in _EXTRAS:
            raise
        streams.tell(
            f"lmdp: this command needs the package {part}, which is not installed. Nothing was done. "
            f"Next: {install_extras()}"
        )
        return Unreachable.exit_code
    except BrokenPipeError:  # whoever read the rows has seen enough
        streams.let_go(sys.stdout)
    except OSError as error:
        if not streams.is_unwritable(error):
            raise
        streams.let_go(sys.stdout)
        streams.tell(
            f"lmdp: standard output could not be written: {error.strerror}. What was printed is cut short; what the "
            "command did beside printing stands. Make room, or print to another place."
        )
    finally:
        streams.settle(sys.stderr)
    return 1


def _read_env_file() -> None:
    try:
        load_dotenv(ENV_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} in this folder cannot be read: {error}") from error

"""The command `lmdp`: its commands, and how an error ends it."""

from __future__ import annotations

import io
import os
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv
from dotenv.parser import parse_stream

from lmdp.cli import (
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
from lmdp.cli.options import Command
from lmdp.doctor.settings_file import OURS
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.support import stdio
from lmdp.support.printable import printable
from lmdp.support.program import install_extras, program

ENV_FILE = ".env"
_EXTRAS = {"boto3", "botocore", "aws_lambda_powertools", "pybase64", "snowflake"}  # what `make run` leaves out

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=Command)(run.run)
app.command(cls=Command)(publish.publish)
app.command(cls=Command)(flatten.flatten)
app.command(cls=Command)(validate.validate)
app.command(cls=Command)(query.query)
app.command(cls=Command)(status.status)
app.command(cls=Command)(replay.replay)
app.command(cls=Command)(powerbi.powerbi)
app.command(cls=Command)(certs.certs)
app.command(cls=Command)(cost.cost)
app.command(cls=Command)(doctor.doctor)
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
    stdio.open_closed()
    try:
        _read_env_file()
        _check_text()
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # typer's way to end, also of what is done
        return int(ended.code or 0)
    except LmdpError as error:
        stdio.tell(printable(f"lmdp: {error}"))
        return error.exit_code
    except ModuleNotFoundError as error:
        part = (error.name or "").partition(".")[0]
        if part not in _EXTRAS:
            raise
        stdio.tell(
            f"lmdp: this command needs the package {part}, which is not installed. Nothing was done. "
            f"Next: {install_extras()}"
        )
        return UnreachableError.exit_code
    except BrokenPipeError:  # whoever read the rows has seen enough
        stdio.let_go(sys.stdout)
    except OSError as error:
        if not stdio.is_unwritable(error):
            stdio.tell(
                printable(f"lmdp: the system refused: {error}. What was committed stays. Next: {program()} doctor")
            )
            return UnreachableError.exit_code
        stdio.let_go(sys.stdout)
        stdio.tell(
            f"lmdp: standard output could not be written: {error.strerror}. What was printed is cut short; what the "
            "command did beside printing stands. Make room, or print to another place."
        )
    finally:
        stdio.settle(sys.stderr)
    return 1


def _read_env_file() -> None:
    """Set what `.env` sets and the environment does not. Raises SettingsError, which names the line."""
    path = Path(ENV_FILE)
    if not path.exists():
        return
    where = f"{ENV_FILE} in this folder ({path.absolute()})"
    if not path.is_file():  # reading a pipe would wait for ever
        raise SettingsError(f"{where} is no file. Move it away, or make it a file of NAME=value lines.")
    try:
        text = path.read_text("utf-8")
        wrong = [line.original.line for line in parse_stream(io.StringIO(text)) if line.error]
        wrong += [number for number, line in enumerate(text.split("\n"), 1) if "\0" in line]
        if wrong:
            raise SettingsError(
                f"{where}: line {min(wrong)} cannot be read: a quote is open, a name is missing, or it has a NUL."
            )
        load_dotenv(stream=io.StringIO(text))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where} cannot be read: {error}") from error


def _check_text() -> None:
    """Refuse options and settings that are no UTF-8. Raises SettingsError.

    Files that are there may be named in any bytes.
    """
    named = [(f"argument {word!r}", word) for word in sys.argv[1:] if not Path(word).is_file()]
    named += [(f"{name}={value!r}", value) for name, value in os.environ.items() if OURS.match(name)]
    faults = [f"{what} is no UTF-8" for what, text in named if not _is_utf8(text)]
    if faults:
        raise SettingsError.of([printable(fault) for fault in faults])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

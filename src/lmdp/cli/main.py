"""The command `lmdp`: its commands, and how an error ends it."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]  # its public module has no stub for it

from lmdp.cli.command import SETTINGS, Group, LazyCommands
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.support import stdio
from lmdp.support.printable import printable
from lmdp.support.program import NAME, install_extras, program
from lmdp.support.settings_reader import PREFIXES, unread

ENV_FILE = ".env"
_EXTRAS = {"boto3", "botocore", "aws_lambda_powertools", "pybase64", "snowflake"}  # what `make run` leaves out

_COMMANDS: Final = {
    "run": "Run the whole pipeline on this machine: Kafka → rows and rejects → DuckDB, or Snowflake.",
    "publish": "Publish OTLP bundles to a Kafka topic: files, or simulated Collectors.",
    "flatten": "Flatten OTLP bundles to row events: NDJSON on standard output.",
    "validate": "Check row events against the specification; exits 1 if one does not fit.",
    "query": "Run a read-only SQL query on the local warehouse (same tables and views as Snowflake).",
    "status": "Show the pipeline's status: path, lag, rows per second, freshness, size, rejects by reason.",
    "receive": "Take metrics by OTLP/HTTP, and put them on the topic.",
    "receive token": "The tokens of the receiver: who may send, and as which tenant.",
    "replay": "Replay rejected messages and Firehose's failed records.",
    "powerbi": "Write a Power BI project (PBIP): a semantic model over the views, and a report of five pages.",
    "certs": "Make a development CA, and the server and client certificates of the embedded Kafka.",
    "cost": "Estimate what a load costs per month on AWS and in Snowflake, line by line, and what would lower it.",
    "doctor": "Check the setup and suggest fixes; exits 1 if a check fails.",
    "topic": "The topic: its settings, and who may do what on it.",
    "snowflake": "The Snowflake side: its SQL, setup, checks, and keys.",
}
"""Every command with its summary, so that the list of them loads none. A test compares them with the commands' help."""
_APPS: Final = {"receive token", "topic", "snowflake"}


class _Commands(Group):
    """All commands, none of them loaded before it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": None})
        self.commands = LazyCommands(  # type: ignore[assignment]  # typer reads it only
            {name: f"lmdp.cli.{name.split()[0]}:{'app' if name in _APPS else name}" for name in _COMMANDS}
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command's name, the command, and the words after it. A name may have two words.

        Raises SettingsError where there is none.
        """
        both = " ".join(args[:2])
        return super().resolve_command(ctx, [both, *args[2:]] if both in _COMMANDS else args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write the names with their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the options and commands that begin so."""
        found = [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *super(TyperGroup, self).shell_complete(ctx, incomplete)]


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings=SETTINGS,
)  # fmt: skip


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - takes as long as all else here

        print(f"lmdp {version('lmdp')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[  # noqa: ARG001 - its callback has done it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn LogicMonitor Data Publisher's OTLP metrics on Kafka into queryable rows.

    Start with: lmdp run. Settings come from options, from the environment, and from .env in this folder. For the help
    of a command: lmdp help COMMAND.
    """
    for name in unread(os.environ):
        stdio.print_error(printable(f"lmdp: nothing reads the setting {name}"))


def main() -> None:
    """Run the command line, and end the process with what `execute` returns."""
    code = execute()
    if any(thread.daemon for thread in threading.enumerate()):
        # One that waits in DuckDB or librdkafka cannot be ended; coming back to a Python that ends, it aborts.
        os._exit(code)
    sys.exit(code)


def execute() -> int:
    """Run the command line. Return the exit code: 0 done, 1 failed, 2 wrong usage, 3 a dependency is unreachable."""
    stdio.open_closed()
    try:
        _read_env_file()
        _check_text()
        try:
            code = _command().main(prog_name=NAME, standalone_mode=False)
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # completion's way to end
        return int(ended.code or 0)
    except LmdpError as error:
        stdio.print_error(printable(f"lmdp: {error}"))
        return error.exit_code
    except ModuleNotFoundError as error:
        part = (error.name or "").partition(".")[0]
        if part not in _EXTRAS:
            raise
        stdio.print_error(
            f"lmdp: this command needs the package {part}, which is not installed. Nothing was done. "
            f"Next: {install_extras()}"
        )
        return UnreachableError.exit_code
    except BrokenPipeError:  # whoever read the rows has seen enough
        stdio.discard(sys.stdout)
    except OSError as error:
        if not stdio.is_unwritable(error):
            stdio.print_error(
                printable(
                    f"lmdp: the operating system refused: {error}. What was committed stays. Next: {program()} doctor"
                )
            )
            return UnreachableError.exit_code
        stdio.discard(sys.stdout)
        stdio.print_error(
            f"lmdp: standard output could not be written: {error.strerror}. What was printed is cut short; what the "
            "command did apart from printing is done. Free some space, or print to another place."
        )
    else:
        return int(code or 0)
    finally:
        stdio.flush(sys.stderr)
    return 1


def _command() -> Any:
    """Return the command line; its flags have a boolean default, for whose check typer loads nothing."""
    command: Any = typer.main.get_command(app)
    for option in command.params:
        if option.is_flag and option.default is None:
            option.default = False
    return command


def _read_env_file() -> None:
    """Set what `.env` sets and the environment does not. Raises SettingsError, which names the line."""
    path = Path(ENV_FILE)
    if not path.exists():
        return
    where = f"{ENV_FILE} in this folder ({path.absolute()})"
    if not path.is_file():  # reading a pipe would wait for ever
        raise SettingsError(f"{where} is not a file. Move it away, or make it a file of NAME=value lines.")
    from dotenv import load_dotenv  # noqa: PLC0415 - loaded where there is such a file
    from dotenv.parser import parse_stream  # noqa: PLC0415 - as above

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
    named += [(f"{name}={value!r}", value) for name, value in os.environ.items() if name.startswith(PREFIXES)]
    faults = [f"{what} is not valid UTF-8" for what, text in named if not _is_utf8(text)]
    if faults:
        raise SettingsError.of([printable(fault) for fault in faults])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

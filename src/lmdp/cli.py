"""The command `lmdp`: its commands, and how an error ends it."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from dotenv import load_dotenv

from lmdp.commands import certs, flatten, powerbi, publish, query, replay, run, snowflake, status, topic, validate
from lmdp.errors import LmdpError, SettingsError

ENV_FILE = ".env"

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
    """Run the command line. Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 3 a part not reached."""
    try:
        _read_env_file()
        try:
            app()
        finally:
            sys.stdout.flush()
    except LmdpError as error:
        print(f"lmdp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the rows has seen enough; at exit Python would write once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _read_env_file() -> None:
    try:
        load_dotenv(ENV_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} in this folder cannot be read: {error}") from error

"""`lmdp doctor`: what is missing, and the command that mends it."""

import dataclasses
import itertools
import json
import os
import shutil
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmdp.cli.options import (
    DEFAULT_HOME,
    DEFAULT_TOPIC,
    BootstrapServers,
    Ca,
    Cert,
    Home,
    Json,
    Key,
    Plaintext,
    Topic,
    WarehouseFile,
    warehouse_file,
)
from lmdp.support.printable import printable

if TYPE_CHECKING:
    from lmdp.doctor.result import Finding

_COLOURS = {"ok": typer.colors.GREEN, "wrong": typer.colors.RED, "not tried": None}
_TITLES = {"local": "This machine", "kafka": "Kafka", "aws": "AWS", "snowflake": "Snowflake"}


def doctor(  # noqa: PLR0913 - each is an option
    *,
    only: Annotated[
        Literal["local", "kafka", "aws", "snowflake"] | None, typer.Option("--only", help="Look there alone.")
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", envvar="LMDP_ENVIRONMENT", metavar="NAME", help="The deployment, such as prod."),
    ] = None,
    servers: BootstrapServers = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    plaintext: Plaintext = False,
    topic: Topic = DEFAULT_TOPIC,
    warehouse: WarehouseFile = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Look at everything that the pipeline needs, and say how to mend what is wrong: exit code 1 when something is.

    Each line is ok, wrong (with the next command), or not tried (with the reason: mostly that it is not set up here).
    Nothing is changed, nothing is downloaded, and no secret is shown.

    Example: lmdp doctor --only local

    Example: lmdp doctor --environment prod --json
    """
    from lmdp.doctor.context import Place  # noqa: PLC0415 - as above
    from lmdp.doctor.runner import CHECKS, examine  # noqa: PLC0415 - cryptography is loaded when needed

    place = Place(
        home=home,
        warehouse=warehouse_file(warehouse, home),
        env=dict(os.environ),
        topic=topic,
        servers=servers,
        ca=ca,
        cert=cert,
        key=key,
        plaintext=plaintext,
        environment=environment or None,
    )
    found = examine(place, [check for check in CHECKS if only in (None, check.area)])
    counts = Counter(finding.state for finding in found)
    if as_json:
        print(json.dumps({"counts": counts, "findings": [dataclasses.asdict(finding) for finding in found]}, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
        typer.echo(f"\n{counts['ok']} ok, {counts['wrong']} wrong, {counts['not tried']} not tried")
    raise typer.Exit(1 if counts["wrong"] else 0)


def _lines(found: "list[Finding]") -> list[str]:
    width = max(len(finding.name) for finding in found)
    lines: list[str] = []
    for area, group in itertools.groupby(found, key=lambda finding: finding.area):
        here = list(group)
        if len(here) > 1 and len({(one.state, one.text, one.mend) for one in here}) == 1:
            here = [dataclasses.replace(here[0], name=f"all {len(here)} checks")]
        lines += [*([""] if lines else []), typer.style(_TITLES[area], bold=True)]
        lines += [line for one in here for line in _told(one, width)]
    return lines


def _told(finding: "Finding", width: int) -> list[str]:
    beside = " " * (width + 15)
    wide = max(shutil.get_terminal_size((10_000, 24)).columns - len(beside) - 2, 30)
    state = typer.style(f"{finding.state:9}", fg=_COLOURS[finding.state])
    text, *more = _wrapped(finding.text, wide) or [""]
    lines = [f"  {state}  {finding.name:{width}}  {text}", *(beside + line for line in more)]
    mend = _wrapped(finding.mend, wide)
    return lines + [f"{beside}{'  ' if at else '→ '}{line}" for at, line in enumerate(mend)]


def _wrapped(text: str, wide: int) -> list[str]:
    """Never within a word: commands and addresses are to be copied."""
    return textwrap.wrap(printable(text), wide, break_long_words=False, break_on_hyphens=False)

"""`lmdp doctor`: what is missing, and the command that fixes it."""

import dataclasses
import itertools
import json
import os
import shutil
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmdp.cli.command import option_groups
from lmdp.cli.options import DEFAULT_HOME, Home, Json, KafkaOptions, WarehouseFile, option, warehouse_file
from lmdp.support.printable import printable

if TYPE_CHECKING:
    from lmdp.doctor.result import Finding

_COLOURS = {"ok": typer.colors.GREEN, "wrong": typer.colors.RED, "not tried": None}
_TITLES = {"local": "This machine", "kafka": "Kafka", "aws": "AWS", "snowflake": "Snowflake"}


@option_groups()
def doctor(
    *,
    only: Annotated[
        Literal["local", "kafka", "aws", "snowflake"] | None, option("--only", "Check only this area.")
    ] = None,
    environment: Annotated[
        str | None, option("--environment NAME", "The deployment, such as prod.", env="LMDP_ENVIRONMENT")
    ] = None,
    kafka: KafkaOptions,
    warehouse: WarehouseFile = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Check the setup and suggest fixes; exits 1 if a check fails.

    Each line is ok, wrong (with the next command), or not tried (with the reason: mostly that it is not set up here).
    Nothing is changed, nothing is downloaded, and no secret is shown.

    Example: lmdp doctor --only local

    Example: lmdp doctor --environment prod --json
    """
    from lmdp.doctor.result import Context  # noqa: PLC0415 - as above
    from lmdp.doctor.runner import CHECKS, run_checks  # noqa: PLC0415 - cryptography is loaded when needed

    context = Context(
        home=home,
        warehouse=warehouse_file(warehouse, home),
        env=dict(os.environ),
        topic=kafka.topic,
        servers=kafka.servers,
        ca=kafka.ca,
        cert=kafka.cert,
        key=kafka.key,
        plaintext=kafka.plaintext,
        environment=environment or None,
    )
    found = run_checks(context, [check for check in CHECKS if only in (None, check.area)])
    counts = Counter(finding.state for finding in found)
    if as_json:
        print(json.dumps({"counts": counts, "findings": [finding.to_json() for finding in found]}, indent=2))
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
        if len(here) > 1 and len({(one.state, one.text, one.fix) for one in here}) == 1:
            here = [dataclasses.replace(here[0], name=f"all {len(here)} checks")]
        lines += [*([""] if lines else []), typer.style(_TITLES[area], bold=True)]
        lines += [line for one in here for line in _text(one, width)]
    return lines


def _text(finding: "Finding", width: int) -> list[str]:
    margin = " " * (width + 15)
    wide = max(shutil.get_terminal_size((10_000, 24)).columns - len(margin) - 2, 30)
    state = typer.style(f"{finding.state:9}", fg=_COLOURS[finding.state])
    text, *more = _wrapped(finding.text, wide) or [""]
    lines = [f"  {state}  {finding.name:{width}}  {text}", *(margin + line for line in more)]
    fix = _wrapped(finding.fix, wide)
    return lines + [f"{margin}{'  ' if at else '→ '}{line}" for at, line in enumerate(fix)]


def _wrapped(text: str, wide: int) -> list[str]:
    """Wrap, but never within a word: commands and addresses are to be copied."""
    return textwrap.wrap(printable(text), wide, break_long_words=False, break_on_hyphens=False)

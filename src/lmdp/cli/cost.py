"""`lmdp cost`: what a load costs in a month, line by line."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmdp.cli.command import is_on_command_line
from lmdp.cli.options import Json, option
from lmdp.cost import basis
from lmdp.cost.bill import Basis, Bill, bill
from lmdp.cost.render import as_object, explained, listed, markdown, numbers, text
from lmdp.cost.traffic import Measured, Planned, read_run
from lmdp.errors import SettingsError
from lmdp.support.printable import printable

_LOAD = ("devices", "instances", "datapoints", "interval")


class Writer(StrEnum):
    """The writer of rows to Snowflake."""

    firehose = "firehose"
    function = "lambda"
    consumer = "consumer"
    own_kafka = "own-kafka"


class Format(StrEnum):
    """The form in which the bill is printed."""

    table = "table"
    markdown = "markdown"
    json = "json"


Devices = Annotated[int, option("--devices N", "Devices that are monitored.")]
Instances = Annotated[int, option("--instances N", "Instances per device, of all its DataSources.")]
Datapoints = Annotated[int, option("--datapoints N", "Datapoints per instance; each is a row.")]
Interval = Annotated[float, option("--interval SECONDS", "Seconds from poll to poll.")]
Report = Annotated[
    str | None,
    option(
        "--report FILE",
        "A measured run in place of a planned load: what `lmdp run --json` or `lmdp status --json` printed; "
        "- is standard input.",
    ),
]
Prices = Annotated[Path | None, option("--prices FILE", "A TOML file of your prices: [firehose_gb], then value = 0.03")]
OnePrice = Annotated[list[str] | None, option("--price NAME=VALUE", "One price of yours.")]
Set = Annotated[list[str] | None, option("--set NAME=VALUE", "One quantity of yours: brokers=6, batch=1000.")]


def cost(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    *,
    devices: Devices = 1000,
    instances: Instances = 120,
    datapoints: Datapoints = 6,
    interval: Interval = 60,
    report: Report = None,
    writer: Annotated[
        Writer, option("--writer", "What writes to Snowflake; the bill also has the sums of the others.")
    ] = Writer.firehose,
    prices: Prices = None,
    price: OnePrice = None,
    settings: Set = None,
    explain: Annotated[bool, option("--explain", "Show how each sum is calculated.")] = False,
    list_prices: Annotated[
        bool, option("--list-prices", "Print all prices and quantities with their sources, and no bill.")
    ] = False,
    form: Annotated[Format, option("--format", "The output format.")] = Format.table,
    as_json: Json = False,
) -> None:
    """Estimate what a load costs per month on AWS and in Snowflake, line by line, and what would lower it.

    Where a billing rule is not known, a line has two sums. Prices are dated; unconfirmed ones are marked.

    Example: lmdp cost --devices 1000 --instances 120 --datapoints 6 --interval 60

    Example: lmdp cost --writer consumer
    """
    faults: list[str] = []
    found = basis.shipped_prices()
    if prices is not None:
        found = basis.prices_with_file(found, prices, faults)
    found = basis.prices_with(found, basis.amounts("--price", price or (), found, faults))
    known = basis.shipped_quantities()
    known = basis.quantities_with(known, basis.amounts("--set", settings or (), known, faults), faults)
    traffic: Planned | Measured | None = None
    if report is None:
        traffic = Planned(devices, instances, datapoints, interval)
        faults += traffic.faults()
    else:
        if twice := [f"--{name}" for name in _LOAD if is_on_command_line(context, name)]:
            faults.append(f"--report measures the load and {', '.join(twice)} plans it: give one of the two")
        traffic = read_run(report, faults)
    if faults or traffic is None:
        raise SettingsError.of(faults)
    form = Format.json if as_json else form
    if list_prices:
        _print_numbers(found, known, form)
    else:
        _print_bill(bill(Basis(traffic, found, known, writer.value)), form, explain=explain)


def _print_numbers(found: dict[str, basis.Price], known: dict[str, basis.Quantity], form: Format) -> None:
    print(json.dumps(numbers(found, known)) if form is Format.json else printable(listed(found, known)))


def _print_bill(made: Bill, form: Format, *, explain: bool) -> None:
    if form is Format.json:
        print(json.dumps(as_object(made)))
        return
    print(printable(text(made) if form is Format.table else markdown(made)))
    if explain:
        fence = "```" if form is Format.markdown else ""
        print(printable("\n".join(["", fence, explained(made), fence]).rstrip()))

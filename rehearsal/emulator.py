"""The AWS emulator of the rehearsal: ministack as PyPI has it, and what it lacks of AWS, each with its reason.

Runs in an environment of its own (`requirements/rehearse.txt`): `python rehearsal/emulator.py`. It starts only while
every entry of LACKS is still needed, so that the list can only become shorter; nothing else is changed or left out, and
the templates are deployed as CDK made them.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ministack import app
from ministack.services import firehose, pipes
from ministack.services.cloudformation import provisioners

HANDLERS: Final = provisioners._RESOURCE_HANDLERS
_BUDGET: Final = "AWS::Budgets::Budget"
_ALARM: Final = "AWS::CloudWatch::Alarm"
_SECRET: Final = "AWS::SecretsManager::Secret"
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that the emulator does not do as AWS does. `needed` probes it; `fill` does it here."""

    name: str
    why: str
    needed: Callable[[], bool]
    fill: Callable[[], None]


def _fill_budget() -> None:
    """Take it, and do nothing: who hears of costs is seen in the template alone."""
    HANDLERS[_BUDGET] = {
        "create": lambda _logical_id, props, _stack: (props["Budget"]["BudgetName"], {}),
        "delete": lambda _physical_id, _props: None,
    }


def _fill_alarm() -> None:
    """Make an alarm over an expression under its name, with its actions, over a metric that nobody sends."""
    own = dict(HANDLERS[_ALARM])

    def plain(props: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in props.items() if name != "Metrics"}
        return {**rest, "Namespace": "rehearsal", "MetricName": "expression"} if "Metrics" in props else props

    def create(logical_id: str, props: dict[str, Any], stack: str) -> Any:
        return own["create"](logical_id, plain(props), stack)

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str, *logical_id: str) -> Any:
        return own["update"](physical_id, plain(old), plain(new), stack, *logical_id)

    HANDLERS[_ALARM] = {**own, "create": create, "update": update}


def _refuses_expressions() -> bool:
    try:
        provisioners._cw_metric_alarm_record("probe", {"Metrics": [{"Id": "e", "Expression": "1"}]})
    except ValueError as error:
        return "metric math" in str(error)
    return False


def _fill_secret() -> None:
    """Make a secret without a value without a version: reading it is then refused, as AWS does."""
    own = HANDLERS[_SECRET]["create"]

    def create(logical_id: str, props: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        name, attributes = own(logical_id, props, stack)
        if not {"SecretString", "GenerateSecretString"} & set(props):
            provisioners._sm._secrets[name]["Versions"].clear()
        return name, attributes

    HANDLERS[_SECRET] = {**HANDLERS[_SECRET], "create": create}


def _fill_delivery() -> None:
    """Hand what Firehose took for Snowflake to the double, which answers with the records that failed, and why."""
    threading.Thread(target=_deliver, name="delivery", daemon=True).start()


def _deliver() -> None:
    while True:
        time.sleep(_POLL_SECONDS)
        for (_account, _region, name), stream in list(firehose._streams.all_items()):
            for destination in stream["destinations"]:
                if destination["type"] == "Snowflake" and destination["records"]:
                    with firehose._lock:
                        records, destination["records"] = destination["records"], []
                    _hand_over(name, [record["data"] for record in records])


def _hand_over(stream: str, records: list[str]) -> None:
    body = json.dumps({"stream": stream, "records": records}).encode()
    request = urllib.request.Request(os.environ["REHEARSAL_DELIVERY"], body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60):
        pass


def _elsewhere() -> None:
    """Leave it to the step that needs it."""


LACKS: Final = (
    Lack(_BUDGET, "no provisioner; the monthly budget", lambda: _BUDGET not in HANDLERS, _fill_budget),
    Lack(f"{_ALARM} with Metrics", "refused; the alarms over an expression", _refuses_expressions, _fill_alarm),
    Lack(
        f"{_SECRET} without a value",
        "is given an empty one; deploy and keypair recognize an empty secret by its missing version",
        lambda: provisioners._sm_secret_string({}) == "",
        _fill_secret,
    ),
    Lack(
        "Firehose to Snowflake",
        "records stay in memory; the canary and the rows have to arrive",
        lambda: "Snowflake" not in inspect.getsource(firehose._put_record),
        _fill_delivery,
    ),
    Lack(
        "a pipe from Kafka",
        "runs, and reads nothing; a step hands the function what a pipe would",
        lambda: "kafka" not in inspect.getsource(pipes).lower(),
        _elsewhere,
    ),
    Lack(
        "AWS Private CA",
        "no such service; moto's signs the pipe's certificate",
        lambda: "acm-pca" not in app.SERVICE_REGISTRY,
        _elsewhere,
    ),
)


def fill(lacks: tuple[Lack, ...] = LACKS) -> list[str]:
    """Do what the emulator lacks. Returns the names of the entries that are not needed any more, which then wait."""
    unneeded = [lack.name for lack in lacks if not lack.needed()]
    for lack in lacks:
        if lack.name not in unneeded:
            lack.fill()
    return unneeded


if __name__ == "__main__":
    if surplus := fill():
        sys.exit(f"The emulator does these by itself now; take them out of LACKS in {__file__}: {', '.join(surplus)}")
    app.main()

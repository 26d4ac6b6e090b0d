"""What would lower the bill: each lever is a change of the basis, and what it saves is worked out, not guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lmdp.cost.bill import Basis, Bill, bill
from lmdp.cost.load import Planned
from lmdp.support.program import program

# What a pipe hands over is 6 MB at most; this is what synthesis allows.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
_PAYLOAD_BYTES: Final = 5_500_000
_LARGE_BATCH: Final = 1_000
_SLOW_POLL: Final = 300
_FEW_DAYS: Final = 7
_SHORT_LIVED_CA: Final = 50.0


@dataclass(frozen=True, slots=True)
class Lever:
    """What to do, and what it saves of a month's dollars in either reading."""

    what: str
    low: float
    high: float


def levers(made: Bill) -> list[Lever]:
    """Those that save something, the greatest first."""
    found = []
    for what, basis in _changes(made):
        after = bill(basis)
        if made.high - after.high > 0:
            found.append(Lever(what, made.low - after.low, made.high - after.high))
    return sorted(found, key=lambda lever: lever.high, reverse=True)


def _changes(made: Bill) -> list[tuple[str, Basis]]:
    basis = made.basis
    inputs = basis.inputs
    batch = _batch(made)
    changes = [
        ("a direct writer to Snowpipe Streaming in place of Firehose (this project has none)",
         _priced(basis, {"firehose_gb": 0})),
        ("share a Kafka cluster and its CA that are there already (LMDP_MSK_CLUSTER_ARN)",
         _set(basis, {"brokers": 0, "cas": 0, "keys": min(5, inputs["keys"].value)})),
        ("a short-lived CA; its certificates end within 7 days, so each has to be renewed every week",
         _priced(basis, {"private_ca": min(_SHORT_LIVED_CA, basis.prices["private_ca"].value)})),
        ("use interface endpoints that the VPC has already", _set(basis, {"endpoints": 0})),
        (f"keep raw rows {_FEW_DAYS} days (RETENTION_DAYS={_FEW_DAYS}); the roll-ups stay",
         _set(basis, {"retention_days": min(_FEW_DAYS, inputs["retention_days"].value)})),
        (f"let reports ask half as long: import instead of DirectQuery ({program()} powerbi --import)",
         _set(basis, {"report_hours": inputs["report_hours"].value / 2})),
    ]  # fmt: skip
    if batch > inputs["batch"].value:
        overhead = inputs["record_overhead_bytes"].value
        largest = int((_PAYLOAD_BYTES / batch - overhead) * 3 / 4)
        limit = f"for messages up to {largest:,} bytes (LMDP_TOPIC_MAX_MESSAGE_BYTES)"
        changes.append((f"larger batches (LMDP_BATCH_SIZE={batch:,}), {limit}", _set(basis, {"batch": batch})))
    return changes + _lighter(basis)


def _lighter(basis: Basis) -> list[tuple[str, Basis]]:
    """A smaller load, where it was planned."""
    load = basis.load
    if not isinstance(load, Planned):
        return []
    changes = []
    if load.interval < _SLOW_POLL:
        slow = replace(load, interval=_SLOW_POLL)
        changes.append((f"poll every {_SLOW_POLL} s instead of every {load.interval:g} s", replace(basis, load=slow)))
    if load.datapoints > 1:
        fewer = replace(load, datapoints=load.datapoints // 2)
        changes.append(
            (f"publish {fewer.datapoints:,} of the {load.datapoints:,} datapoints", replace(basis, load=fewer))
        )
    return changes


def _batch(made: Bill) -> int:
    """The largest batch up to a thousand that a pipe hands over."""
    payload = next(step.figure.value for step in made.steps if step.name == "payload_bytes")
    message = payload / made.basis.inputs["batch"].value
    return min(_LARGE_BATCH, int(_PAYLOAD_BYTES / message))


def _set(basis: Basis, values: Mapping[str, float]) -> Basis:
    changed = {name: replace(basis.inputs[name], value=value) for name, value in values.items()}
    return replace(basis, inputs={**basis.inputs, **changed})


def _priced(basis: Basis, values: Mapping[str, float]) -> Basis:
    changed = {name: replace(basis.prices[name], value=value) for name, value in values.items()}
    return replace(basis, prices={**basis.prices, **changed})

"""The workloads: messages as LogicMonitor sends them, large bundles of them, and a mix of OpenTelemetry's types.

No message comes twice, and a round's messages come from other instances than the last one's, unless it polls `again`.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from benchmarks import otel_mix
from lmdp.machine.simulation.collectors import Odds, Simulation

START_MS: Final = 1_764_000_000_000
INTERVAL_MS: Final = 60_000
INSTANCES: Final = 40  # of a device; 40 polls of about 6 datapoints are a large bundle's 240
ODDS: Final = Odds(repeat=0, late=0)  # no message comes twice
SMALL, AGAIN, LARGE, MIX = "LMDP small", "LMDP small, polled again", "LMDP large", "OTel mix"

Rounds = list[list[bytes]]


@dataclass(frozen=True, slots=True)
class Workload:
    """`rounds` rounds of messages; each reader of it gets the same ones."""

    name: str
    form: str
    rounds: Rounds

    @property
    def title(self) -> str:
        """As the table names it."""
        return f"{self.name}, {self.form}"

    @property
    def bytes_each(self) -> int:
        """The mean size of a message."""
        messages = [value for each in self.rounds for value in each]
        return sum(map(len, messages)) // max(1, len(messages))


def small(rounds: int, messages: int) -> Rounds:
    """Polls of new devices each round, in no order."""
    devices = -(-messages // INSTANCES)
    every = _polls(Simulation(devices * rounds, INSTANCES, odds=ODDS), 0)
    return [_shuffled(list(islice(every, messages)), number) for number in range(rounds)]


def endless(messages: int, rounds: int) -> Iterator[list[bytes]]:
    """Rounds made on the way, so that nothing of them stays: the same instances, a minute apart."""
    simulation = Simulation(-(-messages // INSTANCES), INSTANCES, odds=ODDS)
    return (_shuffled(list(_polls(simulation, number)), number)[:messages] for number in range(rounds))


def again(rounds: int, messages: int) -> Rounds:
    """Polls of the same instances, a minute apart: what a process sees that stays up."""
    return list(endless(messages, rounds))


def large(rounds: int, messages: int) -> Rounds:
    """Each message a whole device: a resource, 40 scopes, about 240 datapoints."""
    every = _polls(Simulation(messages * rounds, INSTANCES, odds=ODDS), 0)
    return [[_together(list(islice(every, INSTANCES))) for _ in range(messages)] for _ in range(rounds)]


def mix(rounds: int, messages: int) -> Rounds:
    """Return messages as OpenTelemetry SDKs send them: all five types, attributes of every type."""
    chance = random.Random(7)
    return [[otel_mix.message(number * messages + n, chance) for n in range(messages)] for number in range(rounds)]


MAKERS: Final[dict[str, Callable[[int, int], Rounds]]] = {SMALL: small, AGAIN: again, LARGE: large, MIX: mix}


def protobuf(value: bytes) -> bytes:
    """The same request in OTLP's other form."""
    from google.protobuf.json_format import Parse  # noqa: PLC0415 - it would count in measurements of memory
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData  # noqa: PLC0415 - as above

    encoded: bytes = Parse(value, MetricsData()).SerializeToString()
    return encoded


def gzipped(value: bytes) -> bytes:
    """As producers compress by default."""
    return gzip.compress(value, 6, mtime=0)


FORMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "JSON": bytes,
    "protobuf": protobuf,
    "JSON gzip": gzipped,
    "protobuf gzip": lambda value: gzipped(protobuf(value)),
}


def workload(name: str, form: str, rounds: int, messages: int) -> Workload:
    """The workload called `name`, written as `form`: the first round warms up, so it takes one more."""
    plain = MAKERS[name](rounds + 1, messages)
    return Workload(name, form, [[FORMS[form](value) for value in each] for each in plain])


def _polls(simulation: Simulation, minute: int) -> Iterator[bytes]:
    """One round of polls."""
    return (message.value for message in simulation.polls(START_MS + minute * INTERVAL_MS, INTERVAL_MS))


def _shuffled(values: list[bytes], seed: int) -> list[bytes]:
    random.Random(seed).shuffle(values)
    return values


def _together(values: Sequence[bytes]) -> bytes:
    """One bundle of the polls of one device."""
    bundles: list[dict[str, Any]] = [json.loads(value)["resourceMetrics"][0] for value in values]
    scopes = [scope for bundle in bundles for scope in bundle["scopeMetrics"]]
    whole = {"resourceMetrics": [{"resource": bundles[0]["resource"], "scopeMetrics": scopes}]}
    return json.dumps(whole, separators=(",", ":")).encode()

"""Simulated LogicMonitor Collectors: one poll of one instance is one OTLP/JSON message, as Data Publisher sends it.

Pure and seeded: the same seed and the same times give the same bytes. All that is constant for an instance is written
once, into a template; a poll fills in times and values.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from lmdp.machine.simulation.devices import DEVICE_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmdp.machine.simulation.devices import Datapoint, DataSource, DeviceKind

# Where a poll writes into a template: a part of a text, and a whole value or member.
_SLOT = "<slot>"
_BARE_SLOT = "<bare>"
_FIRST_HOST_ID = 1_017_594
_FIRST_DATASOURCE_ID = 128_265_135
_FIRST_INSTANCE_ID = 367_542_931
_FIRST_DATAPOINT_ID = 197_642
_DATASOURCES = list(dict.fromkeys(source.name for kind in DEVICE_KINDS for source in kind.datasources))
_LONGEST_UPTIME_S = 90 * 86_400


class SimulatedMessage(NamedTuple):
    """A message as a Collector publishes it; `datapoints` is how many its JSON holds."""

    key: bytes
    value: bytes
    datapoints: int


@dataclass(frozen=True, slots=True)
class Odds:
    """Probability of each mishap: of `restart` a device and round, of the others a message."""

    no_data: float = 0.002
    restart: float = 0.0005
    repeat: float = 0.001
    late: float = 0.001


@dataclass(slots=True)
class _Device:
    key: bytes
    resource: str
    kind: DeviceKind
    uptime_s: float
    started_ms: int = 0
    restarted_s_ago: float | None = None


class Simulation:
    """`devices` devices of several kinds with `instances` instances each.

    `events` counts the mishaps: `noData`, `restarts`, `repeats`, `late`.
    """

    def __init__(self, devices: int, instances: int = 20, seed: int = 1, odds: Odds | None = None) -> None:
        self.events: Counter[str] = Counter(noData=0, restarts=0, repeats=0, late=0)
        self._random = Random(seed)  # noqa: S311 - repeatable, not secret
        self._odds = odds or Odds()
        self._devices = [_device(n, self._random) for n in range(devices)]
        ids = count(_FIRST_INSTANCE_ID)
        self._polled = [
            (device, [_Instance(device, *place, next(ids), self._random) for place in _places(device.kind, instances)])
            for device in self._devices
        ]
        self._instances = instances
        self._last_ms: int | None = None
        self._held: list[SimulatedMessage] = []

    def __len__(self) -> int:
        """Return how many messages one round makes, mishaps aside."""
        return len(self._devices) * self._instances

    def polls(self, now_ms: int, spread_ms: int = 0) -> Iterator[SimulatedMessage]:
        """Yield a poll of every instance, the first at `now_ms` (Unix ms), the others evenly over `spread_ms` after it.

        A late message is held back for one round and follows the newer ones; a repeated one comes at its round's end.
        """
        elapsed_s = 0.0 if self._last_ms is None else max(0, now_ms - self._last_ms) / 1000
        self._last_ms = now_ms
        ends, self._held = self._held, []
        polled = 0
        for device, instances in self._polled:
            self._maybe_restart(device, now_ms, elapsed_s)
            for instance in instances:
                at_ms = now_ms + polled * spread_ms // len(self)
                polled += 1
                message = instance.poll(at_ms, elapsed_s, self._random, self._no_data())
                if self._happens("late", self._odds.late):
                    self._held.append(message)
                    continue
                yield message
                if self._happens("repeats", self._odds.repeat):
                    ends.append(message)
        yield from ends

    def _happens(self, event: str, odds: float) -> bool:
        happens = self._random.random() < odds
        if happens:
            self.events[event] += 1
        return happens

    def _no_data(self) -> str | None:
        """Return one of three encodings of a failed poll, since none is documented; None for a good one."""
        if not self._happens("noData", self._odds.no_data):
            return None
        return self._random.choice(("left out", "NaN", "flag"))

    def _maybe_restart(self, device: _Device, now_ms: int, elapsed_s: float) -> None:
        device.restarted_s_ago = None
        if not device.started_ms:
            device.started_ms = now_ms - int(device.uptime_s * 1000)
        elif self._happens("restarts", self._odds.restart):
            device.restarted_s_ago = elapsed_s * self._random.random()
            device.started_ms = now_ms - int(device.restarted_s_ago * 1000)


class _Instance:
    """One instance of a DataSource on a device: what is constant in its messages, and each datapoint's last value."""

    __slots__ = ("_device", "_id", "_named", "_points", "_templates", "_values")

    def __init__(self, device: _Device, source: DataSource, number: int, instance_id: int, random: Random) -> None:
        wild_value, wild_alias = source.label(number)
        self._device = device
        self._points = source.datapoints
        self._templates = _template(source), _template(source, empty=True)
        self._id = instance_id
        self._named = tuple(_text(name) for name in (f"{source.name.rstrip('-')}-{wild_alias}", wild_value, wild_alias))
        self._values = [_first(point, device.uptime_s, random) for point in source.datapoints]

    def poll(self, at_ms: int, elapsed_s: float, random: Random, no_data: str | None) -> SimulatedMessage:
        """Advance every value by `elapsed_s`, and fill in the template."""
        device, points, (template, empty) = self._device, self._points, self._templates
        self._values = [
            _next(point, value, elapsed_s, device.restarted_s_ago, random)
            for point, value in zip(points, self._values, strict=True)
        ]
        filled: list[object] = [device.resource, at_ms, self._id]
        if no_data == "left out":
            return SimulatedMessage(device.key, (empty % tuple(filled)).encode(), 0)
        time, started = f"{at_ms}000000", f"{device.started_ms}000000"
        for point, value in zip(points, self._values, strict=True):
            filled += (started if point.declared else time, time, _value(point, value, no_data), *self._named)
        return SimulatedMessage(device.key, (template % tuple(filled)).encode(), len(points))


def _device(n: int, random: Random) -> _Device:
    kind = DEVICE_KINDS[n % len(DEVICE_KINDS)]
    host_id, name = str(_FIRST_HOST_ID + n), f"{kind.name}-{n:05}"
    properties = {
        "hostName": f"{name}.demo.example",
        "hostId": host_id,
        "system.displayname": name,
        "system.categories": f"{kind.name},demo",
        "manufacturer": kind.maker,
        "model": kind.model,
        "location": f"site-{n % 7}",
    }
    resource = json.dumps(_attributes(properties), separators=(",", ":"))
    return _Device(host_id.encode(), resource, kind, random.uniform(600, _LONGEST_UPTIME_S))


def _places(kind: DeviceKind, instances: int) -> Iterator[tuple[DataSource, int]]:
    """Yield `instances` pairs of DataSource and instance number: each up to its `most`, the last one without end."""
    *bounded, last = kind.datasources
    some = ((source, number) for source in bounded for number in range(source.most))
    return islice(chain(some, ((last, number) for number in count())), instances)


def _first(point: Datapoint, uptime_s: float, random: Random) -> float:
    """Start a gauge anywhere in its range, a counter where its uptime has brought it, or (one in 20) about to wrap."""
    if not point.bits:
        return round(random.uniform(point.low, point.high), point.digits)
    if point.jitter and random.random() < 0.05:
        return (1 << point.bits) - int(point.rate * random.uniform(5, 300)) - 1
    return int(point.rate * uptime_s) % (1 << point.bits)


def _next(point: Datapoint, value: float, elapsed_s: float, restarted_s_ago: float | None, random: Random) -> float:
    """Return the value `elapsed_s` later; a counter wraps at its width, and counts from 0 after a restart."""
    if not point.bits:
        if point.low == point.high:
            return value
        step = (random.random() - 0.5) * 0.1 * (point.high - point.low)
        return min(point.high, max(point.low, round(value + step, point.digits)))
    if restarted_s_ago is not None:
        value, elapsed_s = 0, restarted_s_ago
    grown = point.rate * elapsed_s * (1 + point.jitter * (2 * random.random() - 1))
    return (int(value) + round(grown)) % (1 << point.bits)


def _value(point: Datapoint, value: float, no_data: str | None) -> str:
    if no_data is None:
        return f'"asInt":"{value}"' if point.whole else f'"asDouble":{float(value)!r}'
    return '"asDouble":"NaN"' if no_data == "NaN" else '"flags":1'


def _text(value: str) -> str:
    """Escape a text for its place between two quotes in JSON."""
    return json.dumps(value)[1:-1]


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


@cache
def _template(source: DataSource, *, empty: bool = False) -> str:
    """Write the JSON of one poll as a %-format, to fill in: resource attributes (JSON), epoch, instance id.

    Then for each datapoint (none when `empty`): start, time, value (a JSON member), and the instance's three names.
    """
    source_id = _DATASOURCES.index(source.name)
    scope = {
        "collector": source.collector,
        "epoch": _SLOT,
        "datasourceId": str(_FIRST_DATASOURCE_ID + source_id),
        "datasourceInstanceId": _SLOT,
    }
    points = () if empty else source.datapoints
    metrics = [_metric(point, _FIRST_DATAPOINT_ID + source_id * 20 + n) for n, point in enumerate(points)]
    scoped = {"scope": {"name": source.name, "attributes": _attributes(scope)}, "metrics": metrics}
    bundle = {"resourceMetrics": [{"resource": {"attributes": _BARE_SLOT}, "scopeMetrics": [scoped]}]}
    text = json.dumps(bundle, separators=(",", ":")).replace("%", "%%").replace(_SLOT, "%s")
    return text.replace(f'"{_BARE_SLOT}":0', "%s").replace(f'"{_BARE_SLOT}"', "%s")


def _metric(point: Datapoint, datapoint_id: int) -> dict[str, Any]:
    names = {"dataSourceInstanceName": _SLOT, "datapointid": str(datapoint_id), "wildValue": _SLOT, "wildAlias": _SLOT}
    datapoint = {"startTimeUnixNano": _SLOT, "timeUnixNano": _SLOT, _BARE_SLOT: 0, "attributes": _attributes(names)}
    data: dict[str, Any] = {"dataPoints": [datapoint]}
    if point.declared:
        data |= {"isMonotonic": True, "aggregationTemporality": 2}
    return {"name": point.name, "sum" if point.summed else "gauge": data}

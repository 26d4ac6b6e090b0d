"""Simulated LogicMonitor Collectors: one poll of one instance is one OTLP/JSON message, as Data Publisher sends it.

Pure and seeded: the same seed and the same times give the same bytes. A value depends on its series and the time alone,
so a simulation that starts again continues as if it had never ended. What is constant for an instance is written once,
into a template; a poll fills in times and values.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice
from math import pi
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from lmdp.machine.simulation import series
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
_SEEDS = 1_000_003  # devices have seeds of their own, so that more of them change none of the others
_DAY_MS = 86_400_000
_NEVER_MS = 400 * _DAY_MS  # SNMP's uptime wraps after 497 days
_FILLED = (series.FILLS.device, "Volume Usage-", 1), "hrStorageUsed"
_SLOWED = series.SLOWED.device, "SNMP_Network_Interfaces", 0


class SimulatedMessage(NamedTuple):
    """A message as a Collector publishes it; `datapoints` is how many its JSON holds."""

    key: bytes
    value: bytes
    datapoints: int


@dataclass(frozen=True, slots=True)
class Odds:
    """Probability of each mishap of a message; `restart`: how often a device restarts in a day, on average."""

    no_data: float = 0.002
    restart: float = 0.1
    repeat: float = 0.001
    late: float = 0.001


@dataclass(slots=True)
class _Device:
    number: int
    key: bytes
    resource: str
    kind: DeviceKind
    period_ms: int
    phase_ms: int
    story: bool
    last_started_ms: int = 0

    def started_ms(self, at_ms: int) -> int:
        """Return when it last started, as seen at a time: by its own period, or by the story."""
        own = at_ms - (at_ms - self.phase_ms) % self.period_ms
        if not self.story or self.number != series.RESTARTS.device:
            return own
        return max(own, at_ms - (at_ms - series.RESTARTS.begin * 1000) % (series.HOUR_S * 1000))

    def is_silent(self, at_ms: int) -> bool:
        """Return whether it sends nothing."""
        return self.story and series.SILENT.covers(self.number, at_ms / 1000)


class Simulation:
    """`devices` devices of several kinds with `instances` instances each; with a `story`, or each hour like the other.

    `events` counts the mishaps: `noData`, `restarts`, `repeats`, `late`.
    """

    def __init__(
        self, devices: int, instances: int = 20, seed: int = 1, odds: Odds | None = None, *, story: bool = False
    ) -> None:
        self.events: Counter[str] = Counter(noData=0, restarts=0, repeats=0, late=0)
        self._random = Random(seed)  # noqa: S311 - repeatable, not secret
        self._odds = odds or Odds()
        ids = count(_FIRST_INSTANCE_ID)
        self._polled: list[tuple[_Device, list[_Instance]]] = []
        for number in range(devices):
            own = Random(seed * _SEEDS + number)  # noqa: S311 - as above
            device = _device(number, own, self._odds.restart, story=story)
            places = _places(device.kind, instances)
            self._polled.append((device, [_Instance(device, *place, next(ids), own) for place in places]))
        self._instances = instances
        self._held: list[SimulatedMessage] = []

    def __len__(self) -> int:
        """Return how many messages one round makes, mishaps aside."""
        return len(self._polled) * self._instances

    def polls(self, now_ms: int, spread_ms: int = 0) -> Iterator[SimulatedMessage]:
        """Yield a poll of every instance, the first at `now_ms` (Unix ms), the others evenly over `spread_ms` after it.

        A late message is held back for one round and follows the newer ones; a repeated one comes at its round's end.
        """
        ends, self._held = self._held, []
        for at, (device, instance) in enumerate((one, each) for one, found in self._polled for each in found):
            at_ms = now_ms + at * spread_ms // len(self)
            if device.is_silent(at_ms):
                continue
            self._note_restart(device, at_ms)
            message = instance.poll(at_ms, self._no_data())
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

    def _note_restart(self, device: _Device, at_ms: int) -> None:
        started = device.started_ms(at_ms)
        if device.last_started_ms not in (0, started):
            self.events["restarts"] += 1
        device.last_started_ms = started


class _Instance:
    """One instance of a DataSource on a device: what is constant in its messages, and the phase of each datapoint."""

    __slots__ = ("_device", "_fills", "_id", "_is_slowed", "_named", "_phases", "_points", "_templates")

    def __init__(self, device: _Device, source: DataSource, number: int, instance_id: int, random: Random) -> None:
        wild_value, wild_alias = source.label(number)
        self._device = device
        self._points = source.datapoints
        self._templates = _template(source), _template(source, empty=True)
        self._id = instance_id
        self._named = tuple(_text(name) for name in (f"{source.name.rstrip('-')}-{wild_alias}", wild_value, wild_alias))
        self._phases = [random.uniform(0, 2 * pi) for _ in source.datapoints]
        place = (device.number, source.name, number) if device.story else None
        self._fills = _FILLED[1] if place == _FILLED[0] else ""
        self._is_slowed = place == _SLOWED

    def poll(self, at_ms: int, no_data: str | None) -> SimulatedMessage:
        """Fill in the template with the values of a time."""
        device, points, (template, empty) = self._device, self._points, self._templates
        filled: list[object] = [device.resource, at_ms, self._id]
        if no_data == "left out":
            return SimulatedMessage(device.key, (empty % tuple(filled)).encode(), 0)
        started_ms = device.started_ms(at_ms)
        active_s = self._active_s(at_ms / 1000, started_ms / 1000)
        time, started = f"{at_ms}000000", f"{started_ms}000000"
        for point, phase in zip(points, self._phases, strict=True):
            value = self._value(point, phase, at_ms / 1000, active_s)
            filled += (started if point.declared else time, time, _value(point, value, no_data), *self._named)
        return SimulatedMessage(device.key, (template % tuple(filled)).encode(), len(points))

    def _value(self, point: Datapoint, phase: float, at_s: float, active_s: float) -> float:
        if point.bits:
            return series.counter(point, phase, active_s)
        return series.filling(point, at_s) if point.name == self._fills else series.gauge(point, phase, at_s)

    def _active_s(self, at_s: float, started_s: float) -> float:
        """Return the seconds since the start of the device; those of a slow interface count less."""
        if not self._is_slowed:
            return at_s - started_s
        slow = series.SLOWED.seconds_until(at_s) - series.SLOWED.seconds_until(started_s)
        return at_s - started_s - (1 - series.SLOWED_TO) * slow


def _device(n: int, random: Random, restarts: float, *, story: bool) -> _Device:
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
    period_ms = int(_DAY_MS / restarts * random.uniform(0.5, 1.5)) if restarts else _NEVER_MS
    return _Device(n, host_id.encode(), resource, kind, period_ms, random.randrange(period_ms), story)


def _places(kind: DeviceKind, instances: int) -> Iterator[tuple[DataSource, int]]:
    """Yield `instances` pairs of DataSource and instance number: each up to its `most`, the last one without end."""
    *bounded, last = kind.datasources
    some = ((source, number) for source in bounded for number in range(source.most))
    return islice(chain(some, ((last, number) for number in count())), instances)


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

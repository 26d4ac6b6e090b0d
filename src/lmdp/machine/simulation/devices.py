"""Devices that the simulated Collectors poll, read from devices.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("devices.toml")

Label = Callable[[int], tuple[str, str]]
"""Returns (wildValue, wildAlias) of instance `n`."""


@dataclass(frozen=True, slots=True)
class Datapoint:
    """One collected number: a gauge that wanders between `low` and `high`, or a counter when `bits` is not 0.

    `rate` is a counter's mean increase a second, `jitter` how far a poll may deviate from it (0.5: half to one and a
    half times). `summed`: published as a `sum`. `declared`: with isMonotonic and temporality, which few may have.
    `whole`: published as `asInt`, which holds 63 bits at most, else as `asDouble` as Collectors do.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    rate: float = 0.0
    bits: int = 0
    jitter: float = 0.5
    digits: int = 0
    summed: bool = False
    declared: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class DataSource:
    """A DataSource: its name, its collection method, the labels of its instances, and its datapoints.

    `most` limits the instances that a device has of it; the last DataSource of a device takes all that remain.
    """

    name: str
    collector: str
    label: Label
    datapoints: tuple[Datapoint, ...]
    most: int


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """A kind of device: its name, the properties that its operator publishes, and its DataSources."""

    name: str
    maker: str
    model: str
    datasources: tuple[DataSource, ...]


def _datapoint(given: Mapping[str, Any]) -> Datapoint:
    if "gauge" in given:
        low, high = (float(given.get(name, given.get("value"))) for name in ("low", "high"))
        return Datapoint(given["gauge"], low, high, digits=given.get("digits", 0), summed=given.get("summed", False))
    if "uptime" in given:  # SNMP TimeTicks: 497 days in 32 bits (RFC 2578, section 7.1.8)
        return Datapoint(given["uptime"], rate=100.0, bits=32, jitter=0.0, summed=True, whole=True)
    return Datapoint(
        given.get("counter") or given["declared"],
        rate=float(given["rate"]),
        bits=given.get("bits", 64),
        summed=True,
        declared="declared" in given,
        whole=given.get("whole", False),
    )


def _label(given: Mapping[str, Any]) -> Label:
    if "interface" in given:  # wildValue is the ifIndex, wildAlias the name
        pattern, first = given["interface"], given["first_index"]
        return lambda n: (str(first + n), pattern.format(n=n, slot=n // 48, port=n % 48))
    if "drives" in given:
        return lambda n: (_drive(n), _drive(n))
    names = given.get("instances")
    return (lambda _: ("0", "0")) if names is None else lambda n: (_numbered(names, n), _numbered(names, n))


def _drive(n: int) -> str:
    return f"{chr(ord('C') + n)}:\\" if n < 24 else f"C:\\mounts\\data{n - 23}\\"


def _numbered(names: list[str], n: int) -> str:
    last = len(names) - 1
    return names[n] if n < last else f"{names[last]}{n - last}"


def _datasource(given: Mapping[str, Any]) -> DataSource:
    datapoints = tuple(map(_datapoint, given["datapoints"]))
    return DataSource(given["name"], given["collector"], _label(given), datapoints, given.get("most", 1))


def _device_kinds() -> tuple[DeviceKind, ...]:
    given = tomllib.loads(_FILE.read_text("utf-8"))
    known = {key: _datasource(datasource) for key, datasource in given["datasource"].items()}
    return tuple(
        DeviceKind(one["name"], one["maker"], one["model"], tuple(known[key] for key in one["datasources"]))
        for one in given["device"]
    )


DEVICE_KINDS = _device_kinds()

"""Search over devices, DataSources, instances and metrics: an index in memory, of 120,000 instances and more."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lmdp.page.run_client import Json

_MOST_WORDS: Final = 8
_LONGEST_WORD: Final = 40
_RANKS: Final = (0, 1, 2)
"""Rank of a word's match with a name: it is the name, a part of the name begins with it, or it is somewhere in it."""

Device = tuple[str, str]
Metrics = tuple[str, ...]


@dataclass(slots=True)
class Index:
    """Index of the metrics of each instance of each DataSource of each device. Equal texts and lists are one object."""

    _devices: dict[Device, Json] = field(default_factory=dict)
    _places: dict[Device, dict[str, dict[str | None, Metrics]]] = field(default_factory=dict)
    _pairs: Counter[tuple[str, str]] = field(default_factory=Counter)  # series by DataSource and metric
    _lists: dict[Metrics, Metrics] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)  # every name and id, in lower case
    _inner: set[str] = field(default_factory=set)  # those of them that are no device's

    def add(self, device: Json, datasource: str, instance: str | None, metrics: list[str]) -> None:
        """Add new rows of an instance: `device` with its `rows` and `newestMs`."""
        key = (device["orgId"], device["deviceId"])
        known = self._devices.setdefault(key, device | {"rows": 0})
        known["rows"] += device["rows"]
        known["newestMs"] = max(known["newestMs"], device["newestMs"])
        known["deviceName"] = device["deviceName"] or known["deviceName"]
        for name in (*key, known["deviceName"], datasource, instance, *metrics):
            if name and name not in self._names:
                self._names[sys.intern(name)] = name.casefold()
        self._inner.update((datasource, instance or "", *metrics))
        instances = self._places.setdefault(key, {}).setdefault(sys.intern(datasource), {})
        before = instances.get(instance, ())
        if new := set(metrics) - set(before):
            self._pairs.update((datasource, metric) for metric in new)
            found = tuple(sys.intern(metric) for metric in sorted({*before, *new}))
            instances[sys.intern(instance) if instance else instance] = self._lists.setdefault(found, found)

    def devices(self) -> list[Json]:
        """Return every device by name."""
        return sorted(self._devices.values(), key=lambda one: (one["deviceName"] or one["deviceId"], one["orgId"]))

    def search(self, text: str, limit: int) -> Json:
        """Return devices, metrics over several series, and series, at most `limit` of each, and whether there are more.

        Each word has to match the device's name or id, its tenant, the DataSource, the instance, or the metric; the
        best matches come first. A word that is in no name may leave out letters, or have a wrong one.
        """
        words = text.casefold().split()[:_MOST_WORDS]
        ranks = [self._ranks(word[:_LONGEST_WORD]) for word in words]
        wanted = (1 << len(words)) - 1
        found: dict[str, dict[object, Json]] = {"devices": {}, "metrics": {}, "series": {}}
        last: dict[str, int] | None = None
        for worst in _RANKS if all(ranks) else ():
            bits = _bits(ranks, worst)
            if bits == last:
                continue
            last = bits
            for kind, matches in (
                ("devices", self._matching_devices(bits, wanted)),
                ("metrics", self._matching_metrics(bits, wanted)),
                ("series", self._matching_series(bits, wanted)),
            ):
                for key, one in matches:
                    if len(found[kind]) > limit:
                        break
                    found[kind].setdefault(key, one)
        is_more = any(len(ones) > limit for ones in found.values())
        return {kind: list(islice(ones.values(), limit)) for kind, ones in found.items()} | {"more": is_more}

    def _ranks(self, word: str) -> dict[str, int]:
        """Return how well a word matches each name that it matches."""
        start = re.compile(rf"(?<![a-z0-9]){re.escape(word)}")
        found = {
            name: 0 if folded == word else 1 if start.search(folded) else 2
            for name, folded in self._names.items()
            if word in folded
        }
        for pattern in _inexact(word) if not found else ():
            found = {name: 2 for name, folded in self._names.items() if pattern.search(folded)}
            if found:
                break
        return found

    def _matching_devices(self, bits: dict[str, int], wanted: int) -> Iterator[tuple[object, Json]]:
        for key, known in self._devices.items():
            if _of_device(bits, key, known) == wanted:
                yield key, known

    def _matching_metrics(self, bits: dict[str, int], wanted: int) -> Iterator[tuple[object, Json]]:
        """Yield metrics over all devices, then those over the instances of a device."""
        for (datasource, metric), number in self._pairs.items():
            if number > 1 and bits.get(datasource, 0) | bits.get(metric, 0) == wanted:
                yield (datasource, metric), _result({}, datasource, None, metric, number)
        for key, known, rest in self._reachable(bits, wanted):
            for datasource, instances in self._places[key].items() if rest != wanted else ():
                if len(instances) > 1:
                    left = rest & ~bits.get(datasource, 0)
                    for metric in next(iter(instances.values())):
                        if left & ~bits.get(metric, 0) == 0:
                            yield (key, datasource, metric), _result(known, datasource, None, metric, len(instances))

    def _matching_series(self, bits: dict[str, int], wanted: int) -> Iterator[tuple[object, Json]]:
        for key, known, rest in self._reachable(bits, wanted):
            for datasource, instances in self._places[key].items():
                left = rest & ~bits.get(datasource, 0)
                for instance, metrics in instances.items():
                    last = left & ~bits.get(instance or "", 0)
                    for metric in metrics:
                        if last & ~bits.get(metric, 0) == 0:
                            yield (key, datasource, instance, metric), _result(known, datasource, instance, metric, 1)

    def _reachable(self, bits: dict[str, int], wanted: int) -> Iterator[tuple[Device, Json, int]]:
        """Yield devices, and the words that they do not match, where all of these match something within a device."""
        within = 0
        for name in self._inner & bits.keys():
            within |= bits[name]
        for key, known in self._devices.items():
            rest = wanted & ~_of_device(bits, key, known)
            if not rest & ~within:
                yield key, known, rest


def _bits(ranks: list[dict[str, int]], worst: int) -> dict[str, int]:
    """Return for each name the words that it matches at least so well, a bit for each."""
    found: dict[str, int] = {}
    for at, names in enumerate(ranks):
        for name, rank in names.items():
            if rank <= worst:
                found[name] = found.get(name, 0) | 1 << at
    return found


def _of_device(bits: dict[str, int], key: Device, known: Json) -> int:
    return bits.get(key[0], 0) | bits.get(key[1], 0) | bits.get(known["deviceName"] or "", 0)


def _inexact(word: str) -> Iterator[re.Pattern[str]]:
    """Yield what finds a word with letters left out, then with one letter wrong as well."""
    yield re.compile(_in_order(word))
    if len(word) > 3:
        yield re.compile("|".join(_in_order(word[:at] + word[at + 1 :]) for at in range(len(word))))


def _in_order(letters: str) -> str:
    """Return a pattern of letters in this order; it does not search twice."""
    first, *others = map(re.escape, letters)
    return first + "".join(f"[^{letter}]*{letter}" for letter in others)


def _result(device: Json, datasource: str, instance: str | None, metric: str, series: int) -> Json:
    names = {name: device.get(name, "") for name in ("orgId", "deviceId", "deviceName")}
    return names | {"datasource": datasource, "instance": instance, "metric": metric, "series": series}

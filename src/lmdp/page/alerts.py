"""Alerts: rules checked against the warehouse, what fires, and the changes that are posted to a webhook.

Without `alerts.toml` nothing is checked. Nothing is decided while the pipeline is not running or is behind: a device
whose messages wait in Kafka is not silent.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lmdp.errors import ApiError, LmdpError, RunNotFoundError
from lmdp.page.alert_rules import FILE, MOST_ALERTS, Rules, Silence, Target, Threshold, load
from lmdp.page.devices import Catalogue
from lmdp.page.run_client import Json, RunClient
from lmdp.page.webhook import Poster
from lmdp.support.opening import file_version

_LOOKS_S: Final = 2.0  # at the file, and whether a check is due
_MOST_LAG: Final = 10_000  # messages behind, beyond which silence says nothing

Key = tuple[str, ...]


@dataclass(slots=True)
class Alert:
    """A condition of a rule that holds: pending until `firing`. Times are Unix milliseconds."""

    rule: str
    labels: dict[str, str]
    text: str
    value: float
    since_ms: int
    firing: bool = False

    def json(self) -> Json:
        """Return it for the API."""
        state = "firing" if self.firing else "pending"
        return {"rule": self.rule, "state": state, "sinceMs": self.since_ms, "value": self.value, "text": self.text,
                "labels": self.labels}  # fmt: skip


@dataclass(slots=True)
class Alerts:
    """The rules of a home, and what holds of them now."""

    run: RunClient
    catalogue: Catalogue
    rules: Rules | None = None
    fault: str = ""
    active: dict[Key, Alert] = field(default_factory=dict)
    checked_ms: int | None = None
    poster: Poster = field(default_factory=Poster)
    _target: Target | None = None
    _seen: tuple[int, ...] | None = None
    _due: float = 0.0

    async def watch(self) -> None:
        """Check the rules when they are due, without end, and post what changes."""
        posting = asyncio.create_task(self.poster.post_all())
        try:
            while True:
                await self.look(round(time.time() * 1000))
                await asyncio.sleep(_LOOKS_S)
        finally:
            posting.cancel()

    async def look(self, now_ms: int) -> None:
        """Read the file, and check the rules when they are due. Whatever fails is a fault, and is tried again."""
        try:
            self.read()
            if self.rules is not None and time.monotonic() >= self._due:
                self._due = time.monotonic() + self.rules.every_seconds
                self.fault = await self.check(now_ms)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: its end would go unseen
            self.fault = f"the check failed: {type(error).__name__}: {error}"

    def read(self) -> None:
        """Read the file where it has changed. One that is wrong leaves no rules, and says so."""
        path = self.run.home / FILE
        try:
            found = path.stat()
        except OSError:
            self._seen, self.rules, self._target, self.fault = None, None, None, ""
            self.active.clear()
            return
        if file_version(found) == self._seen:
            return
        self._seen, self._due, self.rules = file_version(found), 0.0, None
        try:
            self.rules, self._target = load(path)
            self.fault = ""
        except LmdpError as error:
            self._target, self.fault = None, str(error)
            self.active.clear()

    async def check(self, now_ms: int) -> str:
        """Check every rule once, and return what failed. An alert of a rule that cannot be checked stays as it is."""
        rules, live = self.rules, self.run.live
        if rules is None or live is None or live.get("trouble") or sum(live["lag"].values()) > _MOST_LAG:
            return ""  # what a blocked or late run has not read is not silence
        holding: dict[Key, tuple[Alert, float]] = {}
        failed: dict[str, ApiError] = {}
        for threshold in rules.threshold:
            try:
                for one in await self._beyond(threshold, now_ms):
                    holding[_key(one)] = one, threshold.for_minutes
            except ApiError as error:
                failed[threshold.name] = error
        try:
            devices = await self.catalogue.devices() if rules.silence else []
        except ApiError as error:
            devices = []
            failed |= {silence.name: error for silence in rules.silence}
        if any(isinstance(error.__cause__, RunNotFoundError) for error in failed.values()):
            return ""  # the run has ended
        for silence in rules.silence:
            for one in _silent(silence, devices, now_ms):
                holding[_key(one)] = one, 0.0
        self.checked_ms = now_ms
        holding |= {key: (one, math.inf) for key, one in self.active.items() if one.rule in failed}
        changes = list(self._changes(holding, now_ms))
        if changes and self._target is not None:
            self.poster.add(self._target, changes, now_ms)
        return "; ".join(f"{name}: {error}" for name, error in failed.items())

    async def _beyond(self, rule: Threshold, now_ms: int) -> list[Alert]:
        return [_beyond(rule, row, now_ms) for row in await self.run.rows(rule.sql(now_ms))]

    def _changes(self, holding: dict[Key, tuple[Alert, float]], now_ms: int) -> Iterator[Json]:
        """Bring the state to what holds now; yield what has begun to fire, and what is over."""
        for key, alert in list(self.active.items()):
            if key not in holding:
                del self.active[key]
                if alert.firing:
                    yield alert.json() | {"state": "resolved", "endsMs": now_ms}
        for key, (found, minutes) in holding.items():
            alert = self.active.setdefault(key, found)
            alert.text, alert.value = found.text, found.value
            if not alert.firing and now_ms - alert.since_ms >= minutes * 60_000:
                alert.firing = True
                yield alert.json()

    def json(self) -> Json:
        """Return rules, alerts and posts for the API."""
        rules = self.rules or Rules()
        named: Iterable[tuple[str, str]] = (
            *((one.name, "threshold") for one in rules.threshold),
            *((one.name, "silence") for one in rules.silence),
        )
        alerts = sorted(self.active.values(), key=lambda one: (not one.firing, one.rule, one.since_ms, one.text))
        return {
            "isConfigured": self._seen is not None,
            "fault": self.fault,
            "checkedMs": self.checked_ms,
            "rules": [
                {"name": name, "kind": kind, "firing": sum(one.firing and one.rule == name for one in alerts)}
                for name, kind in named
            ],
            "alerts": [one.json() for one in alerts],
            "webhook": self.poster.json() if self._target is not None else None,
        }


def _beyond(rule: Threshold, row: Json, now_ms: int) -> Alert:
    names = ("orgId", "deviceId", "deviceName", "datasource", "instance", "series")
    labels = {name: row[name] for name in names if row[name] is not None} | {"metric": rule.metric}
    place = " ".join(filter(None, (row["deviceName"] or row["deviceId"], row["instance"])))
    return Alert(rule.name, labels, f"{place}: {rule.describe(row['V'])}", row["V"], now_ms)


def _key(alert: Alert) -> Key:
    labels = alert.labels
    return alert.rule, labels["orgId"], labels["deviceId"], labels.get("series", "")


def _silent(rule: Silence, devices: list[Json], now_ms: int) -> list[Alert]:
    """Return the devices that are silent for the time of the rule, the longest silence first."""
    found = []
    for one in devices:
        silent_ms = now_ms - one["newestMs"]
        is_wanted = rule.org in (None, one["orgId"]) and rule.device in (None, one["deviceId"], one["deviceName"])
        if is_wanted and rule.minutes * 60_000 < silent_ms <= rule.forget_hours * 3_600_000:
            labels = {name: one[name] for name in ("orgId", "deviceId", "deviceName") if one[name] is not None}
            text = f"{one['deviceName'] or one['deviceId']}: no row for more than {rule.minutes:g} min"
            found.append(Alert(rule.name, labels, text, silent_ms / 1000, now_ms))
    return sorted(found, key=lambda one: -one.value)[:MOST_ALERTS]

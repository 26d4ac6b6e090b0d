"""Rules of alerts, read from `alerts.toml` in the home: thresholds on a metric, silence of a device, a webhook."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from lmdp.errors import SettingsError
from lmdp.sql.render import literal
from lmdp.support.opening import others_may, read_bytes
from lmdp.support.settings_reader import is_loopback

FILE: Final = "alerts.toml"
MOST_RULES: Final = 100
MOST_ALERTS: Final = 500
"""Alerts of one rule at a time."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Minutes = Annotated[float, msgspec.Meta(ge=0, le=10_080)]
Limit = Annotated[float, msgspec.Meta(ge=-1e308, le=1e308)]  # SQL has no literal for infinity


class Threshold(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A limit on the newest value of each series of a metric, or, with `rate`, on its growth per second.

    It fires where the value is beyond `above` or `below` for `for_minutes`. A series without a point in
    `window_minutes` has no value; a rate is taken over that time. `device` is a name or an id.
    """

    name: Text
    metric: Text
    above: Limit | None = None
    below: Limit | None = None
    rate: bool = False
    for_minutes: Minutes = 0.0
    window_minutes: Annotated[float, msgspec.Meta(ge=1, le=1_440)] = 10.0
    org: Text | None = None
    device: Text | None = None
    datasource: Text | None = None
    instance: Text | None = None

    def sql(self, now_ms: int) -> str:
        """Return the query for the series that are beyond the limit, the farthest first."""
        wanted = {"ORG_ID": self.org, "DATASOURCE": self.datasource, "INSTANCE": self.instance, "METRIC": self.metric}
        where = [f"{column} = {literal(text)}" for column, text in wanted.items() if text is not None]
        if self.device is not None:
            where.append(f"{literal(self.device)} IN (DEVICE_ID, DEVICE_NAME)")
        value = "arg_max(VALUE, TS)"
        if self.rate:
            grown = f"{value} - arg_min(VALUE, TS)"
            value = f"CASE WHEN {grown} >= 0 THEN ({grown}) * 1000 / nullif(max(TS_UNIX_MS) - min(TS_UNIX_MS), 0) END"
        limits = [f"V > {self.above!r}"] if self.above is not None else []
        limits += [f"V < {self.below!r}"] if self.below is not None else []
        order = "DESC" if self.above is not None else "ASC"
        return f"""
SELECT * FROM (
  SELECT
    ORG_ID AS "orgId", DEVICE_ID AS "deviceId", max(DEVICE_NAME) AS "deviceName", DATASOURCE AS "datasource",
    INSTANCE AS "instance", SERIES AS "series", {value} AS V
  FROM METRICS
  WHERE {" AND ".join(where)}
    AND TS > epoch_ms({now_ms - round(self.window_minutes * 60_000)}) AND TS <= epoch_ms({now_ms + 60_000})
  GROUP BY ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE, SERIES
)
WHERE isfinite(V) AND ({" OR ".join(limits)})
ORDER BY V {order}
LIMIT {MOST_ALERTS}"""  # noqa: S608 - names are literals, numbers our own

    def describe(self, value: float) -> str:
        """Return in words what is beyond the limit."""
        unit = " per second" if self.rate else ""
        is_above = self.above is not None and value > self.above
        limit = self.above if is_above else self.below
        return f"{self.metric} is {_figure(value)}{unit}, {'above' if is_above else 'below'} {_figure(limit)}"


def _figure(value: float | None) -> str:
    """Return a number without an exponent where it is large."""
    return f"{value or 0:,.0f}" if abs(value or 0) >= 1_000 else f"{value or 0:,.6g}"


class Silence(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A device whose newest row is older than `minutes`; after `forget_hours` it counts as removed."""

    name: Text
    minutes: Annotated[float, msgspec.Meta(gt=0, le=10_080)]
    forget_hours: Annotated[float, msgspec.Meta(gt=0, le=8_760)] = 24.0
    org: Text | None = None
    device: Text | None = None


class Webhook(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Destination of changes: its address, or a file that has it, and a file with a token for `Authorization`."""

    url: Text | None = None
    url_file: Text | None = None
    token_file: Text | None = None


class Rules(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All rules, how often they are checked, and the webhook."""

    every_seconds: Annotated[float, msgspec.Meta(ge=5, le=3_600)] = 30.0
    threshold: tuple[Threshold, ...] = ()
    silence: tuple[Silence, ...] = ()
    webhook: Webhook | None = None

    def faults(self) -> list[str]:
        """Return what the types cannot say."""
        names = [*(rule.name for rule in self.threshold), *(rule.name for rule in self.silence)]
        found = [f"two rules have the name {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
        if len(names) > MOST_RULES:
            found.append(f"{len(names)} rules, of {MOST_RULES} at most")
        found += [
            f"{one.name!r} has neither `above` nor `below`" for one in self.threshold if one.above is one.below is None
        ]
        if self.webhook is not None and (self.webhook.url is None) == (self.webhook.url_file is None):
            found.append("the webhook has one of `url` and `url_file`")
        return found


class Target(msgspec.Struct, frozen=True):
    """A webhook with what its files hold."""

    url: str
    token: str | None


def load(path: Path) -> tuple[Rules, Target | None]:
    """Read the rules, and where changes are posted. Raises SettingsError, with every fault named."""
    try:
        rules = msgspec.toml.decode(read_bytes(path), type=Rules)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}") from error
    faults = rules.faults()
    target = None if faults or rules.webhook is None else _target(rules.webhook, path.parent, faults)
    if faults:
        raise SettingsError.of([f"{path}: {fault}" for fault in faults])
    return rules, target


def _target(webhook: Webhook, folder: Path, faults: list[str]) -> Target | None:
    url = webhook.url or _secret(folder, webhook.url_file, faults)
    token = _secret(folder, webhook.token_file, faults) if webhook.token_file else None
    if faults or url is None:
        return None
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname if parts.port != 0 else None
    except ValueError:
        scheme, host = "", None
    if not host or scheme not in ("https", "http"):
        faults.append("the webhook's address is not an https:// address")
    elif scheme == "http" and not is_loopback(host):
        faults.append("the webhook's address begins with http://; outside of this machine it has to be https://")
    return Target(url, token)


def _secret(folder: Path, name: str | None, faults: list[str]) -> str | None:
    path = folder / (name or "")
    try:
        is_open = others_may(path.stat().st_mode, stat.S_IRWXO)
        text = read_bytes(path).decode("ascii").strip()
    except (OSError, ValueError) as error:
        faults.append(f"{path} cannot be read: {error}")
        return None
    if is_open:
        faults.append(f"{path} can be read or replaced by all users; run: chmod 600 {path}")
        return None
    if not text or not text.isprintable():
        faults.append(f"{path} does not hold one line of text")
        return None
    return text

"""Posts of alerts to a webhook, in the shape of Prometheus' Alertmanager, within limits, and repeated where it fails.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import httpx
import msgspec

from lmdp.core.timestamps import moment
from lmdp.page.alert_rules import Target
from lmdp.page.run_client import Json

_MOST_ALERTS: Final = 100  # in one post
_MOST_WAITING: Final = 100  # posts
_TIMEOUT_S: Final = 10.0
_PAUSES_S: Final = (1.0, 5.0, 30.0, 120.0)  # before each further try
_AGAIN: Final = frozenset({408, 425, 429})  # and 5xx


class _Post(NamedTuple):
    target: Target
    body: bytes
    alerts: int


@dataclass(slots=True)
class Poster:
    """The posts that wait, oldest first, and what became of the others."""

    pauses_s: Sequence[float] = _PAUSES_S
    delivered: int = 0
    failed: int = 0
    error: str = ""
    _waiting: deque[_Post] = field(default_factory=deque)
    _added: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, target: Target, changes: Sequence[Json], now_ms: int) -> None:
        """Queue a post of what changed; the oldest one is dropped where too many wait."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.failed += 1
        self._waiting.append(_Post(target, body(changes, now_ms), len(changes)))
        self._added.set()

    async def post_all(self) -> None:
        """Post what waits, in its order, without end."""
        while True:
            await self._added.wait()
            self._added.clear()
            while self._waiting:
                post = self._waiting.popleft()
                try:
                    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=_trust()) as client:
                        await self._post(client, post)
                except Exception as error:  # noqa: BLE001 - nobody awaits this task: its end would go unseen
                    self.failed, self.error = self.failed + 1, type(error).__name__

    async def _post(self, client: httpx.AsyncClient, post: _Post) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "lmdp"}
        if post.target.token is not None:
            headers["Authorization"] = f"Bearer {post.target.token}"
        for pause in (*self.pauses_s, None):
            try:
                async with client.stream("POST", post.target.url, content=post.body, headers=headers) as response:
                    status = response.status_code
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                self.error = type(error).__name__  # its text may have the address, which may be a secret
                may_pass = not isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol)
            else:
                if 200 <= status < 300:
                    self.delivered, self.error = self.delivered + 1, ""
                    return
                self.error, may_pass = f"status {status}", status >= 500 or status in _AGAIN
            if pause is None or not may_pass:
                break
            await asyncio.sleep(pause)
        self.failed += 1

    def json(self) -> Json:
        """Return what became of the posts, for the API."""
        return {"delivered": self.delivered, "failed": self.failed, "waiting": len(self._waiting), "error": self.error}


def body(changes: Sequence[Json], now_ms: int) -> bytes:
    """Return the post of some changes."""
    alerts = [
        {
            "status": "resolved" if one["state"] == "resolved" else "firing",
            "labels": {"alertname": one["rule"], **one["labels"]},
            "annotations": {"summary": one["text"], "value": f"{one['value']:g}"},
            "startsAt": moment(one["sinceMs"] * 1_000_000).text,
            "endsAt": moment(one["endsMs"] * 1_000_000).text if "endsMs" in one else "0001-01-01T00:00:00Z",
        }
        for one in changes[:_MOST_ALERTS]
    ]
    firing = [one["text"] for one in changes if one["state"] == "firing"]
    left = len(changes) - len(alerts)
    lines = [f"{one['state']}: {one['text']}" for one in changes[:_MOST_ALERTS]] + [f"and {left:,} more"] * (left > 0)
    return msgspec.json.encode(
        {
            "version": "4",
            "receiver": "lmdp",
            "status": "firing" if firing else "resolved",
            "alerts": alerts,
            "truncatedAlerts": left,
            "sentAt": moment(now_ms * 1_000_000).text,
            "text": "\n".join(lines),
        }
    )


def _trust() -> ssl.SSLContext:
    """Return a context with the system's CAs."""
    return ssl.create_default_context()

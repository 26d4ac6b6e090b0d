"""Access to the page: programs of this user, on this machine, and web pages of this address only.

A web page can make a browser send requests to loopback, under a name of its own (DNS rebinding) or across sites. So
both host name and origin are checked, for websockets too, before anything is read. Other users of this machine reach
loopback too; Linux shows who owns the other end of a connection.
https://owasp.org/www-community/attacks/csrf https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from lmdp.support.program import program

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_STATIC = "/_nicegui/"  # scripts and fonts of a version, no data
_OPEN_TO_ALL = "/metrics"  # a monitor runs as its own user; these are totals without names
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ROOT = 0

# Vue compiles templates in the browser and the library evaluates what its server sends, hence 'unsafe-eval'; styles are
# set on elements, hence 'unsafe-inline' there. No other origin is named, and scripts in the document need the nonce.
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_OURS = {name for name, _ in _HEADERS} | {b"content-security-policy"}


class RequestGuard:
    """ASGI middleware that passes permitted requests on `port` to `app`, and adds security headers."""

    def __init__(self, app: App, port: int, tables: Iterable[Path] = _TABLES) -> None:
        self.app = app
        self._port = port
        self._hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
        self._tables = tuple(tables)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 403 (a websocket: before it is accepted), or pass the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, _SecuredResponse(send, scope["path"]))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            await _refuse(send, refusal)

    def _refusal(self, scope: Scope) -> str | None:
        """Return why a request is refused; None when it is permitted."""
        headers = [(name.lower(), value.decode("latin-1").lower()) for name, value in scope["headers"]]
        given = dict(headers)
        if [name for name, _ in headers].count(b"host") != 1 or given[b"host"] not in self._hosts:
            return f"the page answers only as 127.0.0.1:{self._port} and localhost:{self._port}"
        origin = given.get(b"origin")
        if origin is not None and origin != f"http://{given[b'host']}":
            return "requests from another origin are not permitted"
        if given.get(b"sec-fetch-site") in ("cross-site", "same-site") and not _is_navigation(given):
            return "requests from another site are not permitted"
        if scope["path"] != _OPEN_TO_ALL and not is_ours(scope.get("client"), self._port, self._tables):
            return "only the user who runs the pipeline may open the page"
        return None


def _is_navigation(headers: dict[bytes, str]) -> bool:
    """Return whether the user followed a link to the page; the linking site cannot read the answer."""
    return headers.get(b"sec-fetch-mode") == "navigate" and headers.get(b"sec-fetch-dest") == "document"


def is_ours(peer: tuple[str, int] | None, port: int, tables: Iterable[Path] = _TABLES) -> bool:
    """Return whether this user or root owns the other end of a connection; True where the system does not show it.

    A connection that no program holds any more (an earlier one of that port, in TIME_WAIT) is root's in the table, so
    both ends and the inode have to match.
    """
    if peer is None or peer[0] != "127.0.0.1":
        return False
    found = False
    for table in tables:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        found = True
        for line in lines:
            words = line.split()
            ends = [_ends(one, ipv6=table.name.endswith("6")) for one in (peer[1], port)]
            if words[1] in ends[0] and words[2] in ends[1] and words[9] != "0":
                return int(words[7]) in {_ROOT, os.geteuid()}
    return not found


def _ends(port: int, *, ipv6: bool) -> tuple[str, ...]:
    """Return 127.0.0.1 and `port` as the kernel's table writes them, in both byte orders."""
    ends = ("0100007F", "7F000001")
    if ipv6:
        ends = (f"0000000000000000FFFF0000{ends[0]}", f"00000000000000000000FFFF{ends[1]}")
    return tuple(f"{end}:{port:04X}" for end in ends)


async def _refuse(send: Send, reason: str) -> None:
    body = msgspec.json.encode({"error": f"Refused: {reason}.", "next": f"{program()} status"})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"cache-control", b"no-store"), *_HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _SecuredResponse:
    """Sends a response with the security headers; scripts in a document get this response's nonce."""

    def __init__(self, send: Send, path: str) -> None:
        self._send = send
        self._is_static = path.startswith(_STATIC)
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message | None = None
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = self._secured(message["headers"])
            if (b"content-type", b"text/html") in ((n, v[:9]) for n, v in message["headers"]):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._document(self._start)
            return
        await self._send(message)

    def _secured(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = [(name.lower(), value) for name, value in headers]
        kept = [(name, value) for name, value in kept if name not in _OURS]
        if not self._is_static:
            kept = [(name, value) for name, value in kept if name != b"cache-control"]
            kept.append((b"cache-control", b"no-store"))
        return [*kept, *_HEADERS, (b"content-security-policy", _POLICY.format(nonce=self._nonce).encode())]

    async def _document(self, start: Message) -> None:
        """Send a document whole. It contains no data yet, so every script in it is the library's."""
        body = b"".join(self._parts).replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        start["headers"] = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        start["headers"].append((b"content-length", str(len(body)).encode()))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

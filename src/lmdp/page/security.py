"""Access to the page: for whoever has its token, on this machine, from a web page of this address only.

The token comes in the address that the owner sees, becomes a cookie, and leaves the address; programs send it in a
header. Monitors have one of their own, which opens `/metrics` alone. Both are files of the home that only its owner can
read, so they outlive a restart. A web page can make a browser send requests to loopback, under a name of its own (DNS
rebinding) or across sites: host name and origin are checked too, for websockets as well, before anything is read.
https://owasp.org/www-community/attacks/csrf
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from lmdp.errors import ApiError
from lmdp.support.atomic_files import write_whole
from lmdp.support.opening import others_may
from lmdp.support.program import at_home, program

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
STATIC = "/_nicegui/"  # scripts and fonts of a version, no data
_METRICS = "/metrics"
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{22}\n?")

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


class Tokens(NamedTuple):
    """The token of the page, and the one that opens `/metrics` alone."""

    page: str
    metrics: str


def tokens(home: Path) -> Tokens:
    """Return the tokens of a home; make those that it has not. Raises OSError."""
    return Tokens(*(_token(path) or _made(path) for path in (home / "page.token", home / "metrics.token")))


def with_token(home: Path, address: str) -> str:
    """Return the page's address with its token, for the owner to open; without one where the home has none."""
    token = _token(home / "page.token")
    return f"{address}/?token={token}" if token else address


def _token(path: Path) -> str | None:
    """Return the token in a file, None unless it is a file that only its owner, this user, can read."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found, text = os.fstat(handle), file.read(100)
        is_ours = stat.S_ISREG(found.st_mode) and not others_may(found.st_mode) and found.st_uid in (0, os.geteuid())
        if is_ours and _TOKEN.fullmatch(text):
            return text.decode().strip()
    return None


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(16)
    write_whole(path, f"{token}\n".encode())
    return token


class RequestGuard:
    """ASGI middleware that passes permitted requests on `port` to `app`, and adds security headers."""

    def __init__(self, app: App, port: int, known: Tokens, home: Path) -> None:
        self.app = app
        self._port = port
        self._hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
        self._tokens = known
        self._shows_address = f"{program()} status{at_home(home)}"
        self._cookie = f"lmdp-{port}"  # a browser sends a cookie to every port: each page has its own name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 403 (a websocket: before it is accepted), set the cookie, or pass the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = _Headers(scope)
        refusal = self._refusal(headers)
        if refusal is None and self._may(scope["path"], headers):
            await self.app(scope, receive, _SecuredResponse(send, scope["path"]))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
        elif refusal is None and self._has_come_with_token(scope):
            await self._redirect(scope, headers, send)
        elif refusal is None and headers.is_from_elsewhere() and headers["sec-fetch-user"] == "?1":
            await _answer(send, 403, _AGAIN, b"text/html")
        else:
            await _refuse(send, refusal or _UNKNOWN, self._shows_address)

    def _refusal(self, headers: _Headers) -> str | None:
        """Return why a request is refused whoever sends it; None when its sender decides."""
        host, origin = headers["host"].lower(), headers["origin"].lower()
        if headers.names.count(b"host") != 1 or host not in self._hosts:
            return f"the page answers only as 127.0.0.1:{self._port} and localhost:{self._port}"
        if b"origin" in headers.names and origin != f"http://{host}":
            return "requests from another origin are not permitted"
        if headers.is_from_elsewhere() and not headers.is_visit():
            return "requests from another site are not permitted"
        return None

    def _may(self, path: str, headers: _Headers) -> bool:
        """Return whether a request has a token that opens the path."""
        wanted = self._tokens if path == _METRICS else (self._tokens.page,)
        return any(_same(one, token) for one in self._given(headers) for token in wanted)

    def _given(self, headers: _Headers) -> Iterator[str]:
        kind, _, token = headers["authorization"].partition(" ")
        if kind.lower() in ("bearer", "token"):
            yield token.strip()
        for cookie in headers["cookie"].split(";"):
            name, _, token = cookie.strip().partition("=")
            if name == self._cookie:
                yield token

    def _has_come_with_token(self, scope: Scope) -> bool:
        found = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return scope["method"] == "GET" and len(found) == 1 and _same(found[0], self._tokens.page)

    async def _redirect(self, scope: Scope, headers: _Headers, send: Send) -> None:
        """Give the browser its cookie, and the address without the token."""
        rest = b"&".join(part for part in scope["query_string"].split(b"&") if part and not part.startswith(b"token="))
        address = f"http://{headers['host']}".encode() + scope["raw_path"] + (b"?" + rest if rest else b"")
        cookie = f"{self._cookie}={self._tokens.page}; Path=/; HttpOnly; SameSite=Strict"
        more = [(b"location", address), (b"set-cookie", cookie.encode())]
        await _answer(send, 303, b"", b"text/plain", more)


class _Headers:
    """The headers of a request, by lower-case name; "" for one that is not there."""

    def __init__(self, scope: Scope) -> None:
        self.names: list[bytes] = [name.lower() for name, _ in scope["headers"]]
        self._given: dict[bytes, str] = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}

    def __getitem__(self, name: str) -> str:
        return self._given.get(name.encode(), "")

    def is_from_elsewhere(self) -> bool:
        """Return whether a page of another site makes the browser send it."""
        return self["sec-fetch-site"] in ("cross-site", "same-site")

    def is_visit(self) -> bool:
        """Return whether the user follows a link to the page; the linking site cannot read the answer."""
        return self["sec-fetch-mode"] == "navigate" and self["sec-fetch-dest"] == "document"


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode("utf-8", "replace"), other.encode())


# A browser withholds the cookie from a visit that another site began, such as a link in a chat. It sends it again.
_AGAIN: Final = b'<!doctype html><meta http-equiv="refresh" content="0"><title>lmdp</title>'
_UNKNOWN: Final = "this needs the token of the page: open the address that the next command shows in a terminal"


async def _refuse(send: Send, reason: str, next_step: str) -> None:
    error = ApiError(403, f"Refused: {reason}.", next_step)
    await _answer(send, 403, msgspec.json.encode(error.json()), b"application/json")


async def _answer(send: Send, status: int, body: bytes, kind: bytes, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    headers += [(b"cache-control", b"no-store"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _SecuredResponse:
    """Sends a response with the security headers; scripts in a document get this response's nonce."""

    def __init__(self, send: Send, path: str) -> None:
        self._send = send
        self._is_static = path.startswith(STATIC)
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

"""Connections to the page, limited in the time until a request, and in number for other users.

Other users of this machine may read `/metrics`, so they may connect. A connection that sends no request, or sends
it too slowly, is closed; and other users can never hold so many that this user gets none.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lmdp.page.security import is_ours

REQUEST_SECONDS: Final = 10.0
"""For a request's head to arrive, since the connection began or since the request before."""

MAX_CONNECTIONS: Final = 200
"""Connections in all."""

MAX_OF_OTHERS: Final = 16
_UNCHECKED: Final = 32  # so few do no harm, whoever holds them: no need to read the kernel's table


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn serves it."""

    _others: ClassVar[set[HttpToolsProtocol]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it, unless other users hold too many."""
        super().connection_made(transport)
        self._last: Any = None
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)
        if len(self.connections) <= _UNCHECKED or self.server is None or is_ours(self.client, self.server[1] or 0):
            return
        if len(self._others) >= MAX_OF_OTHERS:
            transport.abort()
        else:
            self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting it."""
        self._timer.cancel()
        self._others.discard(self)
        super().connection_lost(exc)

    def _check(self) -> None:
        """Close it where no request arrived since the last check and none is being answered."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a websocket by now
            self._others.discard(self)
            return
        if self.cycle is self._last and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()
            return
        self._last = self.cycle
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)

"""Connections to the page, bounded in time before they ask, and in number where another user has them.

Other users of this machine may ask for `/metrics`, and so may connect. Who connects and says nothing, or sends a head
by drops, loses the connection, and others never have so many that this user finds none.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lmdp.page.security import is_ours

ASK_SECONDS: Final = 10.0
"""For a request's head to arrive, from the connection's start or from the request before."""

MOST: Final = 200
"""Connections in all."""

MOST_OF_OTHERS: Final = 16
_UNASKED: Final = 32  # so few are no harm, whoever has them: the kernel's table need not be read


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn serves it."""

    _others: ClassVar[set[HttpToolsProtocol]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, unless others have enough."""
        super().connection_made(transport)
        self._last: Any = None
        self._timer = self.loop.call_later(ASK_SECONDS, self._look)
        if len(self.connections) <= _UNASKED or self.server is None or is_ours(self.client, self.server[1] or 0):
            return
        if len(self._others) >= MOST_OF_OTHERS:
            transport.abort()
        else:
            self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back."""
        self._timer.cancel()
        self._others.discard(self)
        super().connection_lost(exc)

    def _look(self) -> None:
        """End it where no request has come since the last look and none is being answered."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a websocket by now
            self._others.discard(self)
            return
        if self.cycle is self._last and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()
            return
        self._last = self.cycle
        self._timer = self.loop.call_later(ASK_SECONDS, self._look)

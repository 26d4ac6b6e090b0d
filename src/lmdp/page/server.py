"""The page's server: the gate, the JSON API and the page itself, in one ASGI application on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from lmdp.page.api import Api, routes
from lmdp.page.connections import MOST, Connection
from lmdp.page.devices import Catalogue
from lmdp.page.layout import Page
from lmdp.page.process import LISTENING
from lmdp.page.run_client import Pipe
from lmdp.page.security import Gate

_RECONNECT_S = 30.0  # a sleeping tab finds its page as it left it
_ICON = Path(__file__).with_name("icon.svg")


def server(home: Path, port: int) -> uvicorn.Server:
    """Everything that `port` answers, ready to run; it tells its address on standard output when it does."""
    pipe = Pipe(home)
    api = Api(pipe, Catalogue(pipe))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(pipe.watch())
        print(f"{LISTENING}http://127.0.0.1:{port}", flush=True)
        yield
        watching.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes.extend(routes(api))
    Page(api).register()
    ui.run_with(
        app,
        title="lmdp",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=_RECONNECT_S,
        gzip_middleware_factory=None,  # nothing travels far on loopback
        show_welcome_message=False,
    )
    config = uvicorn.Config(
        Gate(app, port),
        log_level="warning",
        access_log=False,
        server_header=False,
        http=Connection,
        limit_concurrency=MOST,
        ws_max_size=2_000_000,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)

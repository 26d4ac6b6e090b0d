"""Server of the page: request guard, JSON API and user interface in one ASGI application on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from lmdp.page.api import Api, routes
from lmdp.page.connections import MAX_CONNECTIONS, Connection
from lmdp.page.devices import Catalogue
from lmdp.page.layout import Page
from lmdp.page.process import LISTENING
from lmdp.page.run_client import RunClient
from lmdp.page.security import RequestGuard

_RECONNECT_S = 30.0  # a tab that slept for less keeps its state
_ICON = Path(__file__).with_name("icon.svg")


def server(home: Path, port: int) -> uvicorn.Server:
    """Return the server for `port`, ready to run. It prints its address on standard output when it listens."""
    run = RunClient(home)
    api = Api(run, Catalogue(run))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        polling = asyncio.create_task(run.poll())
        print(f"{LISTENING}http://127.0.0.1:{port}", flush=True)
        yield
        polling.cancel()

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
        gzip_middleware_factory=None,  # no use on loopback
        show_welcome_message=False,
    )
    config = uvicorn.Config(
        RequestGuard(app, port),
        log_level="warning",
        access_log=False,
        server_header=False,
        http=Connection,
        limit_concurrency=MAX_CONNECTIONS,
        ws_max_size=2_000_000,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)

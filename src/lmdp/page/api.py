"""JSON API of the page, for programs too. Queries and their errors are the run's own, passed on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lmdp.errors import ApiError
from lmdp.machine.api.http import json_response, number, read_body, unless_left
from lmdp.machine.api.protocol import CSV, JSON, MAX_QUERY, Query
from lmdp.page import chart, prometheus, reject_texts
from lmdp.page.alerts import Alerts
from lmdp.page.board import BoardFile
from lmdp.page.devices import Catalogue
from lmdp.page.run_client import KEPT_S, Json, RunClient
from lmdp.page.security import STATIC
from lmdp.sql.dictionary import INNER, groups, meaning
from lmdp.support.program import at_home, program

MESSAGES = 20
_COLUMNS = """
SELECT table_name AS "TABLE_NAME", column_name AS "COLUMN_NAME", data_type AS "DATA_TYPE"
FROM information_schema.columns
WHERE table_schema = 'PIPELINE'
ORDER BY table_name, ordinal_position
"""


@dataclass(frozen=True, slots=True)
class Api:
    """The page's data, each part as a JSON object. Every method raises ApiError."""

    run: RunClient
    catalogue: Catalogue
    board: BoardFile
    alerts: Alerts

    async def status(self) -> Json:
        """Return the state of the run and of the warehouse."""
        live, status = self._seen()
        warehouse = {name: value for name, value in status.items() if name != "running"}
        run = {name: value for name, value in live.items() if name not in ("latenciesMs", "latencySumMs")}
        shown = {"latencyMs": self.run.latency(), "receiver": status["running"]["receiver"]}
        return {"run": run | shown, "warehouse": warehouse}

    async def history(self, seconds: int = KEPT_S) -> Json:
        """Return a sample for each of the last `seconds`."""
        if not 1 <= seconds <= KEPT_S:
            raise ApiError(400, f"seconds must be a number from 1 to {KEPT_S}", "GET /api/history?seconds=60")
        since = (time.time() - seconds) * 1000
        return {"samples": [sample for sample in self.run.samples if sample["atMs"] >= since]}

    async def reasons(self) -> Json:
        """Return rejects and drops by reason."""
        live, _ = self._seen()
        return {"rejects": await reject_texts.rejects(self.run), "drops": reject_texts.drops(live)}

    async def tables(self) -> Json:
        """Return the tables and views that queries read, each with its columns, and what they mean."""
        named = {name: about for group, found in groups().items() if group != INNER for name, about in found.items()}
        columns: dict[str, list[Json]] = {}
        for row in await self.run.rows(_COLUMNS):
            about = meaning(row["COLUMN_NAME"]) or ""
            columns.setdefault(row["TABLE_NAME"], []).append(
                {"name": row["COLUMN_NAME"], "type": row["DATA_TYPE"], "about": about}
            )
        return {
            "tables": [
                {"name": name, "about": about, "columns": columns[name]}
                for name, about in named.items()
                if name in columns
            ]
        }

    async def rejects(self) -> Json:
        """Return the newest rejects, each with its reason and the command that replays it."""
        return {"rejects": await reject_texts.newest(self.run)}

    async def messages(self, partition: int, before: int | None = None, limit: int = MESSAGES) -> Json:
        """Return the newest messages of a partition, or those before an offset, and what becomes of each datapoint."""
        found = await self.run.messages(partition, before, limit)
        for message in found["messages"]:
            for one in (message, *message["datapoints"]):
                if one["reject"]:
                    one["reject"] |= reject_texts.remedy(self.run, one["reject"]["code"], one["reject"]["message"])
        return found

    async def devices(self) -> Json:
        """Return every device."""
        return {"devices": await self.catalogue.devices()}

    async def series(self, org: str, device: str) -> Json:
        """Return the series of a device."""
        return {"series": await self.catalogue.series(org, device)}

    async def search(self, text: str, limit: int = 20) -> Json:
        """Return devices, metrics and series that match all words of a text."""
        if not 1 <= limit <= 200:
            raise ApiError(400, "limit must be a number from 1 to 200", "GET /api/search?q=cpu")
        return await self.catalogue.search(text, limit)

    async def draw(self, query: chart.ChartQuery) -> Json:
        """Return the lines of one series."""
        return await chart.draw(self.run, query)

    def _seen(self) -> tuple[Json, Json]:
        live, status = self.run.live, self.run.status
        if live is None or status is None:
            next_step = f"{program()} status{at_home(self.run.home)}"
            raise self.run.error or ApiError(
                503, "the page is still connecting to the run; try again in a second", next_step
            )
        return live, status


class StaticGzip(GZipMiddleware):
    """Compresses scripts and styles, for a page that is opened through a tunnel; never data.

    Data next to a secret must not be compressed: https://www.breachattack.com/
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        passed = super().__call__ if scope.get("path", "").startswith(STATIC) else self.app
        await passed(scope, receive, send)


_Endpoint = Callable[[Api, Request], Awaitable[Response]]


def _json(answer: Callable[[Api, Request], Awaitable[Json]]) -> _Endpoint:
    async def endpoint(api: Api, request: Request) -> Response:
        return json_response(await answer(api, request))

    return endpoint


async def _alerts(api: Api, _: Request) -> Json:
    return api.alerts.json()


async def _metrics(api: Api, _: Request) -> Response:
    text = prometheus.render(api.run.live, api.run.status, api.alerts.json())
    return Response(text, media_type=prometheus.CONTENT_TYPE)


async def _messages(api: Api, request: Request) -> Json:
    given = request.query_params
    before = number(given, "before", -1)
    limit = number(given, "limit", MESSAGES)
    return await api.messages(number(given, "partition", 0), None if before < 0 else before, limit)


async def _query(api: Api, request: Request) -> Response:
    """Pass the run's answer on, piece by piece; the query ends when its client leaves."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:
        raise ApiError(415, "a query must be JSON", f'send it with "Content-Type: {JSON}"')
    query = Query.parse(await read_body(request, MAX_QUERY, f"{program()} query{at_home(api.run.home)} - < query.sql"))
    form = CSV if CSV in request.headers.get("accept", "") else JSON
    answer = await unless_left(request, api.run.send(query, form))
    headers = {name: answer.headers[name] for name in ("content-length", "content-type", "x-truncated")
               if name in answer.headers}  # fmt: skip
    return StreamingResponse(answer.aiter_raw(), answer.status_code, headers, background=BackgroundTask(answer.aclose))


def _chart_query(request: Request) -> chart.ChartQuery:
    now = int(time.time() * 1000)
    to = number(request.query_params, "toMs", now)
    view, over = (request.query_params.get(name, first) for name, first in (("view", "raw"), ("over", "")))
    if view not in chart.VIEWS:
        raise ApiError(400, f"view must be one of {', '.join(chart.VIEWS)}", "GET /api/series")
    return chart.ChartQuery(
        org=_text(request, "orgId", over),
        device=_text(request, "deviceId", over),
        datasource=_text(request, "datasource"),
        instance=request.query_params.get("instance"),
        metric=_text(request, "metric"),
        view=view,
        from_ms=number(request.query_params, "fromMs", to - 3_600_000),
        to_ms=to,
        points=number(request.query_params, "points", chart.POINTS),
        over=over,
        by=request.query_params.get("by", ""),
    )


def _text(request: Request, name: str, otherwise: str = "") -> str:
    """Return a parameter; empty where it is missing and `otherwise` is given in its place."""
    value = request.query_params.get(name, "" if otherwise else None)
    if value is None:
        raise ApiError(400, f"{name} is missing", "GET /api lists the parameters")
    return value


_ROUTES: Final[dict[str, tuple[str, _Endpoint]]] = {
    "GET /api/status": ("the run and the warehouse now", _json(lambda api, _: api.status())),
    "GET /api/history": (
        "the last 15 minutes, a sample a second: seconds",
        _json(lambda api, request: api.history(number(request.query_params, "seconds", KEPT_S))),
    ),
    "GET /api/reasons": (
        "rejects and drops by reason, each with an example and what to do",
        _json(lambda api, _: api.reasons()),
    ),
    "GET /api/tables": ("tables and views with their columns, and what they mean", _json(lambda api, _: api.tables())),
    "GET /api/rejects": (
        "the newest rejects, each with its message and what to do",
        _json(lambda api, _: api.rejects()),
    ),
    "GET /api/messages": (
        "messages of a partition, and what becomes of each datapoint: partition, before, limit",
        _json(_messages),
    ),
    "GET /api/devices": ("every device", _json(lambda api, _: api.devices())),
    "GET /api/series": (
        "the series of a device: orgId, deviceId",
        _json(lambda api, request: api.series(_text(request, "orgId"), _text(request, "deviceId"))),
    ),
    "GET /api/search": (
        "devices, metrics and series by any of their names: q, limit",
        _json(lambda api, request: api.search(_text(request, "q"), number(request.query_params, "limit", 20))),
    ),
    "GET /api/chart": (
        "lines: orgId, deviceId, datasource, instance, metric, view, fromMs, toMs, points, over, by",
        _json(lambda api, request: api.draw(_chart_query(request))),
    ),
    "POST /api/query": ("the answer to one SELECT: sql, limitRows, timeoutSeconds", _query),
    "GET /api/alerts": ("the rules of alerts.toml, and what fires", _json(_alerts)),
    "GET /metrics": ("the same for Prometheus", _metrics),
}
"""Each address: its answer and parameters in words, and its endpoint."""

INDEX: Final = {name: about for name, (about, _) in _ROUTES.items()}


def routes(api: Api) -> list[Route]:
    """Return the API's routes; every other path belongs to the page."""
    return [
        Route("/api", _index, methods=["GET"]),
        *(_route(name, partial(endpoint, api)) for name, (_, endpoint) in _ROUTES.items()),
        Route("/api/{rest:path}", _unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
    ]


def _route(name: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    method, path = name.split()
    return Route(path, endpoint, methods=[method])


async def _index(_: Request) -> Response:
    return json_response(INDEX)


async def _unknown(request: Request) -> Response:
    raise ApiError(404, f"no such address: {request.method} {request.url.path}", "GET /api lists all")

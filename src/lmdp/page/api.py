"""JSON API of the page, for programs too. An error is `{"error", "next"}`, with the next command."""

from __future__ import annotations

import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lmdp.errors import ApiError
from lmdp.machine.api import formats
from lmdp.machine.api.protocol import Query
from lmdp.machine.warehouse.reader import Answer
from lmdp.page import chart, prometheus, reject_texts
from lmdp.page.devices import Catalogue
from lmdp.page.run_client import KEPT_S, Json, RunClient
from lmdp.support.program import program

MAX_ROWS = 100_000  # for more there is `lmdp query`, which can write to a file
MAX_SECONDS = 60.0
_MAX_BODY = 1_000_000
_CSV = "text/csv"


class PageQuery(Query, rename="camel", forbid_unknown_fields=True):
    """A query within the limits of `POST /api/query`."""

    limit_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 1_000
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] = 30.0


@dataclass(frozen=True, slots=True)
class Api:
    """The page's data, each part as a JSON object. Every method raises ApiError."""

    run: RunClient
    catalogue: Catalogue

    async def status(self) -> Json:
        """Return the state of the run and of the warehouse."""
        live, status = self._seen()
        warehouse = {name: value for name, value in status.items() if name != "running"}
        run = {name: value for name, value in live.items() if name not in ("latenciesMs", "latencySumMs")}
        return {"run": run | {"latencyMs": self.run.latency()}, "warehouse": warehouse}

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

    async def devices(self) -> Json:
        """Return every device."""
        return {"devices": await self.catalogue.devices()}

    async def series(self, org: str, device: str) -> Json:
        """Return the series of a device."""
        return {"series": await self.catalogue.series(org, device)}

    async def draw(self, query: chart.ChartQuery) -> Json:
        """Return the lines of one series."""
        return await chart.draw(self.run, query)

    async def query(self, query: PageQuery) -> tuple[Answer, float]:
        """Return the answer to one SELECT, and the seconds that it took."""
        begun = time.monotonic()
        answer = await self.run.query(query)
        return answer, round(time.monotonic() - begun, 3)

    def _seen(self) -> tuple[Json, Json]:
        live, status = self.run.live, self.run.status
        if live is None or status is None:
            raise self.run.error or ApiError(
                503, "the page is still connecting to the run; try again in a second", f"{program()} status"
            )
        return live, status


def routes(api: Api) -> list[Route]:
    """Return the API's routes; every other path belongs to the page."""

    def get(path: str, answer: Callable[[Request], Awaitable[Json]]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _respond(lambda: _json(answer(request)))

        return Route(path, endpoint, methods=["GET"])

    async def post_query(request: Request) -> Response:
        return await _respond(lambda: _query(api, request))

    async def metrics(_: Request) -> Response:
        return Response(prometheus.render(api.run.live, api.run.status), media_type=prometheus.CONTENT_TYPE)

    async def unknown(request: Request) -> Response:
        return _error(ApiError(404, f"no such address: {request.method} {request.url.path}", "GET /api lists all"))

    return [
        get("/api", lambda _: _index()),
        get("/api/status", lambda _: api.status()),
        get("/api/history", lambda request: api.history(_number(request, "seconds", KEPT_S))),
        get("/api/reasons", lambda _: api.reasons()),
        get("/api/devices", lambda _: api.devices()),
        get("/api/series", lambda request: api.series(_text(request, "orgId"), _text(request, "deviceId"))),
        get("/api/chart", lambda request: api.draw(_chart_query(request))),
        Route("/api/query", post_query, methods=["POST"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/api/{rest:path}", unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
    ]


INDEX = {
    "GET /api/status": "the run and the warehouse now",
    "GET /api/history": "the last 15 minutes, a sample a second: seconds",
    "GET /api/reasons": "rejects and drops by reason, each with an example and what to do",
    "GET /api/devices": "every device",
    "GET /api/series": "the series of a device: orgId, deviceId",
    "GET /api/chart": "the lines of a series: orgId, deviceId, datasource, instance, metric, view, fromMs, toMs",
    "POST /api/query": "the answer to one SELECT: sql, limitRows, timeoutSeconds",
    "GET /metrics": "the same for Prometheus",
}


async def _index() -> Json:
    return INDEX


async def _json(answer: Awaitable[Json]) -> Response:
    return Response(msgspec.json.encode(await answer), media_type="application/json")


async def _respond(work: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await work()
    except ApiError as error:
        return _error(error)


def _error(error: ApiError) -> Response:
    return Response(msgspec.json.encode(error.json()), error.status, media_type="application/json")


async def _query(api: Api, request: Request) -> Response:
    try:
        query = msgspec.json.decode(await _body(request), type=PageQuery)
    except msgspec.MsgspecError as error:
        raise ApiError(
            400, f"a query is {{sql, limitRows, timeoutSeconds}}: {error}", 'POST {"sql": "select 1"}'
        ) from error
    answer, seconds = await api.query(query)
    if _CSV in request.headers.get("accept", ""):
        headers = {"X-Truncated": str(answer.truncated).lower()}
        return Response(csv(answer.table), media_type=_CSV, headers=headers)
    result = {
        "columns": [{"name": column.name, "type": str(column.type)} for column in answer.table.schema],
        "rows": table_rows(answer.table),
        "truncated": answer.truncated,
        "seconds": seconds,
    }
    return Response(msgspec.json.encode(result), media_type="application/json")


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(415, "a query must be JSON", 'send it with "Content-Type: application/json"')
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise ApiError(413, f"a query may have at most {_MAX_BODY:,} bytes", f"{program()} query - < query.sql")
    return body


def csv(table: pa.Table) -> bytes:
    """Return a table as CSV."""
    file = io.BytesIO()
    formats.write_to(table, "csv", file)
    return file.getvalue()


def table_rows(table: pa.Table) -> list[list[Any]]:
    """Return the rows as lists of JSON values, in the columns' order: two columns may have one name."""
    columns = [[formats.plain(value) for value in formats.values(column)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def _chart_query(request: Request) -> chart.ChartQuery:
    now = int(time.time() * 1000)
    to = _number(request, "toMs", now)
    view = request.query_params.get("view", "raw")
    if view not in chart.VIEWS:
        raise ApiError(400, f"view must be one of {', '.join(chart.VIEWS)}", "GET /api/series")
    return chart.ChartQuery(
        org=_text(request, "orgId"),
        device=_text(request, "deviceId"),
        datasource=_text(request, "datasource"),
        instance=request.query_params.get("instance"),
        metric=_text(request, "metric"),
        view=view,
        from_ms=_number(request, "fromMs", to - 3_600_000),
        to_ms=to,
        points=_number(request, "points", chart.POINTS),
    )


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if value is None:
        raise ApiError(400, f"{name} is missing", "GET /api lists the parameters")
    return value


def _number(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) <= 16):
        raise ApiError(400, f"{name} must be a whole number", "GET /api lists the parameters")
    return int(value)


def text(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(formats.plain(value)).decode()

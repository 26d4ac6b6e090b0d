"""The JSON API: what is documented is what is answered, and every fault says what to do."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from lmdp.page.api import INDEX
from page.sites import HOSTILE, NOW_MS, POLLS

if TYPE_CHECKING:
    from page.sites import Site

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EXAMPLES = {
    part.partition("\n")[0]: json.loads(part.partition("```json\n")[2].partition("```")[0])
    for part in DOCUMENT.split("\n## ")[1:]
    if "```json\n" in part
}
CHART = "orgId=acme&deviceId=7&datasource=Cpu&instance=Cpu-0&metric=CpuUsage"
ASKED = {
    "GET /api/status": "/api/status",
    "GET /api/history": "/api/history?seconds=60",
    "GET /api/reasons": "/api/reasons",
    "GET /api/tables": "/api/tables",
    "GET /api/rejects": "/api/rejects",
    "GET /api/messages": "/api/messages?partition=0&before=1",
    "GET /api/alerts": "/api/alerts",
    "GET /api/devices": "/api/devices",
    "GET /api/series": "/api/series?orgId=acme&deviceId=7",
    "GET /api/search": "/api/search?q=net+in",
    "GET /api/chart": f"/api/chart?{CHART}",
}
FREE = {
    "rejectsByCode",
    "rejectsByReason",
    "dropped",
    "lag",
    "partitions",
    "attributes",
    "resource",
    "scope",
}  # objects whose keys are data


def shape(value: Any) -> Any:
    """Names and kinds of what an answer holds; a number is a number, and null may stand for anything."""
    if isinstance(value, dict):
        return {name: {} if name in FREE else shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "text" if isinstance(value, str) else "yes or no" if isinstance(value, bool) else "number"


def same(documented: Any, real: Any) -> bool:
    """Whether two shapes agree, where null stood in one of them too."""
    if isinstance(documented, dict) and isinstance(real, dict):
        return documented.keys() == real.keys() and all(same(documented[name], real[name]) for name in documented)
    if isinstance(documented, list) and isinstance(real, list):
        return not documented or not real or same(documented[0], real[0])
    return documented == real or "number" in (documented, real)


def test_every_address_is_documented() -> None:
    """The index and the document name the same ones, and each has its example."""
    headings = re.findall(r"^## (\w+ /\S+)$", DOCUMENT, re.MULTILINE)
    assert set(headings) - {"GET /api"} == set(INDEX)
    assert EXAMPLES.keys() == set(INDEX) - {"GET /metrics"}


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_as_its_example(site: Site, name: str) -> None:
    """The same names and kinds, at every depth."""
    code, answer = site.get(ASKED[name])
    assert code == 200
    assert same(shape(EXAMPLES[name]), shape(answer)), (shape(EXAMPLES[name]), shape(answer))


def test_the_index_names_what_there_is(site: Site) -> None:
    """A program finds its way from /api."""
    assert site.get("/api") == (200, INDEX)


def test_a_question_is_answered_as_json_and_as_csv(site: Site) -> None:
    """The documented query, with the columns in their order, under names that may repeat."""
    query = {"sql": "select metric, count(*) as n, 1 as n from metrics group by 1 order by 2 desc limit 1"}
    code, answer = site.get("/api/query", query)
    assert code == 200
    assert [column["name"] for column in answer["columns"]] == ["METRIC", "n", "n"]
    assert answer["rows"] == [["InOctets", 4 * POLLS, 1]]
    assert same(shape(EXAMPLES["POST /api/query"]), shape(answer))
    _, text = site.get(
        "/api/query", {"sql": "select device_name, null as none from metrics where device_id = '9'"}, Accept="text/csv"
    )
    assert list(csv.reader(io.StringIO(text))) == [["DEVICE_NAME", "none"], [HOSTILE, ""]]


def test_a_large_answer_comes_in_pieces(site: Site) -> None:
    """The page passes on what the run writes, and holds none of it: a million rows take no memory."""
    page = next(one for one in psutil.Process(site.process.pid).children() if "lmdp.page" in one.cmdline())
    before = page.memory_info().rss
    query = {"sql": "select range as n, repeat('x', 100) as text from range(1000000)", "limitRows": 1_000_000}
    _, text = site.get("/api/query", query, Accept="text/csv")
    assert text.count("\n") == 1_000_001
    assert page.memory_info().rss - before < 30_000_000


def test_rows_beyond_the_limit_are_reported(site: Site) -> None:
    """A cut answer says so."""
    _, answer = site.get("/api/query", {"sql": "select * from metrics", "limitRows": 3})
    assert (len(answer["rows"]), answer["truncated"]) == (3, True)


@pytest.mark.parametrize(
    ("path", "body", "code", "error"),
    [
        ("/api/none", None, 404, "no such address: GET /api/none"),
        ("/api/series?orgId=acme", None, 400, "deviceId is missing"),
        ("/api/history?seconds=0", None, 400, "seconds must be a number from 1 to 900"),
        ("/api/history?seconds=x", None, 400, "seconds must be a whole number"),
        (f"/api/chart?{CHART}&view=pie", None, 400, "view must be one of raw, rate, percentile"),
        (f"/api/chart?{CHART}&points=1", None, 400, "points must be a number from 2 to 5000"),
        (f"/api/chart?{CHART}&fromMs=5&toMs=5", None, 400, "fromMs before toMs"),
        (f"/api/chart?{CHART}&fromMs=0&toMs=999999999999999", None, 400, "Unix milliseconds up to the year 9999"),
        (f"/api/chart?{CHART}&fromMs=0&toMs=253402300800000", None, 400, "Unix milliseconds up to the year 9999"),
        (f"/api/chart?{CHART}&over=most", None, 400, "over must be one of top, sum, avg, max"),
        ("/api/chart?datasource=Cpu&metric=CpuUsage", None, 400, "orgId is missing"),
        ("/api/chart?datasource=Cpu&metric=x&over=sum&view=percentile", None, 400, "percentiles are of one instance"),
        ("/api/search", None, 400, "q is missing"),
        ("/api/search?q=x&limit=0", None, 400, "limit must be a number from 1 to 200"),
        (f"/api/chart?{CHART}&toMs=-1", None, 400, "toMs must be a whole number"),
        ("/api/query", {"sql": "delete from rejects"}, 400, "SELECT statement"),
        ("/api/query", {"sql": "select 1; select 2"}, 400, "SELECT statement"),
        ("/api/query", {"sql": "select * from read_csv('/etc/passwd')"}, 400, "disabled"),
        ("/api/query", {"sql": "select * from nothing"}, 400, "nothing does not exist"),
        ("/api/query", {"sql": "select 1", "limitRows": 1_000_001}, 400, "limitRows"),
        ("/api/query", {"query": "select 1"}, 400, "a query is {sql, limitRows, timeoutSeconds}"),
        ("/api/query", [], 400, "a query is {sql, limitRows, timeoutSeconds}"),
        (
            "/api/query",
            {"sql": "select count(*) from range(99999999999) where range % 7 = 8", "timeoutSeconds": 0.2},
            422,
            "no answer within",
        ),
    ],
)  # fmt: skip
def test_an_error_has_its_text_and_the_next_step(site: Site, path: str, body: Any, code: int, error: str) -> None:
    """An error in words, and the next step, as JSON."""
    got, answer = site.get(path, body)
    assert got == code
    assert answer.keys() == {"error", "exitCode", "next"}
    assert answer["exitCode"] == (1 if code == 422 else 2)
    assert error in answer["error"]
    assert answer["next"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_another_site_is_no_question(site: Site, kind: str) -> None:
    """What a browser sends elsewhere without asking first is not read."""
    assert site.get("/api/query", {"sql": "select 1"}, Content_Type=kind)[0] == 415


def test_a_question_of_megabytes_is_not_read(site: Site) -> None:
    """The page holds no more of it than its limit."""
    assert site.get("/api/query", {"sql": "select 1 --" + "x" * 2_000_000})[0] == 413


def test_names_are_taken_as_text(site: Site) -> None:
    """A quote in a name ends no string."""
    name = urllib.request.quote(HOSTILE)  # type: ignore[attr-defined]
    where = f"orgId=acme&deviceId=9&datasource={name}&metric={name}&fromMs={NOW_MS - 1}&toMs={NOW_MS + 1}"
    _, answer = site.get(f"/api/chart?{where}")
    assert [line["points"] for line in answer["lines"]] == [[[NOW_MS, 1.0, 1.0, 1.0, 1]]]
    assert site.get("/api/series?orgId=acme&deviceId=%27%20or%201=1%20--")[1] == {"series": []}


def test_lines_are_thinned_with_their_extremes(site: Site) -> None:
    """Few points, and none of the highest and lowest values is lost."""
    _, whole = site.get(f"/api/chart?{CHART}")
    _, few = site.get(f"/api/chart?{CHART}&points=5")
    (line,) = few["lines"]
    assert len(line["points"]) < len(whole["lines"][0]["points"]) == POLLS
    assert sum(point[4] for point in line["points"]) == POLLS
    assert min(point[2] for point in line["points"]) == 50
    assert max(point[3] for point in line["points"]) == 50 + (POLLS - 1) / 4

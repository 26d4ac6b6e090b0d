"""What the page makes of the warehouse's answers: devices kept up to date, reasons explained, lines named, figures."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lmdp.page
from lmdp.core.pipeline import Message, TransformSettings
from lmdp.errors import DROP_REASONS, ApiError
from lmdp.machine.api.protocol import Query
from lmdp.machine.api.server import serving
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.page import chart, formats, reject_texts
from lmdp.page.answers import as_lines
from lmdp.page.chart import ChartQuery
from lmdp.page.devices import Catalogue
from lmdp.page.layout import TabFaults, state_text
from lmdp.page.run_client import RunClient
from lmdp.page.selection import Selection
from lmdp.page.series_chart import with_gaps
from lmdp.page.widgets import with_next_step
from lmdp.testing.pipeline import write as write_messages
from new_warehouse import open_warehouse
from page.sites import asked, message
from page.test_prometheus import LIVE, STATUS
from running import remove_older

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIFICATION = (Path(__file__).parents[2] / "src" / "lmdp" / "kafka_ingest_spec.md").read_text()
DAY_MS = 86_400_000
NOW_MS = int(datetime.now(UTC).timestamp() * 1000)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty one that is asked over its folder's socket."""
    with (
        open_warehouse(tmp_path / "warehouse.duckdb") as opened,
        serving(tmp_path, opened, dict),
    ):
        yield opened


def write(warehouse: Warehouse, offset: int, *values: bytes) -> None:
    """Commit these messages."""
    messages = [Message(value, "t", 0, offset + number) for number, value in enumerate(values)]
    write_messages(warehouse, messages, TransformSettings(org_id="acme"))


def gauge(device: str, at_ms: int = NOW_MS, *, name: str = "", attributes: dict[str, str] | None = None) -> bytes:
    """A datapoint of a device."""
    extra = [{"key": key, "value": {"stringValue": text}} for key, text in (attributes or {}).items()]
    point = {"timeUnixNano": str(at_ms * 1_000_000), "asDouble": 1, "attributes": extra}
    return message(device, "Cpu", [{"name": "Usage", "gauge": {"dataPoints": [point]}}], hostName=name)


def devices(catalogue: Catalogue) -> list[tuple[str, str | None, int, int]]:
    """Read on at once, whatever was read just before."""
    catalogue._read = -100.0

    async def read(run: RunClient) -> list[dict[str, Any]]:
        catalogue.run = run
        return await catalogue.devices()

    found = asked(catalogue.run.home, read)
    return [(one["deviceId"], one["deviceName"], one["rows"], one["newestMs"]) for one in found]


def test_devices_follow_what_is_written_and_removed(warehouse: Warehouse) -> None:
    """New rows are added to what is known; after whole days have left, everything is counted anew."""
    catalogue = Catalogue(RunClient(warehouse.path.parent))
    assert devices(catalogue) == []
    old = NOW_MS - 10 * DAY_MS
    write(warehouse, 0, gauge("7", old), gauge("8", name="b"))
    assert devices(catalogue) == [("7", None, 1, old), ("8", "b", 1, NOW_MS)]
    write(warehouse, 2, gauge("7", name="a"), gauge("8", old), gauge("9", name="c"))
    known = [("7", "a", 2, NOW_MS), ("8", "b", 2, NOW_MS), ("9", "c", 1, NOW_MS)]
    assert devices(catalogue) == known
    assert devices(catalogue) == known
    remove_older(warehouse, 5, datetime.now(UTC))
    assert devices(catalogue) == [("7", "a", 1, NOW_MS), ("8", "b", 1, NOW_MS), ("9", "c", 1, NOW_MS)]


def test_a_series_with_more_attributes_has_a_line_for_each(warehouse: Warehouse) -> None:
    """Lines are never averaged into one; their names are what differs. What is too many is counted."""
    write(warehouse, 0, *(gauge("7", attributes={"method": method, "same": "x"}) for method in ("GET", "PUT")))
    picked = ChartQuery("acme", "7", "Cpu", None, "Usage", "raw", NOW_MS - 1000, NOW_MS + 1000)
    answer = asked(warehouse.path.parent, lambda run: chart.draw(run, picked))
    assert sorted(line["name"] for line in answer["lines"]) == ["method=GET", "method=PUT"]
    write(warehouse, 2, *(gauge("8", attributes={"n": str(n)}) for n in range(20)))
    picked = ChartQuery("acme", "8", "Cpu", None, "Usage", "raw", NOW_MS - 1000, NOW_MS + 1000)
    answer = asked(warehouse.path.parent, lambda run: chart.draw(run, picked))
    assert (len(answer["lines"]), answer["linesLeftOut"]) == (chart.MAX_LINES, 20 - chart.MAX_LINES)


@pytest.mark.parametrize(
    ("values", "monotonic", "views"),
    [
        ([1, 2, 4, 8], True, ["rate", "raw"]),
        ([1, 2, 4, 8], None, ["rate", "raw"]),
        ([8, 2, 9, 1], None, ["raw", "rate"]),
        ([*range(30), 0, *range(30)], None, ["rate", "raw"]),
        ([1, 2, 4, 8], False, ["raw", "rate"]),
        ([5], None, ["raw", "rate"]),
    ],
)
def test_what_only_grows_is_drawn_as_a_rate(
    warehouse: Warehouse, values: list[int], monotonic: bool | None, views: list[str]
) -> None:
    """As the source states it; where it states nothing, as its points show, for which a reset is no fall."""
    marks = {} if monotonic is None else {"isMonotonic": monotonic, "aggregationTemporality": 2}
    points = [{"timeUnixNano": str((NOW_MS + at) * 1_000_000), "asDouble": value} for at, value in enumerate(values)]
    write(warehouse, 0, message("7", "Net", [{"name": "Octets", "sum": {"dataPoints": points} | marks}]))
    catalogue = Catalogue(RunClient(warehouse.path.parent))
    one = Selection("acme", "7", "Net", None, "Octets")

    async def read(run: RunClient) -> dict[str, Any]:
        catalogue.run = run
        return await catalogue.example(one)

    assert asked(warehouse.path.parent, read)["views"] == views


def test_nobody_at_home_is_told(tmp_path: Path) -> None:
    """While no run is there, the file is left alone, so that the next one can have it."""
    with pytest.raises(ApiError) as raised:
        asked(tmp_path, lambda run: run.query(Query("select 1")))
    assert (raised.value.status, raised.value.next) == (503, f"lmdp run --home {tmp_path}")


def test_every_code_and_reason_of_the_specification_is_explained() -> None:
    """A reject or drop that the pipeline knows is none that the page does not."""
    assert set(re.findall(r"`((?:Decode|Row)\.[A-Za-z]+)`", SPECIFICATION)) <= set(reject_texts.CODES)
    assert {*DROP_REASONS, "unknown"} == set(reject_texts.DROPS)


@pytest.mark.parametrize(
    ("raw", "excerpt", "size"),
    [
        (b"", "", 0),
        (b'{"a": 1}', '{"a": 1}', 8),
        ("h\u00e9llo".encode(), "h\u00e9llo", 6),
        (b"\x0a\x02\x08\x01", "0a 02 08 01", 4),
        (b"x" * 10_000, "x" * 2_000, 10_000),
        (b"\x00" * 10_000, " ".join(["00"] * 256), 10_000),
    ],
    ids=["empty", "JSON", "UTF-8", "bytes", "long text", "long bytes"],
)
def test_an_example_is_shown_as_text_where_it_is_text(
    warehouse: Warehouse, raw: bytes, excerpt: str, size: int
) -> None:
    """The start of the message, and how many bytes it has in all."""
    values = ("Row.Odd", "why", 1, datetime.now(UTC), datetime.now(UTC), base64.b64encode(raw).decode(), "t", 0, 5, 1)
    marks = ", ".join("?" * len(values))
    warehouse._connection.execute(f"INSERT INTO REJECTS VALUES ({marks}, NULL, 1, NULL)", values)
    (answer,) = asked(warehouse.path.parent, reject_texts.rejects)
    assert (answer["example"]["excerpt"], answer["example"]["bytes"]) == (excerpt, size)
    assert answer["command"] == f"lmdp replay warehouse --home {warehouse.path.parent} --dry-run"


def test_rejects_of_a_run_to_snowflake_are_counted_without_a_query(tmp_path: Path) -> None:
    """By reason, with the command that replays its files; no run answers here."""
    status = {
        "warehouse": "snowflake://a.example/DB.PUBLIC.PIPE",
        "rejectsByReason": {"Decode.Malformed": 3, "Row.BadTimestamp": 1},
        "snowflake": {"rejectsIn": "my rejects"},
    }
    found = asyncio.run(reject_texts.rejects(RunClient(tmp_path, status=status)))
    assert [(one["code"], one["rejects"], one["example"], one["command"]) for one in found] == [
        ("Decode.Malformed", 3, None, "lmdp replay 'my rejects' --to snowflake --dry-run"),
        ("Row.BadTimestamp", 1, None, "lmdp replay 'my rejects' --to snowflake --dry-run"),
    ]


@pytest.mark.parametrize(
    ("span_ms", "points", "width"),
    [(60_000, 400, 1_000), (3_600_000, 400, 10_000), (86_400_000, 400, 300_000), (30 * DAY_MS, 400, 7_200_000)],
)
def test_a_point_stands_for_a_round_time(span_ms: int, points: int, width: int) -> None:
    """About as many points as wanted, never more."""
    assert ChartQuery("o", "d", "s", None, "m", "raw", 0, span_ms, points).width_ms(None, None, None) == width
    assert span_ms / width <= points


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (formats.count(None), "\u2013"),
        (formats.count(1_234_567), "1,234,567"),
        (formats.rate(0), "0"),
        (formats.rate(0.42), "0.4"),
        (formats.rate(1234.5), "1,234"),
        (formats.together(formats.size(999)), "999 B"),
        (formats.together(formats.size(9_940)), "9.9 kB"),
        (formats.together(formats.size(9_960)), "10 kB"),
        (formats.together(formats.size(999_999)), "1.0 MB"),
        (formats.together(formats.size(352_071_680)), "352 MB"),
        (formats.together(formats.span(0.4456)), "446 ms"),
        (formats.together(formats.span(2.25)), "2.2 s"),
        (formats.together(formats.span(90)), "1.5 min"),
        (formats.together(formats.span(40 * 86_400)), "40 d"),
        (formats.together(formats.span(None)), "\u2013"),
        (formats.width(10_000), "10 s"),
        (formats.width(7_200_000), "2 h"),
        (formats.moment(1_795_450_445_000), "2026-11-23 16:14:05 UTC"),
    ],
)
def test_figures_are_written_for_people(written: str, wanted: str) -> None:
    """Separators, units, and no more digits than one reads."""
    assert written == wanted


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (state_text(None, is_troubled=True), "Not running"),
        (state_text({"uptimeSeconds": 10_800.4}, is_troubled=False), "Running for 3.0 h"),
        (state_text({"uptimeSeconds": 10_800.4}, is_troubled=True), "Running for 3.0 h, with trouble"),
        (with_next_step(ApiError(503, "no run answers", "lmdp run")), "no run answers. Next: lmdp run"),
        (with_next_step(ApiError(503, "It hangs. Look at it.", "lmdp run")), "It hangs. Look at it. Next: lmdp run"),
    ],
)
def test_states_and_errors_are_sentences(written: str, wanted: str) -> None:
    """The time is that of the run, not of its trouble; the next step follows one full stop."""
    assert written == wanted


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], []),
        ([("web-1", "Cpu-0", "Usage")], [""]),
        ([("web-1", "Cpu-0", "Usage"), ("web-2", "Cpu-0", "Usage")], ["web-1", "web-2"]),
        ([("a", "x", "m"), ("b", "x", "n")], ["a \u00b7 m", "b \u00b7 n"]),
        ([("a", "x", "m"), ("a", "x", "m")], ["(1)", "(2)"]),
    ],
)
def test_lines_are_named_by_what_tells_them_apart(lines: list[tuple[str, ...]], wanted: list[str]) -> None:
    """What they share is in no name."""
    assert chart.unique_labels([dict(zip(("", " ", "  "), line, strict=True)) for line in lines]) == wanted


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ([], []),
        ([[0, 1.0, 0, 2, 5], [10, 2.0, 0, 2, 5], [30, 3.0, 0, 2, 5]], [[0, 1.0], [10, 2.0], [30, 3.0]]),
        ([[0, 1.0], [26, 2.0], [36, 3.0]], [[0, 1.0], [13, None], [26, 2.0], [36, 3.0]]),
    ],
)
def test_a_line_ends_where_no_points_are(points: list[list[Any]], wanted: list[list[Any]]) -> None:
    """A single step that is missing is bridged; for longer the line has a gap."""
    assert with_gaps(points, 25) == wanted


ANSWERS: list[tuple[str, tuple[str, list[str], Any] | None]] = [
    (
        "select * from (values (timestamp '2026-01-01 00:00:01.5', 3), (timestamp '2026-01-01 00:00:01', 1)) t(a, n)",
        ("time", ["n"], [["2026-01-01T00:00:01Z", 1], ["2026-01-01T00:00:01.500000Z", 3]]),
    ),
    ("select 'b' as name, 2.5::double as n, 1 as m", ("category", ["n", "m"], [["b", 2.5]])),
    ("select 1 as x, 'a' as t, 3.5::decimal(9, 2) as y", ("value", ["y"], [[1, 3.5]])),
    ("select 'x' as a, null::integer as n", ("category", ["n"], [["x", None]])),
    ("select timestamp 'infinity' as at, 1 as n", None),
    ("select 'x' as a, 'y' as b", None),
    ("select 1 as n", None),
    ("select 'x' as a, 1 as n where false", None),
]


@pytest.mark.parametrize(("sql", "wanted"), ANSWERS, ids=[sql for sql, _ in ANSWERS])
def test_an_answer_becomes_lines_where_it_can(
    warehouse: Warehouse, sql: str, wanted: tuple[str, list[str], Any] | None
) -> None:
    """The first column is the axis, the numbers behind it are lines; times come in their order."""
    found = as_lines(asked(warehouse.path.parent, lambda run: run.query(Query(sql))))
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert (found[0], [name for name, _ in found[1]], found[1][0][1]) == wanted


def test_the_page_has_neither_duckdb_nor_arrow_nor_kafka() -> None:
    """What draws is a small process: only the run has the warehouse's libraries."""
    modules = ", ".join(f"lmdp.page.{path.stem}" for path in Path(lmdp.page.__file__).parent.glob("*.py"))
    heavy = ("duckdb", "pyarrow", "numpy", "confluent_kafka")
    code = f"import {modules}, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RATES = {"rowsPerSecond": 1.0, "messagesPerSecond": 1.0}


def test_the_status_is_read_on_after_an_odd_answer(tmp_path: Path) -> None:
    """An answer that is not as expected is the error that the page shows, until the next good one."""
    answer: dict[str, Any] = {}

    async def read(run: RunClient) -> list[str]:
        polling, found = asyncio.create_task(run.poll()), list[str]()
        for is_good in (False, True):
            answer.update({"live": LIVE | RATES, "status": STATUS} if is_good else {})
            while not polling.done() and (run.live is None if is_good else run.error is None):
                await asyncio.sleep(0.01)
            found.append(str(run.error or ""))
        polling.cancel()
        return found

    with serving(tmp_path, None, dict, snapshot=lambda: answer):
        assert asked(tmp_path, read) == ["the answer of the run is not as expected: KeyError: 'live'", ""]


def test_an_unexpected_error_of_a_tab_is_shown() -> None:
    """Until the same work succeeds; an error of the run has its banner, and nothing ends the refreshing."""

    async def ends(error: Exception | None) -> None:
        if error:
            raise error

    async def shown() -> list[str]:
        faults, found = TabFaults(), list[str]()
        for name, error in (
            ("open", KeyError("x")),
            ("tick", None),
            ("tick", ApiError(503, "no run", "")),
            ("open", None),
        ):
            await faults.guard(name, ends(error))
            found.append(str(faults))
        return found

    text = "This tab cannot be shown: KeyError: 'x'"
    assert asyncio.run(shown()) == [text, text, text, ""]

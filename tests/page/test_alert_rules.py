"""Alerts of a run: rules are read, checked against real rows, listed, exported, and posted to a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.errors import SettingsError
from lmdp.machine.api.server import serving
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.page.alert_rules import FILE, Rules, Target, Threshold, load
from lmdp.page.alerts import Alerts
from lmdp.page.devices import Catalogue
from lmdp.page.prometheus import render
from lmdp.page.run_client import RunClient
from lmdp.page.webhook import Poster, body
from lmdp.testing.pipeline import write
from new_warehouse import open_warehouse
from page.sites import NOW_MS, asked, message
from page.test_prometheus import LIVE, STATUS, samples

if TYPE_CHECKING:
    from browsing import Browser
    from page.sites import Site

DOCUMENT = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
MINUTE = 60_000
RULES = """
[[threshold]]
name = "busy"
metric = "Usage"
above = 90
for_minutes = 2
[[threshold]]
name = "slow"
metric = "Octets"
rate = true
below = 10
[[silence]]
name = "silent"
minutes = 5
forget_hours = 1
"""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("every_seconds = 1", ">= 5"),
        ("thresholds = []", "unknown field `thresholds`"),
        ('[[threshold]]\nname = "a"\nmetric = "m"', "'a' has neither `above` nor `below`"),
        ('[[silence]]\nname = "a"\nminutes = 0', "> 0"),
        ('[[silence]]\nname = "a"\nminutes = 1\n[[silence]]\nname = "a"\nminutes = 2', "two rules have the name 'a'"),
        ("[webhook]", "one of `url` and `url_file`"),
        ('[webhook]\nurl = "http://example.com/"', "outside of this machine it has to be https://"),
        ('[webhook]\nurl = "ftp://example.com/"', "not an https:// address"),
        ('[webhook]\nurl = "https://[HOST]/hook"', "not an https:// address"),
        ('[webhook]\nurl = "https://example.com:99999/"', "not an https:// address"),
        ('[webhook]\nurl_file = "a\\u0000b"', "cannot be read"),
        ('[[threshold]]\nname = "a"\nmetric = "m"\nabove = inf', "<= 1e+308"),
        pytest.param("every_seconds = " + "1" * 5_000, "alerts.toml", id="digits"),
        pytest.param("every_seconds = " + "[" * 5_000, "alerts.toml", id="nested"),
        ('[webhook]\nurl_file = "none"', "none cannot be read"),
        ('[webhook]\nurl = "https://example.com/"\ntoken_file = "empty"', "empty does not hold one line of text"),
        ('[webhook]\nurl_file = "open"', "open can be read or replaced by all users; run: chmod 600"),
        ("= 3", "alerts.toml"),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    """Wrong keys, limits, addresses and files are refused with the file's name."""
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "open").touch(0o644)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SettingsError, match=r"alerts\.toml") as refused:
        load(tmp_path / FILE)
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "value", "text"),
    [
        (Threshold("a", "m", above=20_000_000), 24_487_549.0, "m is 24,487,549, above 20,000,000"),
        (Threshold("a", "m", above=1, below=0.5), 0.25, "m is 0.25, below 0.5"),
        (Threshold("a", "m", below=0, rate=True), -1234.5, "m is -1,234 per second, below 0"),
    ],
)
def test_an_alert_says_what_is_beyond_which_limit(rule: Threshold, value: float, text: str) -> None:
    """Large numbers have separators and no exponent."""
    assert rule.describe(value) == text


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    """The example of the document is read, with its secrets from files next to it."""
    (tmp_path / FILE).write_text(DOCUMENT.partition("```toml\n")[2].partition("```")[0])
    for name, text in (("url", "https://hooks.example.com/T1"), ("token", "secret")):
        (tmp_path / f"webhook.{name}").write_text(f"{text}\n")
        (tmp_path / f"webhook.{name}").chmod(0o600)
    rules, target = load(tmp_path / FILE)
    assert [rule.name for rule in rules.silence] == ["device silent"]
    assert [rule.name for rule in rules.threshold] == ["volume almost full", "interface slow"]
    assert target == Target("https://hooks.example.com/T1", "secret")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """One with a gauge, a slow counter, and a device whose newest row is six minutes old."""
    with open_warehouse(tmp_path / "w.duckdb") as opened, serving(tmp_path, opened, dict):
        values = [
            *(gauge("7", at, 95) for at in (-2, -1, 0)),
            gauge("8", 0, 50),
            *(octets("7", at, at * 300) for at in (-2, -1, 0)),
            *(octets("8", at, at * 60_000) for at in (-2, -1, 0)),
            gauge("9", -6, 95),
            gauge("10", -90, 95),
        ]
        messages = [Message(value, "t", 0, offset) for offset, value in enumerate(values)]
        write(opened, messages, TransformSettings(org_id="acme"))
        yield opened


def gauge(device: str, minutes: int, value: float) -> bytes:
    """A datapoint so many minutes from now."""
    return _message(device, minutes, {"name": "Usage"}, "gauge", {"asDouble": value}, {})


def octets(device: str, minutes: int, value: int) -> bytes:
    """A counter's, which grows by so many in a minute."""
    return _message(device, minutes, {"name": "Octets"}, "sum", {"asInt": str(10**9 + value)}, {"isMonotonic": True})


def _message(device: str, minutes: int, metric: Any, kind: str, value: Any, data: Any) -> bytes:
    point = {"timeUnixNano": str((NOW_MS + minutes * MINUTE) * 1_000_000), **value}
    return message(device, "Cpu", [{**metric, kind: {"dataPoints": [point], **data}}], hostName=f"host-{device}")


def states(alerts: Alerts) -> list[tuple[str, str, str]]:
    """What is listed."""
    return [(one["rule"], one["state"], one["text"]) for one in alerts.json()["alerts"]]


def test_rules_hold_fire_and_end(warehouse: Warehouse) -> None:
    """A threshold waits for its minutes, a rate is per second, silence is of devices; what is over is dropped."""
    home = warehouse.path.parent
    (home / FILE).write_text(RULES)

    async def checked(run: RunClient) -> list[list[tuple[str, str, str]]]:
        alerts = Alerts(run, Catalogue(run))
        alerts.read()
        run.live = {"lag": {"0": 0}}
        found = []
        for minutes, lag, trouble in ((0, 0, ""), (1, 10_001, ""), (1, 0, "Kafka is away"), (2, 0, ""), (12, 0, "")):
            run.live = {"lag": {"0": lag}, "trouble": trouble}
            await alerts.check(NOW_MS + minutes * MINUTE)
            found.append(states(alerts))
        return found

    slow = ("slow", "firing", "host-7: Octets is 5 per second, below 10")
    silent = "no row for more than 5 min"
    first, behind, blocked, later, end = asked(home, checked)
    assert first == [
        ("silent", "firing", f"host-9: {silent}"),
        slow,
        ("busy", "pending", "host-7: Usage is 95, above 90"),
        ("busy", "pending", "host-9: Usage is 95, above 90"),
    ]
    assert behind == blocked == first
    assert later[:2] == [
        ("busy", "firing", "host-7: Usage is 95, above 90"),
        ("busy", "firing", "host-9: Usage is 95, above 90"),
    ]
    assert end == [("silent", "firing", f"host-{device}: {silent}") for device in ("9", "7", "8")]


def test_a_rule_that_cannot_be_checked_is_a_fault(warehouse: Warehouse) -> None:
    """A fault that names it; other rules are checked, its own alerts stay, and the fault ends with its cause."""
    busy = Threshold("busy", "Usage", above=90)
    wrong = Threshold("busy", "Usage", above=float("nan"))  # what a file cannot have: a query that DuckDB refuses
    slow = Threshold("slow", "Octets", rate=True, below=10)

    async def checked(run: RunClient) -> list[tuple[str, list[str], int | None]]:
        alerts, found = Alerts(run, Catalogue(run)), []
        for minute, (lag, rule) in enumerate([(0, busy), (0, wrong), (0, busy), (0, wrong), (10_001, wrong)]):
            alerts.rules, run.live = Rules(threshold=(rule, slow)), {"lag": {"0": lag}}
            fault = await alerts.check(NOW_MS + minute * MINUTE)
            found.append((fault[:6], [text[:6] for _, _, text in states(alerts)], alerts.checked_ms))
        return found

    firing = ["host-7", "host-9", "host-7"]
    assert asked(warehouse.path.parent, checked) == [
        ("", firing, NOW_MS),
        ("busy: ", firing, NOW_MS + MINUTE),
        ("", firing, NOW_MS + 2 * MINUTE),
        ("busy: ", firing, NOW_MS + 3 * MINUTE),
        ("", firing, NOW_MS + 3 * MINUTE),
    ]


def test_a_check_that_fails_is_a_fault_and_is_tried_again(warehouse: Warehouse) -> None:
    """Whatever it raises: the task that checks lives on."""
    home = warehouse.path.parent
    (home / FILE).write_text(RULES)

    async def checked(run: RunClient) -> list[str]:
        alerts, found = Alerts(run, Catalogue(run)), []
        for live in ({}, {"lag": {"0": 0}}):
            run.live, alerts._due = live, 0.0
            await alerts.look(NOW_MS)
            found.append(alerts.fault)
        assert states(alerts)
        return found

    assert asked(home, checked) == ["the check failed: KeyError: 'lag'", ""]


def test_a_rate_that_overflows_does_not_fire(warehouse: Warehouse) -> None:
    """DuckDB computes infinity, which no alert can have as its value."""
    point = {"name": "Huge"}, "sum"
    values = [_message("7", at, *point, {"asDouble": 1.8e305 * (at + 2)}, {"isMonotonic": True}) for at in (-2, -1)]
    write(warehouse, [Message(value, "huge", 0, at) for at, value in enumerate(values)], TransformSettings(org_id="a"))

    async def checked(run: RunClient) -> tuple[str, list[tuple[str, str, str]]]:
        rules = Rules(threshold=(Threshold("huge", "Huge", above=1, rate=True),))
        alerts = Alerts(run, Catalogue(run), rules)
        run.live = {"lag": {}}
        return await alerts.check(NOW_MS), states(alerts)

    assert asked(warehouse.path.parent, checked) == ("", [])


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """A fault ends the checks and is shown; a file that is gone turns alerts off."""
    alerts = Alerts(run := RunClient(tmp_path), Catalogue(run))
    alerts.read()
    assert alerts.json()["isConfigured"] is False
    for text, fault in (("x", "alerts.toml"), (RULES, "")):
        (tmp_path / FILE).write_text(text)
        alerts.read()
        assert fault in alerts.json()["fault"]
        assert (alerts.rules is None) is bool(fault)
    (tmp_path / FILE).unlink()
    alerts.read()
    assert (alerts.rules, alerts.json()["isConfigured"]) == (None, False)
    asyncio.run(run._connections.close())


def test_a_file_that_replaces_it_is_read(tmp_path: Path) -> None:
    """Another file in its place is read, also where it has the same size and time."""
    alerts = Alerts(run := RunClient(tmp_path), Catalogue(run))
    (file := tmp_path / FILE).write_text(RULES)
    alerts.read()
    at = file.stat()
    (other := tmp_path / "other").write_bytes(b"x" * at.st_size)
    os.utime(other, ns=(at.st_atime_ns, at.st_mtime_ns))
    other.replace(file)
    alerts.read()
    assert "alerts.toml" in alerts.fault
    asyncio.run(run._connections.close())


def change(number: int = 0, state: str = "firing") -> dict[str, Any]:
    """An alert that has begun to fire, or is over."""
    ends = {"endsMs": NOW_MS} if state == "resolved" else {}
    return {"rule": "r", "state": state, "sinceMs": 0, "value": 1.5, "text": f"t{number}", "labels": {"a": "b"}, **ends}


@contextmanager
def endpoint(*statuses: int) -> Iterator[tuple[str, list[tuple[str | None, Any]]]]:
    """An HTTP server that answers with these, one after the other; its address, and what it was sent."""
    left, seen = list(statuses), list[tuple[str | None, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Authorization"], json.loads(content)))
            self.send_response(left.pop(0))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("statuses", "posts", "result"),
    [
        ((200,), 1, (1, 0, "")),
        ((503, 429, 204), 3, (1, 0, "")),
        ((500, 500, 500), 3, (0, 1, "status 500")),
        ((400,), 1, (0, 1, "status 400")),
        ((302,), 1, (0, 1, "status 302")),
    ],
)
def test_a_post_is_repeated_where_that_can_help(
    statuses: tuple[int, ...], posts: int, result: tuple[int, int, str]
) -> None:
    """Server errors and *too many requests* are tried again, in bounds; a refusal and a redirect are not."""
    with endpoint(*statuses) as (url, seen):
        poster = Poster(pauses_s=(0.0, 0.0))
        poster.add(Target(url, "secret"), [change(), change(1, "resolved")], NOW_MS)
        asyncio.run(posted(poster))
    assert len(seen) == posts
    assert {token for token, _ in seen} == {"Bearer secret"}
    sent = seen[0][1]
    assert (sent["status"], sent["text"], sent["truncatedAlerts"]) == ("firing", "firing: t0\nresolved: t1", 0)
    assert [one["status"] for one in sent["alerts"]] == ["firing", "resolved"]
    assert sent["alerts"][0]["labels"] == {"alertname": "r", "a": "b"}
    assert (poster.delivered, poster.failed, poster.error) == result


async def posted(poster: Poster, posts: int = 1) -> None:
    """Post until so many have an end."""
    posting = asyncio.create_task(poster.post_all())
    while poster.delivered + poster.failed < posts and not posting.done():
        await asyncio.sleep(0.01)
    posting.cancel()


def test_nobody_at_the_address_is_a_failed_post() -> None:
    """The error is named without the address, which may be a secret."""
    with endpoint() as (url, _):
        pass
    poster = Poster(pauses_s=(0.0,))
    poster.add(Target(url, None), [change()], NOW_MS)
    asyncio.run(posted(poster))
    assert poster.json() == {"delivered": 0, "failed": 1, "waiting": 0, "error": "ConnectError"}


def test_a_post_that_fails_oddly_is_not_the_last() -> None:
    """What no library documents is a failed post, too, and the next one is delivered."""
    with endpoint(200) as (url, _):
        poster = Poster(pauses_s=())
        for address in ("http://127.0.0.1:99999/", url):
            poster.add(Target(address, None), [change()], NOW_MS)
        asyncio.run(posted(poster, 2))
    assert poster.json() == {"delivered": 1, "failed": 1, "waiting": 0, "error": ""}


def test_posts_are_bounded() -> None:
    """A post has 100 alerts, a queue 100 posts; the oldest one is dropped."""
    sent = json.loads(body([change(number) for number in range(150)], NOW_MS))
    assert (len(sent["alerts"]), sent["truncatedAlerts"], sent["text"].splitlines()[-1]) == (100, 50, "and 50 more")
    poster = Poster()
    for number in range(101):
        poster.add(Target("https://example.com/", None), [change(number)], NOW_MS)
    assert (poster.json()["waiting"], poster.failed) == (100, 1)


def test_metrics_of_alerts_are_there_with_a_file_alone() -> None:
    """Each rule has its gauge, also at 0; without rules nothing is exported."""
    run = RunClient(Path("none"))
    alerts = Alerts(run, Catalogue(run), rules=Rules())
    assert "lmdp_alerts_firing" not in render(LIVE, STATUS, alerts.json())
    found = alerts.json() | {
        "isConfigured": True,
        "rules": [{"name": "busy", "kind": "threshold", "firing": 2}],
        "webhook": {"delivered": 3, "failed": 1},
    }
    exported = samples(render(LIVE, STATUS, found))
    assert exported['lmdp_alerts_firing{rule="busy"}'] == 2
    assert exported["lmdp_alert_rules_wrong"] == 0
    assert exported['lmdp_alert_posts_total{result="failed"}'] == 1
    asyncio.run(run._connections.close())


def test_what_fires_is_on_the_page(browser: Browser, site: Site) -> None:
    """A rule that is written while the page is open fires there, is posted, and leaves with its file."""
    with endpoint(200) as (url, seen):
        rule = '[[threshold]]\nname = "busy"\nmetric = "CpuUsage"\nabove = 60\nwindow_minutes = 1440\n'
        browser.open("/")
        assert not browser.one("alerts").is_displayed()
        (site.home / FILE).write_text(f'{rule}[webhook]\nurl = "{url}"')
        try:
            browser.until(lambda: "web-1 Cpu-0: CpuUsage is 64.75, above 60" in browser.text("alert-firing"))
            browser.until(lambda: "1 delivered" in browser.text("alerts"))
            assert site.get("/api/alerts")[1]["rules"] == [{"name": "busy", "kind": "threshold", "firing": 1}]
            assert 'lmdp_alerts_firing{rule="busy"} 1.0' in site.get("/metrics")[1]
        finally:
            (site.home / FILE).unlink()
        browser.until(lambda: not browser.one("alerts").is_displayed())
    assert [sent["text"] for _, sent in seen] == ["firing: web-1 Cpu-0: CpuUsage is 64.75, above 60"]

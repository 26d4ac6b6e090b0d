"""Explore and the board in a browser, over a real run: what is found is drawn, and what is drawn is what SQL gives."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys

from page.sites import POLLS, STEP_MS, Site
from running import rows

if TYPE_CHECKING:
    from pathlib import Path

    from browsing import Browser

STEP = f"cast(floor(ts_unix_ms / {STEP_MS}) * {STEP_MS} as bigint)"
CPU = "CpuUsage web-1 \u00b7 Cpu \u00b7 Cpu-0"
KEPT = """
window.kept = [];
const make = URL.createObjectURL;
URL.createObjectURL = blob => { blob.text().then(text => kept.push(text)); return make.call(URL, blob) };
Object.defineProperty(navigator, 'clipboard', {value: {writeText: text => kept.push(text)}, configurable: true});
HTMLAnchorElement.prototype.click = function () { kept.push(this.href) };
"""


def drawn(browser: Browser) -> dict[str, list[list[Any]]]:
    """The points of each line, without the breaks."""
    return {name: [one for one in points if one[1] is not None] for name, points in browser.points("chart").items()}


def values(home: Path, sql: str) -> list[tuple[int, float]]:
    """Times and values that SQL gives."""
    return [tuple(row.values()) for row in rows(home, sql)]


def option(browser: Browser, path: str) -> Any:
    """A part of what the chart was told to draw."""
    chart = "getElement(+document.querySelector('[data-testid=chart]').id.slice(1)).chart"
    return browser.js(f"return {chart}.getOption(){path}")


@pytest.mark.parametrize(
    ("text", "match", "view", "line", "sql"),
    [
        ("cpuusage web", CPU, "", "CpuUsage",
         f"select {STEP}, value from metrics where metric = 'CpuUsage' order by 1"),
        ("7 tick", "Ticks", "Rate", "Ticks per second",
         f"select {STEP}, rate from metric_rates where metric = 'Ticks' order by 1"),
        ("7 tick", "Ticks", "Raw", "Ticks", f"select {STEP}, value from metrics where metric = 'Ticks' order by 1"),
        ("durationbucket", "duration.bucket", "Percentile", "p95",
         f"select {STEP}, p95 from histogram_quantiles where metric = 'duration' order by 1"),
        ("inoctets", "InOctets every device", "Rate", "switch-2 \u00b7 eth1",
         f"select {STEP}, rate from metric_rates where device_id = '22' and instance = 'eth1' order by 1"),
    ],
)  # fmt: skip
def test_what_is_found_is_drawn_as_sql_gives_it(
    browser: Browser, site: Site, text: str, match: str, view: str, line: str, sql: str
) -> None:
    """By name, id, and with letters left out; a counter as a rate by default. The SQL that is shown gives the same."""
    browser.open("/explore")
    browser.find(text, match)
    browser.until(lambda: match.partition(" ")[0].removesuffix(".bucket") in browser.text("chips"))
    if view == "Raw":
        browser.click("[data-testid=view] .q-btn", view)
    elif view:
        browser.until(lambda: [one.text for one in browser.all("[data-testid=view] .bg-primary")] == [view])
    wanted = values(site.home, sql)
    assert len(wanted) >= 10
    browser.until(lambda: len(drawn(browser).get(line, [])) == len(wanted))
    assert [tuple(point) for point in drawn(browser)[line]] == pytest.approx(wanted)
    shown = browser.text("sql").split("Copy")[0]
    found = {(row["AT_MS"], row.get("VALUE", row.get("P95"))) for row in rows(site.home, shown)}
    assert found >= set(wanted)


def test_a_search_without_a_match_says_so(browser: Browser) -> None:
    """And changes nothing that is drawn; Escape closes it, Enter draws the first match."""
    browser.open("/explore")
    browser.until(lambda: drawn(browser))
    before = list(drawn(browser))
    browser.write("search", "zzzz")
    browser.until(lambda: "No match for \u201czzzz\u201d." in browser.text("results"))
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    browser.until(lambda: not browser.one("results").is_displayed())
    assert list(drawn(browser)) == before
    browser.write("search", "duration count")
    browser.until(lambda: browser.one("results").get_attribute("data-text") == "duration count")
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    browser.until(lambda: "duration.count" in browser.text("chips"))


def test_several_series_share_a_chart_and_its_address(browser: Browser) -> None:
    """What is added is drawn next to what is there; reload and Back show the same again, and a chip removes it."""
    both = ["web-1 \u00b7 Cpu-0 \u00b7 CpuUsage", "shop-1 \u00b7 http.server \u00b7 duration.sum"]
    browser.open("/explore")
    browser.find("cpuusage web", CPU)
    browser.until(lambda: list(drawn(browser)) == ["CpuUsage"])
    browser.find("duration.sum", "duration.sum", adds=True)
    browser.until(lambda: list(drawn(browser)) == both)
    browser.until(lambda: "duration.sum" in browser.driver.current_url)
    browser.driver.refresh()
    browser.until(lambda: len(drawn(browser)) == 2)
    tip = (
        "const at = getElement(+document.querySelector('[data-testid=chart]').id.slice(1));"
        "at.chart.dispatchAction({type: 'showTip', seriesIndex: 0, dataIndex: 30});"
        "return at.$el.innerText"
    )
    browser.until(lambda: "CpuUsage" in browser.js(tip) and "duration.sum" in browser.js(tip))
    assert [line for line in browser.js(tip).split("\n")[1:] if line] == [both[1], "90", both[0], "57.5"]
    browser.driver.back()
    browser.until(lambda: list(drawn(browser)) == ["CpuUsage"])
    browser.driver.forward()
    browser.until(lambda: len(drawn(browser)) == 2)
    browser.all(".lm-chip .q-chip__icon--remove")[0].click()
    browser.until(lambda: list(drawn(browser)) == ["duration.sum"])


def test_many_series_become_one(browser: Browser, site: Site) -> None:
    """The sum over devices and instances is SQL's."""
    browser.open("/explore")
    browser.find("inoctets", "InOctets every device")
    browser.until(lambda: len(drawn(browser)) == 4)
    browser.until(lambda: browser.one("over").is_displayed())
    browser.one("over").click()
    browser.click(".q-menu .q-item", "Sum")
    width = 2 * STEP_MS
    wanted = values(
        site.home,
        f"select step, sum(rate) from (select cast(floor(ts_unix_ms / {width}) * {width} as bigint) as step, series, "
        "sum(rate * seconds) / sum(seconds) as rate from metric_rates where metric = 'InOctets' group by all) "
        "group by step order by step",
    )
    assert wanted[5][1] == 1 + 2 + 3 + 400
    browser.until(lambda: [tuple(one) for one in next(iter(drawn(browser).values()))] == pytest.approx(wanted))
    assert '"sum"' in unquote(browser.driver.current_url)


def test_a_drag_zooms_and_a_double_click_resets(browser: Browser) -> None:
    """The axis shows the range as chosen; the drag sets it, fields and address too; the wheel scrolls the page."""
    browser.open("/explore")
    browser.find("cpuusage web", CPU)
    browser.until(lambda: list(drawn(browser)) == ["CpuUsage"])
    span = option(browser, ".xAxis[0].max") - option(browser, ".xAxis[0].min")
    assert span == 3_600_000
    chart = browser.one("chart")
    browser.js("arguments[0].scrollIntoView({block: 'center'})", chart)
    (ActionChains(browser.driver).move_to_element_with_offset(chart, 100, 0).click_and_hold().move_by_offset(60, 0)
     .move_by_offset(60, 0).release().perform())  # fmt: skip
    browser.until(lambda: "range=2" in browser.driver.current_url)
    begin, end = parse_qs(urlsplit(browser.driver.current_url).query)["range"][0].split(",")
    browser.until(lambda: option(browser, ".xAxis[0].max") - option(browser, ".xAxis[0].min") < span / 2)
    assert begin < end
    ActionChains(browser.driver).double_click(chart).perform()
    browser.until(lambda: "range=1h" in browser.driver.current_url)
    browser.until(lambda: option(browser, ".xAxis[0].max") - option(browser, ".xAxis[0].min") == span)
    before = browser.js("return scrollY")
    ActionChains(browser.driver).scroll_from_origin(ScrollOrigin.from_element(chart), 0, 120).perform()
    browser.until(lambda: browser.js("return scrollY") != before)


def test_a_range_is_of_the_zone_that_is_shown(browser: Browser) -> None:
    """Hours from 0 to 23, in UTC or the browser's zone, which the page remembers; the range does not move."""
    browser.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    try:
        browser.open("/explore?range=2026-07-01T18:00:00Z,2026-07-01T20:30:00Z")
        field = "return document.querySelector('[data-testid=from] input, input[data-testid=from]').value"
        browser.until(lambda: browser.js(field) == "2026-07-01 18:00")
        browser.click("[data-testid=zone] .q-btn", "America/New_York")
        browser.until(lambda: browser.js(field) == "2026-07-01 14:00")
        assert option(browser, ".useUTC") is False
        browser.driver.refresh()
        browser.until(lambda: browser.js(field) == "2026-07-01 14:00")
        assert "range=2026-07-01T18:00:00Z,2026-07-01T20:30:00Z" in browser.driver.current_url
        browser.write("from", "2026-07-01 17:00\t")
        browser.until(lambda: "Start must be before end." in browser.text("explore-status"))
        browser.write("from", "2026-07-01 13:00\t")
        browser.until(lambda: "range=2026-07-01T17:00:00Z,2026-07-01T20:30:00Z" in browser.driver.current_url)
    finally:
        browser.js("localStorage.clear()")
        browser.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_a_chart_is_taken_along(browser: Browser, site: Site) -> None:
    """As CSV, picture and link, and into the SQL tab, with the same numbers, whatever SQL was there before a reload."""
    browser.open("/explore")
    browser.js("sessionStorage.setItem('lmdp-sql', 'select 1 as earlier')")
    browser.driver.refresh()
    browser.until(lambda: browser.text("state").startswith("Running"))
    browser.find("cpuusage web", CPU)
    browser.until(lambda: len(drawn(browser).get("CpuUsage", [])) == POLLS)
    browser.js(KEPT)

    def kept(start: str) -> str:
        return next((text for text in browser.js("return window.kept") if text.startswith(start)), "")

    browser.one("csv").click()
    browser.until(lambda: kept("time,"))
    table = list(csv.DictReader(io.StringIO(kept("time,"))))
    assert [[int(row["unix_ms"]), float(row["value"])] for row in table] == drawn(browser)["CpuUsage"]
    assert {row["series"] for row in table} == {"web-1 \u00b7 Cpu-0 \u00b7 CpuUsage"}
    browser.one("png").click()
    browser.until(lambda: kept("data:image/png;base64,"))
    browser.one("link").click()
    browser.until(lambda: kept(f"{site.base}/explore?range=20"))
    browser.one("open-sql").click()
    browser.until(lambda: browser.js("return location.pathname") == "/sql")
    browser.until(lambda: "AVG(VALUE) AS VALUE" in browser.text("sql-editor"))
    browser.one("sql-run").click()
    browser.until(lambda: browser.text("sql-status").startswith(f"{POLLS} rows"))
    browser.driver.back()
    browser.until(lambda: browser.js("return location.pathname") == "/explore")


def test_the_board_shows_what_sql_gives(browser: Browser, site: Site) -> None:
    """The board that ships, a chart that is saved to it, and a file that is wrong and corrected under its eyes."""
    browser.open("/board")
    browser.until(lambda: len(browser.all("[data-testid=panel]")) == 4 and browser.points("board-chart"))
    fleet = "[data-testid=panel]:first-child tbody tr:first-child td"
    browser.until(lambda: [cell.text for cell in browser.all(fleet)][:4] == ["Net", "2", "2", str(4 * POLLS)])
    written = rows(site.home, "select sum(rows) as n from loads")[0]["n"]
    assert sum(value for _, value in browser.points("board-chart")["ROWS"]) == written
    browser.one("tab-explore").click()
    browser.find("cpuusage web", CPU)
    browser.until(lambda: list(drawn(browser)) == ["CpuUsage"])
    browser.one("save").click()
    browser.write("ask", "The CPU")
    browser.one("ask-ok").click()
    browser.until(lambda: "Saved to the board." in browser.text("explore-status"))
    browser.one("tab-board").click()
    browser.until(lambda: "The CPU" in browser.text("board") and len(browser.all("[data-testid=board-chart]")) == 2)
    file = site.home / "board.toml"
    good = file.read_text()
    assert "/explore?range=1h&s=" in good
    file.write_text(good + "[[panel]]\ntitle = 'no content'\n")
    browser.until(lambda: "the panel 'no content' needs either sql or chart" in browser.text("board"))
    file.write_text(good.replace("The CPU", "CPU of web-1"))
    browser.until(lambda: "CPU of web-1" in browser.text("board"))
    browser.click("[data-testid=panel]:last-child .lm-copy:last-child", "Remove")
    browser.until(lambda: "CPU of web-1 was removed." in browser.text("board-removed"))
    browser.until(lambda: len(browser.all("[data-testid=panel]")) == 4)
    browser.one("board-undo").click()
    browser.until(lambda: len(browser.all("[data-testid=panel]")) == 5 and not browser.text("board-removed"))
    browser.click("[data-testid=panel]:last-child .lm-open", "Open")
    browser.until(lambda: browser.driver.current_url.startswith(f"{site.base}/explore?range=1h&s="))
    browser.until(lambda: list(drawn(browser)) == ["CpuUsage"])
    file.unlink()

"""The page in a browser, over a real run: what it shows is what the warehouse has, and everyone can use it."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from browsing import PHONE, WIDE, Browser
from lmdp.page.board import BoardFile, Panel
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import snowpipe_double
from page.sites import HOSTILE, POLLS, Site, message, site_in
from running import rows

if TYPE_CHECKING:
    from pathlib import Path

TITLES = {"/": "Pipeline", "/board": "Board", "/explore": "Explore", "/kafka": "Kafka", "/sql": "SQL"}
PAGES = list(TITLES)

# Every visible text whose contrast with what is behind it is below 4.5 (3 for large text), as WCAG 2 reckons it.
# https://www.w3.org/TR/WCAG22/#contrast-minimum
CONTRAST = """
const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const behind = element => {
  for (let one = element; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour[3] > 0.99) return colour;
  }
  return [255, 255, 255, 1];
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const said = [...element.childNodes].filter(node => node.nodeType === 3 && node.textContent.trim());
  if (!said.length || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
  if (element.closest('[disabled], .disabled, [aria-hidden=true], svg, script, style')) continue;
  const style = getComputedStyle(element);
  const text = light(parse(style.color)), ground = light(behind(element));
  const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${said[0].textContent.trim().slice(0, 40)}`);
}
return found;
"""

OUTSIDE = """
return [...document.querySelectorAll('main *')].filter(one =>
  one.getBoundingClientRect().right > innerWidth + 1 && one.checkVisibility()
  && !one.closest('.q-table__middle, .cm-editor, canvas, svg')).map(one => one.className)
"""


def number(text: str) -> int:
    """A number as the page writes it."""
    return int(text.replace(",", ""))


def test_the_numbers_are_the_warehouses(browser: Browser, site: Site) -> None:
    """Each station of the path shows what the warehouse and the run have."""
    (there,) = rows(
        site.home,
        "select (select count(*) from row_events) as rows, (select count(*) from rejects) as rejects, "
        "(select cast(sum(next_offset - first_offset) as bigint) from loads) as messages",
    )
    browser.open("/")
    browser.until(lambda: browser.text("duckdb-0") == f"{there['rows']:,}")
    assert number(browser.text("kafka-0")) == there["messages"]
    assert number(browser.text("rows-0")) == there["rows"]
    assert number(browser.text("rejects-0")) == there["rejects"] == 3
    assert number(browser.text("drops-0")) == 3
    assert browser.text("duckdb-2") == "0"
    assert browser.text("kafka-1") == "0"


def test_a_reject_appears_with_its_reason(one_browser: Browser, tmp_path: Path) -> None:
    """While the page is open: its code, what was wrong, the message itself, and the command; text stays text."""
    with site_in(tmp_path, None, "--broker", "memory", "--simulate", "0") as site:
        browser = one_browser.at(site.base, site.token)
        browser.open("/")
        browser.until(lambda: "No rejects." in browser.text("rejects"))
        point = {"timeUnixNano": "1", "asDouble": 1}
        site.publish(message("7", "Cpu", [{"name": HOSTILE, "gauge": {"dataPoints": [point]}}]))
        browser.until(lambda: "Row.MissingField" in browser.text("rejects"))
        answer = browser.text("rejects")
        assert "orgId: not in resource attributes" in answer
        assert "lmdp replay warehouse --org-id NAME" in answer
        browser.click(".lm-example .q-item", browser.all(".lm-example .q-item")[0].text)
        browser.until(lambda: HOSTILE.replace('"', '\\"') in browser.text("rejects"))
        assert browser.text("rejects-0") == "1"
        browser.open("/", size=PHONE)
        browser.until(lambda: browser.text("state").endswith(", with trouble"))
        assert browser.js("return document.documentElement.scrollWidth") == PHONE[0]


def test_a_run_to_snowflake_shows_drops_and_rejects(
    one_browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By reason, as this run counts them, with a command that replays its files; no query is made for them."""
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    monkeypatch.setenv("SNOWFLAKE_WRITER_KEY_FILE", "writer.p8")
    with snowpipe_double() as double:
        monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", double.url)
        words = ("--to", "snowflake", "--broker", "memory", "--simulate", "0", "--org-id", "acme")
        with site_in(tmp_path, None, *words) as site:
            site.publish(b"{", message("7", "Cpu", [{"name": "Idle", "gauge": {"dataPoints": [{"flags": 1}]}}]))
            browser = one_browser.at(site.base, site.token)
            browser.open("/")
            browser.until(lambda: "noRecordedValue" in browser.text("drops"))
            browser.until(lambda: "lmdp replay .lmdp/rejects --to snowflake --dry-run" in browser.text("rejects"))
            browser.one("tab-kafka").click()
            browser.until(lambda: browser.text("newest-rejects") == "Rejects are written to .lmdp/rejects.")
            (rejected,) = (one for one in browser.all(".lm-message.is-rejected"))
            rejected.click()
            browser.until(lambda: "lmdp replay .lmdp/rejects --to snowflake --dry-run" in browser.text("messages"))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_its_address(browser: Browser, path: str) -> None:
    """Opening, what the page does by itself, and a reload change neither the address nor the tab that is shown."""

    def shown() -> tuple[str, str]:
        active = browser.js("return document.querySelector('[role=tab][aria-selected=true]').textContent.trim()")
        return browser.driver.current_url.removeprefix(browser.base), active

    wanted = (path, TITLES[path])
    browser.open(path)
    for _ in range(2):
        browser.until(lambda: shown() == wanted)
        filled(browser, path)
        time.sleep(1.5)  # more than one of its ticks, and what follows the first drawing of the chart
        assert shown() == wanted
        browser.driver.refresh()
        browser.until(lambda: browser.text("state").startswith("Running"))


def test_a_tab_is_a_place_to_go_back_to(browser: Browser) -> None:
    """Each tab that the user chooses is an entry of the browser's history; the SQL is still there after a reload."""

    def path() -> str:
        return str(browser.js("return location.pathname"))

    browser.open("/")
    for tab, there in (("sql", "/sql"), ("explore", "/explore"), ("pipeline", "/")):
        browser.one(f"tab-{tab}").click()
        browser.until(partial(lambda wanted: path() == wanted, there))
    for there, sees in (("/explore", "chart"), ("/sql", "sql-run"), ("/", "duckdb-0")):
        browser.driver.back()
        browser.until(partial(lambda wanted: path() == wanted, there))
        browser.until(partial(lambda wanted: browser.one(wanted).is_displayed(), sees))
    browser.driver.forward()
    browser.until(lambda: browser.one("sql-run").is_displayed())
    editor = browser.one("sql-editor").find_element("css selector", ".cm-content")
    editor.click()
    editor.send_keys(Keys.CONTROL, "a")
    editor.send_keys("select 40 + 2 as answer")
    kept = "return sessionStorage.getItem('lmdp-sql')"
    browser.until(lambda: browser.js(kept) == "select 40 + 2 as answer")
    browser.driver.refresh()
    browser.until(lambda: "select 40 + 2 as answer" in browser.text("sql-editor"))
    assert path() == "/sql"
    browser.one("sql-run").click()
    browser.until(lambda: "42" in browser.text("sql-answer"))
    browser.js("sessionStorage.clear()")


def test_sql_is_answered_as_table_chart_and_csv(browser: Browser, site: Site) -> None:
    """One query, three forms. CSV and the board get the answer, also when the text has changed."""
    sql = "select ts as at, value from metrics where metric = 'CpuUsage' order by ts"
    browser.open("/sql")
    ask(browser, sql)
    browser.until(lambda: browser.text("sql-status").startswith(f"{POLLS} rows"))
    assert [head.text for head in browser.all(".lm-table th")][:2] == ["at", "VALUE"]
    assert [cell.text for cell in browser.all(".lm-table tbody tr:first-child td")][1] == "50"
    browser.click(".lm-answer .q-btn-toggle .q-btn", "Chart")
    browser.until(lambda: len(browser.points("sql-chart").get("VALUE", [])) == POLLS)
    assert [point[1] for point in browser.points("sql-chart")["VALUE"]] == [50 + poll / 4 for poll in range(POLLS)]
    browser.js(
        "const make = URL.createObjectURL; URL.createObjectURL = blob => { blob.text().then(t => window.got = t);"
        " return make.call(URL, blob) }"
    )
    types(browser, "select 'another' as text ")
    browser.until(lambda: "another" in browser.js("return sessionStorage.getItem('lmdp-sql')"))
    browser.one("sql-csv").click()
    browser.until(lambda: len((browser.js("return window.got") or "").splitlines()) == POLLS + 1)
    assert browser.js("return window.got").splitlines()[0] == '"at","VALUE"'
    browser.one("sql-board").click()
    browser.write("ask", "CPU")
    browser.one("ask-ok").click()
    browser.until(lambda: browser.text("sql-status") == "Saved to the board.")
    file = BoardFile(site.home / "board.toml")
    assert file.read().panel[-1] == Panel("CPU", sql, show="chart")
    file.path.unlink()
    ask(browser, "select range as n from range(100001)")
    browser.until(lambda: browser.text("sql-status").startswith("only the first 5,000 rows in "))
    browser.one("sql-csv").click()
    rest = "The CSV has the first 100,000 rows; for more, use lmdp query --format csv --output answer.csv."
    browser.until(lambda: browser.text("sql-status") == rest)


def test_sql_changes_nothing(browser: Browser, site: Site) -> None:
    """What is no SELECT is refused in words, and the rows are still there."""
    browser.open("/sql")
    ask(browser, "delete from row_events")
    browser.until(lambda: "SELECT statement" in browser.text("sql-status"))
    ask(browser, "select nonsense")
    browser.until(lambda: "nonsense" in browser.text("sql-status"))
    assert rows(site.home, "select count(*) as n from row_events")[0]["n"] > POLLS


def types(browser: Browser, text: str) -> None:
    """Replace what is in the editor."""
    editor = browser.all(".lm-editor .cm-content")[0]
    editor.click()
    editor.send_keys(Keys.CONTROL, "a")
    ActionChains(browser.driver).send_keys(text).perform()


def ask(browser: Browser, sql: str) -> None:
    """Write into the editor and press Ctrl+Enter."""
    types(browser, sql)
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()


def test_names_from_outside_stay_text(browser: Browser) -> None:
    """A device that is called like a script is shown under that name, and nothing runs."""
    browser.open("/explore")
    browser.find("img", f"{HOSTILE} {HOSTILE}")  # the first line is the device
    browser.until(lambda: list(browser.points("chart")) == [HOSTILE])
    browser.until(lambda: browser.text("explore-status").startswith("1 point, "))
    browser.until(lambda: HOSTILE.replace("'", "''") in browser.text("sql"))
    assert "hacked" not in browser.driver.title
    browser.open("/sql")
    ask(browser, "select device_name from metrics where device_id = '9'")
    browser.until(lambda: [cell.text for cell in browser.all(".lm-table tbody td")] == [HOSTILE])
    assert "hacked" not in browser.driver.title


def test_all_of_it_by_keyboard(browser: Browser) -> None:
    """Tabs by arrows, the editor by Escape and Tab, a query by Ctrl+Enter; what has the focus is marked."""
    browser.open("/")
    browser.until(lambda: browser.text("duckdb-0") not in ("", "\u2013"))
    press(browser, Keys.TAB, lambda: focused(browser) == "Pipeline")
    assert browser.js("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    press(browser, Keys.ARROW_RIGHT, lambda: focused(browser) == "SQL")
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    browser.until(lambda: browser.one("sql-run").is_displayed())
    press(browser, Keys.TAB, lambda: browser.js("return document.activeElement.classList.contains('cm-content')"))
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(
        "select 42 as answer"
    ).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    browser.until(lambda: [cell.text for cell in browser.all(".lm-table tbody td")] == ["42"])
    # The first Escape is for the list of completions, where one has opened.
    press(
        browser,
        Keys.ESCAPE + Keys.TAB,
        lambda: not browser.js("return document.activeElement.classList.contains('cm-content')"),
    )


def press(browser: Browser, key: str, done: object, times: int = 15) -> None:
    """Press a key until it is so."""
    assert callable(done)
    for _ in range(times):
        if done():
            return
        ActionChains(browser.driver).send_keys(key).perform()
        time.sleep(0.1)
    pytest.fail(f"not reached by {times} keys; the focus is on {focused(browser)!r}")


def focused(browser: Browser) -> str:
    """What has the focus says."""
    return str(browser.js("return document.activeElement.textContent"))


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, path: str) -> None:
    """At 375 pixels everything is within the width."""
    browser.open(path, size=PHONE)
    filled(browser, path)
    assert browser.js("return document.documentElement.scrollWidth") == PHONE[0]
    assert browser.js(OUTSIDE) == []


def test_a_phone_shows_long_names_within_its_width(browser: Browser) -> None:
    """A kept series is cut in its chip; the chart's title is not."""
    series = [["acme", "9", HOSTILE, None, HOSTILE, "raw"], ["acme", "8", "http.server", None, "duration.count", "raw"]]
    browser.open(f"/explore?s={quote(json.dumps(series))}", size=PHONE)
    browser.until(lambda: browser.all(".lm-chip"))
    assert browser.js("return document.documentElement.scrollWidth") == PHONE[0]
    assert browser.js(OUTSIDE) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_everything_is_readable(browser: Browser, path: str, *, dark: bool) -> None:
    """The page follows the system's theme, and in each every text has enough contrast."""
    browser.open(path, dark=dark)
    filled(browser, path)
    browser.until(lambda: browser.js("return document.body.classList.contains('body--dark')") is dark)
    time.sleep(0.3)  # colours change over a moment
    assert browser.js(CONTRAST) == []


def test_the_theme_is_chosen_and_kept(browser: Browser) -> None:
    """The button changes it, and the next visit remembers."""
    browser.open("/")
    browser.click("[data-testid=theme]", "Dark")
    browser.until(lambda: browser.js("return document.body.classList.contains('body--dark')"))
    browser.driver.refresh()
    browser.until(lambda: browser.text("theme") == "Light")
    assert browser.js("return document.body.classList.contains('body--dark')")
    browser.js("localStorage.clear()")


def test_nothing_jumps_while_numbers_change(browser: Browser) -> None:
    """What the browser calls layout shift stays far below what is called good (0.1)."""
    browser.open("/")
    browser.until(lambda: browser.text("duckdb-0") not in ("", "\u2013"))
    filled(browser, "/")
    time.sleep(3)
    shift = browser.driver.execute_async_script(
        "const done = arguments[0]; let sum = 0;"
        "new PerformanceObserver(list => { for (const one of list.getEntries()) sum += one.value; })"
        ".observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 500);"
    )
    assert shift < 0.05


def test_the_address_has_no_token_after_the_first_load(one_browser: Browser, browser: Browser, site: Site) -> None:
    """Neither the address nor the way back has it; a browser that has not opened it sees the refusal alone."""
    one_browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    one_browser.driver.get("about:blank")
    one_browser.driver.get(f"{site.base}/explore?range=6h&token={site.token}")
    browser.until(lambda: browser.text("state").startswith("Running"))
    seen = [browser.driver.current_url, browser.js("return document.referrer + document.cookie")]
    history = browser.driver.execute_cdp_cmd("Page.getNavigationHistory", {})["entries"]
    assert "/explore?range=6h" in seen[0]
    assert [entry for entry in (*seen, *(one["url"] for one in history[-2:])) if site.token in entry] == []
    (cookie,) = browser.driver.get_cookies()
    kept = {name: cookie[name] for name in ("name", "domain", "path", "httpOnly", "sameSite")}
    assert kept == {
        "name": f"lmdp-{site.port}",
        "domain": "127.0.0.1",
        "path": "/",
        "httpOnly": True,
        "sameSite": "Strict",
    }


def test_a_link_on_another_site_opens_the_page(browser: Browser, site: Site) -> None:
    """A browser that has the cookie shows the page, though it withholds the cookie from what the other site began."""
    elsewhere = f"data:text/html,<a href='{site.base}/sql'>go</a>"
    browser.driver.get(elsewhere)
    browser.all("a")[0].click()
    browser.until(lambda: browser.text("state").startswith("Running"))
    assert browser.driver.current_url == f"{site.base}/sql"
    browser.complaints()  # of the answer that sent it once more


def test_two_runs_share_a_browser(one_browser: Browser, browser: Browser, site: Site, tmp_path: Path) -> None:
    """Each page has its own cookie, though a browser sends it to every port."""
    with site_in(tmp_path) as other:
        assert other.token != site.token
        another = one_browser.at(other.base, other.token)
        for one in (another, browser, another, browser):
            one.open("/")
        assert len(one_browser.driver.get_cookies()) >= 2


def test_a_restart_is_survived(one_browser: Browser, tmp_path: Path) -> None:
    """While the run is away the page says so; when it is back, the tab shows what it did, untouched, and new rows."""
    shown = ("7 \u00b7 Cpu \u00b7 CpuUsage", "2026-07-01 18:00")
    there = '/explore?range=2026-07-01T18:00:00Z,2026-07-01T20:30:00Z&s=[["acme","7","Cpu",null,"CpuUsage"]]'
    with site_in(tmp_path) as site:
        browser = one_browser.at(site.base, site.token)
        browser.open("/sql", size=WIDE)
        browser.js("sessionStorage.setItem('lmdp-sql', 'select count(*) from metrics')")
        browser.open(there)
        browser.until(lambda: explored(browser) == shown)
        address = browser.driver.current_url
        site.process.kill()  # as a crash would
        site.process.wait()
        browser.until(lambda: browser.js("return getComputedStyle(document.querySelector('#popup')).opacity") == "1")
        says = "return getComputedStyle(document.querySelector('#popup'), '::before').content"
        assert "The run does not answer" in browser.js(says)
        browser.complaints()
        browser.js("window.before = true")
        with site_in(tmp_path, site.port) as again:
            again.publish(message("7", "Cpu", [{"name": "CpuUsage", "gauge": {"dataPoints": [{"asDouble": 1}]}}]))
            browser.until(lambda: not browser.js("return window.before") and explored(browser) == shown)
            assert browser.driver.current_url == address
            assert browser.text("state").startswith("Running")
            browser.one("tab-pipeline").click()
            browser.until(lambda: browser.text("duckdb-0") == "1")
            browser.one("tab-sql").click()
            browser.until(lambda: "select count(*) from metrics" in browser.text("sql-editor"))
            browser.js("sessionStorage.clear()")


def explored(browser: Browser) -> tuple[str, str]:
    """What Explore draws, and from when."""
    field = "return document.querySelector('[data-testid=from]')?.value ?? ''"
    return browser.text("chips").removesuffix("cancel"), browser.js(field)


def filled(browser: Browser, path: str) -> None:
    """Wait until the page has what it shows."""
    if path == "/":
        browser.until(lambda: "Decode.Malformed" in browser.text("rejects") and "nonFinite" in browser.text("drops"))
    elif path == "/explore":
        browser.until(lambda: "points" in browser.text("explore-status"))
    elif path == "/board":
        browser.until(lambda: browser.points("board-chart") and len(browser.all("[data-testid=panel] table")) >= 2)
    elif path == "/kafka":
        browser.until(lambda: "offsets" in browser.text("kafka-status") and "Decode" in browser.text("newest-rejects"))
    else:
        browser.one("sql-run").click()
        browser.until(lambda: browser.all(".lm-table tbody tr"))

"""The SQL tab: tables, completion, errors with their place, Cancel, history, saved queries, sorting; the cookbook."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from lmdp.errors import LmdpError
from lmdp.page import saved_queries
from lmdp.page.sql_tab import fault_place
from lmdp.sql.dictionary import recipes
from page.test_page import ask, types
from running import rows

if TYPE_CHECKING:
    from pathlib import Path

    from browsing import Browser
    from page.sites import Site


@pytest.mark.parametrize(
    ("sql", "error", "marked"),
    [
        ("select nope from t", "Binder Error: no nope\n\nLINE 1: select nope from t\n               ^", "nope"),
        ("select 1,\n  from t", "LINE 2:   from t\n          ^", "from"),
        (
            f"select {'a, ' * 40}nope, b from t",
            "LINE 1: ...a, a, a, nope, b from t\n                    ^",
            "nope",
        ),
        ("select (", "Parser Error: syntax error at end of input\n\nLINE 1: select (\n               ^", "("),
        ("select x.nope, nop from t", 'Referenced column "nope" not found in FROM clause!', "nope"),
        ("select * from nothing", "Catalog Error: Table with name nothing does not exist!", "nothing"),
        ("select 1", "no mark at all", None),
        ("select 1", "LINE 9: select\n        ^", None),
    ],
)
def test_the_place_of_an_error_is_found(sql: str, error: str, marked: str | None) -> None:
    """The word above DuckDB's mark, also in a line that DuckDB shortens."""
    found = fault_place(sql, error)
    assert (sql[slice(*found)] if found else None) == marked


def test_queries_are_saved_in_a_file_of_the_owner(tmp_path: Path) -> None:
    """By name, replaced and removed, within limits; a file that is no object of texts is not overwritten."""
    assert saved_queries.read(tmp_path) == {}
    assert saved_queries.save(tmp_path, " b ", "select 2") is None
    assert saved_queries.save(tmp_path, "a", "select 0") is None
    assert saved_queries.save(tmp_path, "a", "select 1") == "select 0"
    assert saved_queries.read(tmp_path) == {"a": "select 1", "b": "select 2"}
    assert saved_queries.remove(tmp_path, "b") == "select 2"
    assert saved_queries.remove(tmp_path, "b") is None
    assert saved_queries.read(tmp_path) == {"a": "select 1"}
    file = tmp_path / saved_queries.FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name, sql in (("", "select 1"), ("x" * 101, "select 1"), ("a", "x" * 100_001)):
        with pytest.raises(LmdpError, match="a name has"):
            saved_queries.save(tmp_path, name, sql)
    file.write_text("[]")
    with pytest.raises(LmdpError, match=r"queries\.json cannot be read"):
        saved_queries.save(tmp_path, "a", "select 1")
    assert file.read_text() == "[]"


def test_every_recipe_runs_on_the_page(site: Site) -> None:
    """The whole cookbook, on one machine, as it is."""
    for one in recipes():
        code, answer = site.get("/api/query", {"sql": one.sql})
        assert (one.title, code) == (one.title, 200), answer


def test_tables_have_their_meaning(site: Site) -> None:
    """Every table that is shown, and every column in it."""
    tables = site.get("/api/tables")[1]["tables"]
    assert tables[0]["name"] == "ROW_EVENTS"
    assert {"METRICS", "METRIC_LATEST", "PIPELINE_LAG", "REJECTS"} <= {one["name"] for one in tables}
    unexplained = [
        (one["name"], c["name"]) for one in tables for c in one["columns"] if not (one["about"] and c["about"])
    ]
    assert unexplained == []


def test_the_editor_knows_the_schema(browser: Browser) -> None:
    """Names are found and completed, an error is marked where it is, and the list of tables inserts names."""
    browser.open("/sql")
    browser.until(lambda: "METRIC_LATEST" in browser.text("sql-tables"))
    browser.one("sql-find").send_keys("METRIC_TREND")
    browser.until(lambda: "ROW_EVENTS" not in visible(browser, "sql-tables"))
    assert "Where each series is and where it goes" in visible(browser, "sql-tables")
    types(browser, "select device_n")
    browser.until(lambda: "device_name" in completions(browser))
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    ask(browser, "select nope from metrics ")
    browser.until(lambda: "nope" in browser.text("sql-status"))
    browser.until(lambda: [one.text for one in browser.all(".lm-wrong")] == ["nope"])
    browser.js("sessionStorage.clear()")


def completions(browser: Browser) -> str:
    """Ask for completions, and return what is offered."""
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys(" ").key_up(Keys.CONTROL).perform()
    return str(browser.js("return document.querySelector('.cm-tooltip-autocomplete')?.innerText"))


def visible(browser: Browser, test_id: str) -> str:
    """The text that is shown."""
    return str(browser.js(f"return document.querySelector('[data-testid={test_id}]').innerText"))


def test_a_query_is_cancelled(browser: Browser, site: Site) -> None:
    """Cancel ends it at once, also in the run, and the next query is answered."""
    browser.open("/sql")
    ask(browser, "select count(*) from range(99999999999) where range % 7 = 8")
    browser.until(lambda: browser.one("sql-cancel").is_enabled())
    browser.one("sql-cancel").click()
    browser.until(lambda: browser.text("sql-status") == "Cancelled.")
    ask(browser, "select 40 + 2 as answer")
    browser.until(lambda: [cell.text for cell in browser.all(".lm-table tbody td")] == ["42"])
    assert rows(site.home, "select 1 as n") == [{"n": 1}]
    browser.js("sessionStorage.clear()")


def test_numbers_are_sorted_as_numbers(browser: Browser) -> None:
    """A click on a column's name sorts its rows, NULL first; another click reverses them."""
    browser.open("/sql")
    ask(browser, "select * from (values (1000), (30), (null), (200000000)) t(n)")
    cells = ".lm-table tbody td"
    browser.until(lambda: len(browser.all(cells)) == 4)
    browser.all(".lm-table th")[0].click()
    browser.until(lambda: [cell.text for cell in browser.all(cells)] == ["", "30", "1,000", "200,000,000"])
    browser.all(".lm-table th")[0].click()
    browser.until(lambda: [cell.text for cell in browser.all(cells)] == ["200,000,000", "1,000", "30", ""])
    browser.js("sessionStorage.clear()")


def test_queries_are_found_again(browser: Browser, site: Site) -> None:
    """History has what ran in this browser; a saved one is in the home under its name, until it is removed.

    What is replaced or removed is reported, and Undo puts it back; so is a file that cannot be read.
    """
    browser.open("/sql")
    browser.js("localStorage.removeItem('lmdp-sql-history')")
    ask(browser, "select 1 as first ")
    browser.until(lambda: browser.text("sql-status").startswith("1 row in "))
    browser.one("sql-name").send_keys("my first")
    browser.one("sql-save").click()
    browser.until(lambda: browser.text("sql-status") == "Saved as my first.")
    assert saved_queries.read(site.home) == {"my first": "select 1 as first "}
    ask(browser, "select 2 as second ")
    browser.until(lambda: "second" in browser.text("sql-answer").lower())
    browser.one("sql-save").click()
    browser.until(lambda: browser.text("sql-status") == "Replaced my first.")
    assert saved_queries.read(site.home) == {"my first": "select 2 as second "}
    browser.one("sql-undo").click()
    browser.until(lambda: saved_queries.read(site.home) == {"my first": "select 1 as first "})
    browser.one("sql-history").click()
    browser.until(
        lambda: [one.text for one in browser.all(".lm-menu-entry")] == ["select 2 as second", "select 1 as first"]
    )
    browser.all(".lm-menu-entry")[1].click()
    browser.until(lambda: "select 1 as first" in browser.text("sql-editor"))
    browser.until(lambda: not browser.all(".lm-menu-entry"))
    browser.one("sql-saved").click()
    browser.until(lambda: [one.text for one in browser.all(".lm-menu-entry")] == ["my first"])
    remove = "document.querySelector('[aria-label=\"Remove my first\"]').click()"
    browser.js(remove)
    browser.until(lambda: browser.text("sql-status") == "my first was removed.")
    assert saved_queries.read(site.home) == {}
    browser.one("sql-undo").click()
    browser.until(lambda: browser.text("sql-status") == "Saved as my first.")
    browser.until(lambda: not browser.all(".lm-menu-entry"))
    browser.one("sql-saved").click()
    browser.until(lambda: [one.text for one in browser.all(".lm-menu-entry")] == ["my first"])
    (site.home / saved_queries.FILE).write_text("[]")
    browser.js(remove)
    browser.until(lambda: "queries.json cannot be read" in browser.text("sql-status"))
    (site.home / saved_queries.FILE).unlink()
    browser.js("sessionStorage.clear(); localStorage.removeItem('lmdp-sql-history')")

"""One run with its page, filled with what is known, for all tests that only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from browsing import Browser, browsing
from page.sites import Site, mishaps, polls, site_in
from running import until

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what looks at the one run in one worker."""
    for item in items:
        if {"site", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("page"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A run over the broker in memory; it has consumed all that is known."""
    with site_in(tmp_path_factory.mktemp("site")) as found:
        wanted = [*polls(), *mishaps()]
        found.publish(*wanted)
        until(lambda: found.get("/api/status")[1]["run"]["messages"] == len(wanted), 60)
        until(lambda: found.get("/api/status")[1]["warehouse"]["rejects"] == 3, 60)
        yield found


@pytest.fixture(scope="session")
def one_browser() -> Iterator[Browser]:
    """One Chromium for all."""
    with browsing() as found:
        yield found


@pytest.fixture
def browser(one_browser: Browser, site: Site) -> Iterator[Browser]:
    """A browser for the shared run; nothing that a test does may make the console complain."""
    found = one_browser.at(site.base, site.token)
    one_browser.driver.get("about:blank")  # the page of a run that has ended keeps calling for it
    found.complaints()
    yield found
    found.js("try { sessionStorage.clear() } catch {}")  # a text in the SQL tab is in its address
    assert found.complaints() == []

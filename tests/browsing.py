"""What the tests of the page share: a headless Chromium, and how to read what it shows."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

WIDE, PHONE = (1280, 1000), (375, 812)
PATIENCE_S = 60.0  # eight programs may share the cores
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
)


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser at one page of the run."""

    driver: webdriver.Chrome
    base: str = ""

    def at(self, base: str, token: str) -> Browser:
        """The same browser, for another run, with the cookie that its page gives for the token."""
        cookie = {"name": f"lmdp-{base.rpartition(':')[2]}", "value": token, "url": base, "httpOnly": True}
        self.driver.execute_cdp_cmd("Network.setCookie", cookie | {"sameSite": "Strict"})
        return Browser(self.driver, base)

    def open(self, path: str, *, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
        """Open a page of the run, as a browser of this size and theme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500},
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        self.driver.get(self.base + path)
        self.until(lambda: self.text("state").startswith("Running"))

    def all(self, css: str) -> list[WebElement]:
        """What the page has of this selector."""
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, css)
        return found

    def one(self, test_id: str) -> WebElement:
        """The element that goes by this name."""
        found: WebElement = self.driver.find_element(By.CSS_SELECTOR, f"[data-testid={test_id}]")
        return found

    def text(self, test_id: str) -> str:
        """What the element of this name says; nothing while there is none."""
        return str(self.js(f"return document.querySelector('[data-testid={test_id}]')?.textContent?.trim() ?? ''"))

    def js(self, script: str, *values: object) -> Any:
        """What JavaScript on the page returns."""
        return self.driver.execute_script(script, *values)

    def points(self, test_id: str) -> dict[str, list[list[Any]]]:
        """The points that a chart draws, by its lines' names."""
        script = (
            "const chart = getElement(+document.querySelector(`[data-testid=${arguments[0]}]`).id.slice(1))?.chart;"
            "return (chart?.getOption()?.series ?? []).map(line => [line.name, line.data])"
        )
        return {name: data or [] for name, data in self.js(script, test_id)}

    def write(self, test_id: str, text: str) -> None:
        """Replace the text of a field."""
        self.until(lambda: self.one(test_id).is_displayed())
        field = self.one(test_id)
        if field.tag_name != "input":
            field = field.find_element(By.CSS_SELECTOR, "input")
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def find(self, text: str, match: str, *, adds: bool = False) -> None:
        """Search in Explore, and draw the first match whose line begins so, alone or with what is drawn already."""
        self.write("search", text)
        self.until(lambda: self.one("results").get_attribute("data-text") == text)
        self.until(lambda: self._chosen(match, adds=adds))

    def _chosen(self, match: str, *, adds: bool) -> bool:
        found = [row for row in self.all(".lm-result") if row.text.replace("\n", " ").startswith(match)]
        if found:
            found[0].find_elements(By.CSS_SELECTOR, "button")[1 if adds else 0].click()
        return bool(found)

    def click(self, css: str, text: str) -> None:
        """Click what says so, once it is there: the page may draw it again between two looks."""
        self.until(lambda: self._clicked(css, text))

    def _clicked(self, css: str, text: str) -> bool:
        """Click the element if it is on the page, and say whether it was."""
        found = next((one for one in self.all(css) if one.text == text and one.is_displayed()), None)
        if found:
            found.click()
        return found is not None

    def until(self, true: Callable[[], object], seconds: float = PATIENCE_S) -> None:
        """Wait until it is true of the page, which may change under the hand that reads it."""
        ends, last = time.monotonic() + seconds, "not true"
        while time.monotonic() < ends:
            try:
                if true():
                    return
            except WebDriverException as error:
                last = str(error)
            time.sleep(0.1)
        pytest.fail(f"{last} within {seconds} s; the page says: {self.js('return document.body.innerText')[:2000]}")

    def complaints(self) -> list[str]:
        """Warnings and errors of the console since they were last asked for."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser beside the block. Without Chromium the test is skipped; in CI it fails."""
    programs = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if None in programs:
        why = "the page is tested in Chromium: apt-get install chromium chromium-driver"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING"})
    driver = webdriver.Chrome(options=options, service=Service(str(programs[1])))
    driver.set_script_timeout(PATIENCE_S)
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield Browser(driver)
    finally:
        driver.quit()

"""The pictures of the page in docs/images, from a real run with simulated devices: `make screenshots`.

With a folder (`tools/screenshots.py FOLDER`) it also puts every tab there, at three sizes, light and dark, to look at.
An hour of polls is put into the warehouse first, so that a chart has something to show; the run continues from there,
and is given a few messages that cannot become rows. Needs Chromium and its driver:
apt-get install chromium chromium-driver
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from selenium.webdriver.common.keys import Keys

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browsing import PHONE, Browser, browsing
from lmdp.core.pipeline import Message, TransformSettings
from lmdp.core.specification import load_spec
from lmdp.machine.simulation.collectors import Simulation
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.page.address import PATHS
from lmdp.testing.pipeline import write

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DEVICES = 20
STEP_S = 30
PAST_S = 3_600
LIVE_S = 100  # the small charts show a minute at least
TOPIC = "lm.metrics.otlp"
SIZE = (1280, 900)
LARGEST = 300_000
SQL = """SELECT DATASOURCE, METRIC, COUNT(DISTINCT DEVICE_ID) AS DEVICES, COUNT(*) AS ROWS, ROUND(AVG(VALUE), 1) AS MEAN
FROM METRICS
WHERE TS > CAST(NOW() AS TIMESTAMP) - INTERVAL '10 minutes' AND TYPE = 'gauge'
GROUP BY DATASOURCE, METRIC
ORDER BY ROWS DESC
LIMIT 8"""


def main() -> None:
    """Run the pipeline, open each part of its page, and save the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / ".lmdp"
        home.mkdir(mode=0o700)
        fill(home / "warehouse.duckdb")
        with running(Path(folder)) as (base, token), browsing() as browser:
            broker = get(base, token, "/api/status")["run"]["broker"]
            publish(broker)
            time.sleep(LIVE_S)
            publish(broker)
            take(browser.at(base, token))
            if len(sys.argv) > 1:
                take_all(browser.at(base, token), Path(sys.argv[1]))
    for image in sorted(IMAGES.glob("page-*.png")):
        print(f"{image.name}: {image.stat().st_size:,} bytes")
        assert image.stat().st_size < LARGEST


def fill(path: Path) -> None:
    """Write the polls of the last hour, as a run would have."""
    simulation, now_ms = Simulation(DEVICES, 20), int(time.time() * 1000)
    polls = (
        message
        for ago_s in range(PAST_S, 0, -STEP_S)
        for message in simulation.polls(now_ms - ago_s * 1000, STEP_S * 1000)
    )
    messages = [Message(one.value, TOPIC, 0, offset, key=one.key) for offset, one in enumerate(polls)]
    with Warehouse.open(path, load_spec()) as warehouse:
        write(warehouse, messages, TransformSettings(org_id="demo"))


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `lmdp run` during the block; yield the address of its page, and the token."""
    words = ["run", "--broker", "memory", "--simulate", str(DEVICES), "--interval", "5", "--page"]
    command = [sys.executable, "-c", "from lmdp.cli.main import main; main()", *words]
    # As after `. .venv/bin/activate`: so the page names the program `lmdp`, without a path of this machine.
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stderr is not None
            said = []
            for line in run.stderr:
                said.append(line)
                if found := re.search(r"the page is at (\S+)", line):
                    break
            else:
                raise SystemExit(f"the run printed no address of a page:\n{''.join(said[-20:])}")
            base, token = found[1], (folder / ".lmdp" / "page.token").read_text().strip()
            while "run" not in get(base, token, "/api/status"):
                time.sleep(0.5)
            yield base, token
        finally:
            run.terminate()


def get(base: str, token: str, path: str) -> Any:
    """Return the API's answer; an empty object while it does not respond."""
    request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except OSError:
        return {}


def publish(broker: str) -> None:
    """Publish what cannot become rows."""
    producer = Producer({"bootstrap.servers": broker})
    point = {"timeUnixNano": str(time.time_ns()), "asDouble": 41.5}
    metrics = [{"name": "queue.depth", "gauge": {"dataPoints": [point]}}]
    nameless = {"resourceMetrics": [{"scopeMetrics": [{"scope": {"name": "shop.checkout"}, "metrics": metrics}]}]}
    for value in (
        b'{"resourceLogs": [{"resource": {}}]}',
        json.dumps(nameless).encode(),
        json.dumps(nameless).encode(),
    ):
        producer.produce(TOPIC, value, key=b"checkout-1")
    assert producer.flush(30) == 0


def take(browser: Browser) -> None:
    """Each part of the page, and the first one as a phone has it."""
    browser.open("/", size=SIZE)
    browser.until(lambda: "Row.MissingField" in browser.text("rejects") and "noRecordedValue" in browser.text("drops"))
    keep(browser, "pipeline")
    source = ["Cisco_CPU_Usage", "Cisco_CPU_Usage-CPU of Module 0", "cpmCPUTotal1min", "raw"]
    switches = [["demo", str(1_017_594 + number), *source] for number in (2, 8, 14)]
    browser.open(f"/explore?range=1h&s={urllib.parse.quote(json.dumps(switches))}", size=SIZE)
    browser.until(lambda: len(browser.points("chart")) == len(switches))
    keep(browser, "explore")
    browser.open("/board", size=SIZE)
    browser.until(lambda: browser.points("board-chart") and len(browser.all("[data-testid=panel] table")) >= 2)
    keep(browser, "board")
    browser.open("/sql", size=SIZE)
    editor = browser.all(".lm-editor .cm-content")[0]
    editor.click()
    editor.send_keys(Keys.CONTROL, "a")
    # As pasted: typing would have each line indented by the editor.
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": SQL})
    browser.one("sql-run").click()
    browser.until(lambda: browser.all(".lm-table tbody tr"))
    keep(browser, "sql")
    browser.open("/", size=PHONE)
    browser.until(lambda: "Row.MissingField" in browser.text("rejects"))
    keep(browser, "phone")


def take_all(browser: Browser, folder: Path) -> None:
    """Every tab at every size, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for tab, path in PATHS.items():
        for size in (PHONE, SIZE, (1920, 1080)):
            for dark in (False, True):
                browser.open(path, size=size, dark=dark)
                keep(browser, f"{tab}-{size[0]}-{'dark' if dark else 'light'}", folder)


def keep(browser: Browser, name: str, folder: Path = IMAGES) -> None:
    """Keep what the browser shows."""
    browser.js("document.activeElement.blur()")
    time.sleep(3)  # until charts are drawn and colours no longer change
    browser.driver.save_screenshot(str(folder / f"page-{name}.png"))


if __name__ == "__main__":
    main()

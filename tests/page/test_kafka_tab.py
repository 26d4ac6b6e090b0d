"""The Kafka tab and its addresses: partitions, messages as they are, and what becomes of each datapoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.machine.kafka.browse import describe
from lmdp.machine.metrics import PartitionOffsets, Progress
from page.sites import message
from running import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browsing import Browser
    from page.sites import Site

SETTINGS = TransformSettings(org_id="acme")
AT = {"timeUnixNano": "1760000000000000000"}
GOOD = {**AT, "asDouble": 1}
MIXED = message(
    "7",
    "Cpu",
    [
        {"name": "a", "gauge": {"dataPoints": [GOOD, {**AT, "flags": 1}]}},
        {"name": "b", "gauge": {"dataPoints": [{"asDouble": 1}, {**AT, "asDouble": "NaN"}]}},
    ],
)


def results(found: dict[str, Any]) -> list[tuple[str, int, str | None, list[str]]]:
    """Each datapoint's metric, rows, reject and drops."""
    return [
        (one["metric"], one["rowsTotal"], one["reject"] and one["reject"]["code"], list(one["dropped"]))
        for one in found["datapoints"]
    ]


def test_each_datapoint_has_its_result() -> None:
    """A row, a drop by rule, a reject, and a value that is no number: in the order of the message."""
    found = describe(Message(MIXED, "t", 2, 5, None, b"7"), SETTINGS)
    assert results(found) == [
        ("a", 1, None, []),
        ("a", 0, None, ["noRecordedValue"]),
        ("b", 0, "Row.BadTimestamp", []),
        ("b", 0, None, ["nonFinite"]),
    ]
    assert (found["partition"], found["offset"], found["key"]) == (2, 5, "7")
    assert (found["datapointsTotal"], found["rows"], found["reject"]["code"]) == (4, 1, "Row.BadTimestamp")
    assert found["text"].startswith('{\n  "resourceMetrics": [\n')


MANY = message("7", "Cpu", [{"name": "a", "gauge": {"dataPoints": [GOOD] * 1_000}}])


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        (b"", "", {"rows": 0, "dropped": {"empty": 1}, "reject": None, "isTooLarge": False}),
        (b'{"resourceLogs": []}', '{\n  "resourceLogs": []\n}', {"rows": 0, "datapointsTotal": 0}),
        (b"\xff\xfe\x00", "ff fe 00", {"rows": 0, "isTextCut": False}),
        (zstandard.compress(MIXED), '{\n  "resourceMetrics"', {"rows": 1, "datapointsTotal": 4}),
        (zstandard.compress(b" " * 5_000_000), "28 b5 2f fd", {"isTooLarge": True, "rows": None}),
        (b'{"a": "%s"}' % (b"x" * 2**20), '{\n  "a": "xxx', {"isTooLarge": True, "isTextCut": True, "rows": None}),
        (MANY, "{", {"rows": 1_000, "datapointsTotal": 1_000, "isTextCut": True}),
    ],
    ids=["tombstone", "logs", "bytes", "compressed", "bomb", "large", "many"],
)
def test_a_message_is_shown_within_limits(value: bytes, text: str, expected: dict[str, Any]) -> None:
    """As text where it is text, taken apart where that is cheap, and cut off with its full counts."""
    found = describe(Message(value, "t", 0, 0), SETTINGS)
    assert found["text"].startswith(text)
    assert len(found["text"]) <= 20_000
    assert len(found["datapoints"]) <= 200
    assert {name: found[name] for name in expected} == expected


def test_a_partition_has_its_rates() -> None:
    """From the first look to the last of those that are kept; none after a single look."""
    progress = Progress()
    assert progress.partitions() == {}
    progress.note_places({0: PartitionOffsets(0, 100, 50)})
    assert progress.partitions()["0"]["readPerSecond"] is None
    (at, _) = progress._places[0]
    progress._places.append((at + 10, {0: PartitionOffsets(5, 300, 250), 1: PartitionOffsets(0, 7, 7)}))
    assert progress.partitions() == {
        "0": {"first": 5, "next": 250, "end": 300, "lag": 50, "writtenPerSecond": 20.0, "readPerSecond": 20.0},
        "1": {"first": 0, "next": 7, "end": 7, "lag": 0, "writtenPerSecond": 0.0, "readPerSecond": 0.0},
    }


def ends(site: Site) -> dict[str, dict[str, int]]:
    """The partitions, as of the last look at the topic."""
    partitions: dict[str, dict[str, int]] = site.get("/api/status")[1]["run"]["partitions"]
    return partitions


def every_message(site: Site) -> Iterator[dict[str, Any]]:
    """Every message of the topic, page by page."""
    for name, place in ends(site).items():
        before = place["end"]
        while before > place["first"]:
            code, page = site.get(f"/api/messages?partition={name}&before={before}&limit=50")
            assert code == 200, page
            yield from page["messages"]
            before = page["messages"][-1]["offset"]


def test_messages_add_up_to_the_runs_counts(site: Site) -> None:
    """What is shown of each message is what the run made of all of them; a reject has its remedy."""
    run = site.get("/api/status")[1]["run"]
    until(lambda: sum(one["end"] for one in ends(site).values()) == run["messages"])
    found = list(every_message(site))
    assert len(found) == len({(one["partition"], one["offset"]) for one in found}) == run["messages"]
    assert sum(one["rows"] for one in found) == run["rows"]
    assert sum(one["datapointsTotal"] for one in found) == run["datapoints"]
    assert sum(len(point["rows"]) for one in found for point in one["datapoints"]) == run["rows"]
    dropped = [reason for one in found for reason in one["dropped"]]
    assert sorted(dropped) == sorted(run["dropped"])
    rejects = [one["reject"] for one in found if one["reject"]]
    assert {one["code"] for one in rejects} == set(run["rejectsByCode"])
    assert all("lmdp replay" in one["command"] for one in rejects)


@pytest.mark.parametrize(
    ("query", "code", "error"),
    [
        ("partition=x", 400, "partition must be a whole number"),
        ("partition=0&before=0", 200, None),
        ("partition=999", 503, "partition"),
    ],
)
def test_a_wrong_partition_is_refused(site: Site, query: str, code: int, error: str | None) -> None:
    """In words, with the status of its kind; nothing before the first offset is no fault."""
    found = site.get(f"/api/messages?{query}")
    assert found[0] == code
    assert error is None or error in found[1]["error"]


def test_the_tab_shows_partitions_messages_and_rejects(browser: Browser, site: Site) -> None:
    """Numbers are the API's; a message opens with its text and its results; a reject leads to its message."""
    rejected = next(one for one in every_message(site) if one["reject"] and one["datapoints"])
    browser.open("/kafka")
    places = ends(site)
    browser.until(lambda: len(browser.all("[data-testid=partitions] tbody tr")) == len(places))
    cells = [cell.text for cell in browser.all("[data-testid=partitions] tbody tr:first-child td")]
    assert cells[:5] == ["0", "0", *[f"{places['0'][name]:,}" for name in ("next", "end", "lag")]]
    browser.until(lambda: "offsets" in browser.text("kafka-status"))
    place = f"partition {rejected['partition']}, offset {rejected['offset']}"
    browser.until(lambda: place in browser.text("newest-rejects"))
    browser.js(f"document.querySelector('[aria-label=\"Show the message at {place}\"]').click()")
    line = f"message-{rejected['offset']}"
    browser.until(lambda: f"rejected: {rejected['reject']['code']}" in browser.text(line))
    browser.one(line).find_element("css selector", ".q-item").click()
    browser.until(lambda: '"resourceMetrics"' in browser.text(line))
    shown = browser.text(line)
    assert rejected["reject"]["message"] in shown
    assert rejected["reject"]["command"] in shown

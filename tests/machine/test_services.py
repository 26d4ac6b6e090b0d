"""The whole pipeline in this process, over the broker in memory: how it starts, ends, and adds up."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.pipeline import TransformSettings
from lmdp.errors import LmdpError, SettingsError, UnreachableError, WarehouseReplacedError
from lmdp.machine.api import client
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.services import MachineSettings, Simulated, run
from lmdp.machine.settings import ConsumeSettings, Notify
from lmdp.machine.store import OpenStore, Store, WarehouseStore
from new_warehouse import open_warehouse
from running import bundle, publish, rows, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def settings(folder: Path, **changed: Any) -> MachineSettings:
    """Memory broker, a few devices, a second."""
    wanted: dict[str, Any] = {
        "home": folder,
        "warehouse": folder / "warehouse.duckdb",
        "transform": TransformSettings(org_id="demo"),
        "consume": ConsumeSettings("t"),
        "memory": True,
        "simulated": Simulated(3, 5, 0.5, 1.0),
    }
    return MachineSettings(**wanted | changed)


def ended(wanted: MachineSettings) -> tuple[dict[str, Any], list[str]]:
    """The report of a run that ends by itself, and what it said."""
    said: list[str] = []
    return run(wanted, said.append, lambda _: None, threading.Event()), said


def opening(folder: Path, kind: type[WarehouseStore]) -> OpenStore:
    """Open a file as a store of this kind."""

    @contextlib.contextmanager
    def opened(*_: object) -> Iterator[Store]:
        with open_warehouse(folder / "w.duckdb") as warehouse:
            yield kind(warehouse, None)

    return opened


def test_a_burst_that_the_broker_cannot_hold_is_waited_with(tmp_path: Path) -> None:
    """The broker in memory forgets beyond some 1,200 messages a partition; the publisher keeps within that."""
    report, _ = ended(settings(tmp_path, simulated=Simulated(60, 100, 0.5, 0.5)))
    assert report["published"] == report["messages"] > 600
    assert report["publishedDatapoints"] == report["datapoints"]


def test_it_stops_when_told_and_answers_meanwhile(tmp_path: Path) -> None:
    """A stop ends it within three seconds, with the socket gone and everything that was read in the file."""
    stop, reports = threading.Event(), []
    endless = settings(tmp_path, simulated=Simulated(3, 5, 0.5))
    thread = threading.Thread(target=lambda: reports.append(run(endless, lambda _: None, lambda _: None, stop)))
    thread.start()
    try:
        until(lambda: (tmp_path / "run.sock").exists() and client.status(tmp_path)["rows"] > 0)
        status = client.status(tmp_path)
        running = status["running"]
        assert (running["topic"], running["simulating"], running["trouble"]) == ("t", True, "")
        assert status["freshnessSeconds"] < 60
        assert set(running["report"]) >= {"published", "messages", "rows", "duplicates", "latencyMs"}
        assert rows(tmp_path, "select count(*) as n from metrics")[0]["n"] > 0
    finally:
        stop.set()
        begun = time.monotonic()
        thread.join()
    assert time.monotonic() - begun < 3
    assert not (tmp_path / "run.sock").exists()
    assert rows(tmp_path, "select count(*) as n from row_events") == [{"n": reports[0]["rows"]}]


@pytest.mark.parametrize("has_messages", [True, False])
def test_a_run_stops_when_its_file_is_replaced(tmp_path: Path, has_messages: bool) -> None:
    """With messages or without any, the run ends with an error; nothing is claimed to be in the file."""
    stop, failed = threading.Event(), []
    wanted = settings(tmp_path, simulated=Simulated(3, 5, 0.5) if has_messages else None)

    def go() -> None:
        try:
            run(wanted, lambda _: None, lambda _: None, stop)
        except LmdpError as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        until((tmp_path / "run.sock").exists)
        if has_messages:
            until(lambda: client.status(tmp_path)["rows"] > 0)
        wanted.warehouse.rename(tmp_path / "moved.duckdb")
        thread.join(30)
    finally:
        stop.set()
        thread.join()
    assert [type(error) for error in failed] == [WarehouseReplacedError]


def test_a_given_broker_is_drained(tmp_path: Path) -> None:
    """With until_idle and nothing simulated it ends when all is read; nothing is published."""
    with MemoryBroker() as broker:
        broker.create_topic("t")
        publish(broker.access, "t", map(bundle, range(300)))
        wanted = settings(tmp_path, access=broker.access, memory=False, simulated=None, until_idle=True)
        report, said = ended(wanted)
    assert "published" not in report
    assert (report["messages"], report["rows"], report["duplicates"]) == (300, 300, 0)
    assert said[0] == f"Kafka at {broker.bootstrap_servers}, topic t"


def test_rejects_say_which_setting_is_missing(tmp_path: Path) -> None:
    """Without a tenant nothing is lost: each message is a reject that names LMDP_ORG_ID."""
    with MemoryBroker() as broker:
        broker.create_topic("t")
        publish(broker.access, "t", map(bundle, range(5)))
        wanted = settings(
            tmp_path, access=broker.access, simulated=None, until_idle=True, transform=TransformSettings()
        )
        report, _ = ended(wanted)
    assert (report["rows"], report["rejectedMessages"]) == (0, 5)
    (found,) = rows(tmp_path, "select distinct ERROR_CODE as c, ERROR_MESSAGE as m from rejects")
    assert found["c"] == "Row.MissingField"
    assert "LMDP_ORG_ID is not set" in found["m"]


def test_what_the_retention_removes_is_said(tmp_path: Path) -> None:
    """Rows of long ago are consumed like others, leave with the next start, and do not count as lost or doubled."""
    old = json.loads(bundle(1))
    old["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"][0]["timeUnixNano"] = str(10**18)
    with MemoryBroker() as broker:
        broker.create_topic("t")
        publish(broker.access, "t", [json.dumps(old).encode(), bundle(2)])
        wanted = settings(tmp_path, access=broker.access, simulated=None, until_idle=True)
        first, _ = ended(wanted)
        second, said = ended(wanted)
    assert (first["rows"], first["duplicates"], second["duplicates"]) == (2, 0, 0)
    assert any("removed 1 rows and 0 rejects from before" in line for line in said)
    assert rows(tmp_path, "select count(*) as n from row_events") == [{"n": 1}]


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        ({"home": "file"}, SettingsError, r"the folder .*file cannot be made or read: Not a directory"),
        ({"home": "file/inner"}, SettingsError, r"the folder .*inner cannot be made or read: Not a directory"),
        ({"warehouse": "none/w.duckdb"}, SettingsError, "needs a folder"),
        ({"warehouse": "file"}, SettingsError, "not a DuckDB file"),
        ({"warehouse": "."}, SettingsError, "not a DuckDB file|cannot be opened"),
        ({"consume": ConsumeSettings("t", (0, 9))}, SettingsError, "no partition 9; it has 4"),
    ],
)
def test_what_cannot_start_is_told(tmp_path: Path, changed: dict[str, Any], kind: type[LmdpError], told: str) -> None:
    """Each is one error, and nothing stays behind that would stand in the way of the next start."""
    (tmp_path / "file").write_bytes(b"no database" * 1000)
    placed = {name: tmp_path / value if isinstance(value, str) else value for name, value in changed.items()}
    before = set(threading.enumerate())
    with pytest.raises(kind, match=told):
        ended(settings(tmp_path, **placed))
    assert not (tmp_path / "run.sock").exists()
    until(lambda: not set(threading.enumerate()) - before)


def test_a_consumer_that_fails_is_reported_before_old_days_are_removed(tmp_path: Path) -> None:
    """The maintenance of a run that fails is ended, however long its first removal would take."""
    stopped = list[bool]()

    class Removing(WarehouseStore):
        def maintain(self, stop: threading.Event, _notify: Notify, first: threading.Event) -> None:
            stopped.append(stop.wait(20))
            first.set()

    with pytest.raises(SettingsError, match="no partition 9"):
        ended(settings(tmp_path, consume=ConsumeSettings("t", (9,)), simulated=None, store=opening(tmp_path, Removing)))
    assert stopped == [True]


def test_a_part_that_cannot_be_started_ends_the_run(tmp_path: Path) -> None:
    """A limit on threads that only lets the consumer start is an error at once; the consumer is ended for it."""
    stop, failed = threading.Event(), list[str]()

    class Limited(WarehouseStore):
        @property
        def maintain(self) -> Callable[..., None]:  # read when its thread is about to start
            until(lambda: "watch" in {thread.name for thread in threading.enumerate()})  # the consumer is at work
            threading.stack_size(2**46)
            return super().maintain

    def go() -> None:
        try:
            run(settings(tmp_path, simulated=None, store=opening(tmp_path, Limited)), print, lambda _: None, stop)
        except RuntimeError as error:
            failed.append(str(error))

    before = threading.stack_size()
    thread = threading.Thread(target=go)
    thread.start()
    try:
        thread.join(20)
        is_ended = not thread.is_alive()
    finally:
        threading.stack_size(before)
        stop.set()
        thread.join()
    assert (is_ended, failed) == (True, ["can't start new thread"])


def test_a_second_run_on_the_same_file_is_refused(tmp_path: Path) -> None:
    """One file has one writer, even within one process."""
    with (
        open_warehouse(tmp_path / "warehouse.duckdb"),
        pytest.raises(UnreachableError, match="already open"),
    ):
        ended(settings(tmp_path))

"""The pipeline on this machine: warehouse, run, page, topic; away, at work, and in trouble."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lmdp.core.pipeline import TransformSettings
from lmdp.doctor import kafka, machine
from lmdp.doctor.result import Context, Result
from lmdp.machine import services
from lmdp.machine.api import client
from lmdp.machine.services import MachineSettings
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.status import RunState, StartMessages
from lmdp.page import process
from new_warehouse import open_warehouse
from running import until


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A home without anything."""
    return Context(tmp_path, tmp_path / "warehouse.duckdb", {}, "t")


@contextlib.contextmanager
def at_work(context: Context, *, page: bool = False) -> Iterator[RunState]:
    """A run over the broker in memory."""
    stop = threading.Event()
    seen: list[RunState] = []
    settings = MachineSettings(
        context.home,
        context.warehouse,
        TransformSettings(org_id="demo"),
        ConsumeSettings("t"),
        memory=True,
        simulated=services.Simulated(2, 2, 0.5),
        page=process.page if page else None,
    )
    thread = threading.Thread(target=lambda: services.run(settings, lambda _: None, seen.append, stop))
    thread.start()
    try:
        until(lambda: (context.home / "run.sock").exists() and client.status(context.home)["rows"] > 0)
        yield seen[0]
    finally:
        stop.set()
        thread.join()


def test_nothing_yet_is_not_tried(context: Context) -> None:
    """Before the first run nothing is wrong, and nothing is made."""
    looks = (machine.warehouse, machine.run, machine.page, kafka.topic)
    assert [look(context).state for look in looks] == ["not tried"] * 4
    assert list(context.home.iterdir()) == []


def test_a_file_that_nobody_holds(context: Context) -> None:
    """Version, rows and size from the file; duplicates are wrong."""
    with open_warehouse(context.warehouse):
        pass
    found = machine.warehouse(context)
    assert found.state == "ok"
    assert "0 rows, 0 rejects" in found.text
    assert found.text.endswith("not open elsewhere, no duplicates, none missing, no holes")
    with duckdb.connect(str(context.warehouse)) as opened:
        opened.execute("INSERT INTO PIPELINE.REMOVALS VALUES (now(), now(), 3, 0)")  # three that LOADS knows nothing of
    found = machine.warehouse(context)
    assert (found.state, "3 duplicate rows" in found.text) == ("wrong", True)


def test_a_file_that_is_none(context: Context) -> None:
    """It is told, and left as it is."""
    context.warehouse.write_bytes(b"no database" * 1000)
    found = machine.warehouse(context)
    assert (found.state, "not a DuckDB file" in found.text) == ("wrong", True)


def test_a_run_at_work(context: Context) -> None:
    """The run answers for the warehouse that it holds; what stands in its way is wrong."""
    with at_work(context) as running:
        held, run, page = machine.warehouse(context), machine.run(context), machine.page(context)
        assert (held.state, "open in the run with pid" in held.text) == ("ok", True)
        assert (run.state, run.text.startswith("pid ")) == ("ok", True)
        assert page.state == "not tried"
        running.progress.block("Kafka at k:1\ndoes not answer", lambda _: None)
        found = machine.run(context)
        assert (found.state, found.text.endswith("Kafka at k:1 does not answer")) == ("wrong", True)
        assert found.fix == f"lmdp status --home {context.home} --watch"
        running.progress.trouble = ""
        status = client.status(context.home)["running"]
        assert (status["trouble"], status["lastTrouble"]["text"]) == ("", "Kafka at k:1\ndoes not answer")
        assert 0 <= time.time() * 1000 - status["lastTrouble"]["atMs"] < 60_000


def test_the_first_rows_name_the_query_of_this_run(context: Context) -> None:
    """Pasted as it is printed, it asks the run of this home."""
    said: list[str] = []
    with at_work(context) as running:
        StartMessages(said.append).look(running)
    query = f"lmdp query --home {context.home} "
    assert said[-1].startswith(f"rows are arriving; query them from another terminal: {query}")


def test_a_page_that_answers_and_one_that_does_not(context: Context) -> None:
    """The run tells where its page is; it is asked there."""
    with at_work(context, page=True) as running:
        until(running.page, 60)
        until(lambda: machine.page(context) == Result("ok", running.page()), 60)
        running.page = lambda: "http://127.0.0.1:1"
        found = machine.page(context)
        assert (found.state, "does not answer" in found.text) == ("wrong", True)


def test_a_broker_that_is_away_is_told_in_bounded_time(context: Context) -> None:
    """One line with the address."""
    found = kafka.topic(replace(context, servers="127.0.0.1:1"))
    assert (found.state, "127.0.0.1:1 does not answer" in found.text) == ("wrong", True)


def test_wrong_files_are_told_before_anyone_is_asked(context: Context) -> None:
    """A certificate that is not there needs no network."""
    found = kafka.topic(replace(context, servers="k:1", cert=context.home / "none.pem"))
    assert (found.state, found.text.startswith("not asked: ")) == ("wrong", True)

"""Transformation in worker processes: the same rows in the same order, whatever becomes of the workers."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Timer
from typing import Any

import psutil
import pytest

from lmdp.core.encode import encode
from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.machine.batch import TransformedTable
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch
from lmdp.machine.pipeline import Pipeline
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.transformer import InProcess, Transformer, Workers, transformer
from lmdp.testing.pipeline import TOPIC, ScriptedSource
from new_warehouse import open_warehouse
from running import bundle, no_more_threads

SETTINGS = TransformSettings(org_id="acme")
LARGE = 200  # messages of a fetch that is worth a worker


def fetches(*sizes: int, value: bytes | None = None) -> list[Fetch]:
    """Fetches of so many messages each, whose offsets adjoin."""
    made, first = [], 0
    for size in sizes:
        offsets = range(first, first + size)
        values = [bundle(offset) if value is None else value for offset in offsets]
        messages = [Message(one, "topic", 0, at, 1) for at, one in zip(offsets, values, strict=True)]
        made.append(Fetch(0, first, first + size, -1, messages))
        first += size
    return made


@contextlib.contextmanager
def working(processes: int = 2, **given: Any) -> Iterator[tuple[Workers, list[str]]]:
    """Workers, and what they report."""
    notices: list[str] = []
    with contextlib.closing(Workers(SETTINGS, processes, Event(), notices.append, **given)) as workers:
        yield workers, notices


def through(workers: Transformer, given: Sequence[Fetch]) -> list[tuple[Fetch, list[tuple[Any, ...]], Any, Any]]:
    """Each fetch with its rows (without the text of the time), rejects and counts, in the order of the results."""
    found = []
    for fetch in given:
        workers.submit(fetch)
        found += list(workers.results())
    found += list(workers.results(finish=True))
    return [(fetch, rows(done), done.rejects, done.counts) for fetch, done in found]


def rows(done: Any) -> list[tuple[Any, ...]]:
    """Rows without the text of the time, which columns do not have."""
    names = [field.name for field in load_spec().fields]
    ts = names.index("ts")
    if isinstance(done, TransformedTable):
        assert done.columns is not None
        return [tuple(row[name] for name in names if name != "ts") for row in done.columns.to_pylist()]
    return [(*row[:ts], *row[ts + 1 :]) for row in done.rows]


@pytest.mark.parametrize("kill", [False, True])
def test_json_lines_are_the_same_whoever_makes_them(kill: bool) -> None:
    """A sink that takes JSON gets each row as the encoder writes it, and knows where each message ends."""
    given, spec = fetches(LARGE, 10, LARGE, LARGE), load_spec()
    given += [Fetch(0, 610, 611, -1, [Message(b"{", "topic", 0, 610, 1)])]
    with working(row_spec=spec) as (workers, _):
        workers.submit(given[0])
        if kill:
            kill_all(workers)
        for fetch in given[1:]:
            workers.submit(fetch)
        found = list(workers.results(finish=True))
    assert [fetch for fetch, _ in found] == given
    for fetch, done in found:
        alone = transform(fetch.messages, SETTINGS)
        assert list[Any](done.rows) == encode(alone.rows, spec)
        assert (done.ends, done.rejects, done.counts, done.size) == (
            alone.ends, alone.rejects, alone.counts, alone.size
        )  # fmt: skip


def kill_all(workers: Workers) -> None:
    """End every worker as the kernel does that needs memory."""
    for pid in workers.pids():
        os.kill(pid, signal.SIGKILL)


def killing(workers: Workers, fetch: Fetch) -> Iterator[Fetch]:
    """End every worker, then give the fetch."""
    kill_all(workers)
    yield fetch


def test_workers_return_what_this_process_would() -> None:
    """Rows, rejects and counts are the same, in the order of submission; small fetches need no worker."""
    given = [*fetches(3, LARGE, LARGE, 5, LARGE), Fetch(0, 900, 901, -1, [Message(b"{", "topic", 0, 900, 1)] * LARGE)]
    with working() as (workers, notices):
        assert through(workers, given) == through(InProcess(partial(transform, settings=SETTINGS)), given)
        assert (workers.is_idle(), notices) == (True, [])
        assert 1 <= len(workers.pids()) <= 2
        running = [psutil.Process(pid) for pid in workers.pids()]
    assert not any(process.is_running() for process in running)


def test_a_small_load_starts_no_worker() -> None:
    """Fetches of a few messages are transformed at once."""
    with working() as (workers, _):
        assert [len(made) for _, made, _, _ in through(workers, fetches(*[20] * 10))] == [20] * 10
        assert workers.pids() == []


def test_a_worker_that_dies_is_replaced() -> None:
    """Its messages are transformed by another, and nothing is missing or out of order."""
    given = fetches(*[LARGE] * 6)
    with working() as (workers, notices):
        through(workers, given[:2])
        kill_all(workers)
        assert [fetch for fetch, *_ in through(workers, given[2:])] == given[2:]
        assert notices[0] == "a worker process ended or hung (exit code -9): another takes its messages"


def test_a_worker_that_hangs_is_replaced() -> None:
    """One that does not answer in time is ended."""
    given = fetches(*[LARGE] * 3)
    with working(1, timeout_s=3.0) as (workers, notices):
        through(workers, given[:1])
        (pid,) = workers.pids()
        os.kill(pid, signal.SIGSTOP)
        assert [len(made) for _, made, _, _ in through(workers, given[1:])] == [LARGE] * 2
        assert notices == ["a worker process ended or hung (exit code -9): another takes its messages"]


def test_a_worker_that_cannot_be_started_is_done_without() -> None:
    """This process transforms then, which is reported once."""
    given = fetches(*[LARGE] * 3)
    with working(1, command=["/none/at/all"]) as (workers, notices):
        assert through(workers, given) == through(InProcess(partial(transform, settings=SETTINGS)), given)
    assert notices == [
        "a worker process cannot be started (No such file or directory): this process transforms instead"
    ]


def test_a_thread_that_cannot_be_started_is_done_without() -> None:
    """A limit on threads ends no run: this process transforms."""
    given = fetches(*[LARGE] * 2)
    with working(1) as (workers, notices):
        with no_more_threads():
            assert [len(made) for _, made, _, _ in through(workers, given)] == [LARGE] * 2
        assert [len(made) for _, made, _, _ in through(workers, given)] == [LARGE] * 2
    assert notices == ["a worker process cannot be started (can't start new thread): this process transforms instead"]


def test_a_worker_that_ends_by_an_error_is_reported_with_its_kind() -> None:
    """What is behind the kind may be of a message."""
    given = fetches(LARGE)
    with working(1, command=[sys.executable, "-c", "raise ValueError('a secret')"]) as (workers, notices):
        assert [fetch for fetch, *_ in through(workers, given)] == given
    assert notices == ["a worker process ended or hung (exit code 1, ValueError): another takes its messages"] * 2


def test_what_takes_too_much_as_columns_is_made_here() -> None:
    """Rows of more than 16 MiB of text come as tuples, which share what they repeat."""
    value = bundle(0, tenant="t" * 120_000)
    with working() as (workers, _):
        workers.submit(fetches(LARGE, value=value)[0])
        ((_, done),) = workers.results(finish=True)
        assert (type(done).__name__, len(done.rows)) == ("Transformed", LARGE)


def test_what_is_under_way_is_bounded() -> None:
    """Two fetches a worker at most: the third waits until the first is done, or until the end."""
    given = fetches(*[LARGE] * 4)
    stop = Event()
    with contextlib.closing(Workers(SETTINGS, 1, stop, print)) as workers:
        workers.submit(given[0])
        workers.submit(given[1])
        for pid in workers.pids():
            os.kill(pid, signal.SIGSTOP)
        Timer(0.5, stop.set).start()
        workers.submit(given[2])
        assert stop.is_set() or next(workers.results())[0] == given[0]


def test_one_process_has_no_workers() -> None:
    """Up to one, this process is the one."""
    made = [transformer(SETTINGS, workers, Event(), print) for workers in (0, 1, 2)]
    assert [type(one) for one in made] == [InProcess, InProcess, Workers]
    made[2].close()


@pytest.mark.parametrize("kill", [False, True])
def test_every_row_once(tmp_path: Path, *, kill: bool) -> None:
    """Through workers into DuckDB, each message is there once, and the offsets adjoin."""
    given = fetches(*[LARGE, 10, LARGE, LARGE, 1, LARGE] * 3)
    numbers = sum(len(fetch.messages) for fetch in given)
    with (
        open_warehouse(tmp_path / "w.duckdb") as warehouse,
        working() as (workers, notices),
    ):
        script: deque[Iterable[Fetch | frozenset[int] | Exception]] = deque([one] for one in given)
        if kill:
            script[6] = killing(workers, given[6])
        source = ScriptedSource(script)
        settings = ConsumeSettings("topic", linger_s=0, batch_rows=300)
        progress = Progress()
        Pipeline(lambda: source, workers, warehouse, settings, progress, Event(), print).run()
        assert warehouse.offsets(TOPIC.cluster, TOPIC.topic_id, TOPIC.topic) == {0: numbers}
        (found,) = warehouse.query("select count(*) n, count(distinct instance) d from row_events").table.to_pylist()
        assert found == {"n": numbers, "d": numbers}
        totals = warehouse.tally.count()
        assert (totals.duplicates, totals.missing, totals.holes) == (0, 0, 0)
        assert progress.counts.rows == numbers
        assert bool(notices) == kill

"""Connections that ask nothing, or ask and do not read: they cost a place for a while, and nobody else's answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lmdp.errors import UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.http import LIMITS, ServerLimits
from lmdp.machine.api.protocol import Query, socket_path
from lmdp.machine.api.server import serving
from new_warehouse import open_warehouse
from running import until


@pytest.fixture
def limits() -> ServerLimits:
    """The server's limits, which a test may replace."""
    return LIMITS


@pytest.fixture
def home(tmp_path: Path, limits: ServerLimits) -> Iterator[Path]:
    """The folder in which an empty warehouse answers."""
    with (
        open_warehouse(tmp_path / "warehouse.duckdb") as warehouse,
        serving(tmp_path, warehouse, lambda: {"pid": 7}, limits=limits),
    ):
        yield tmp_path


@contextlib.contextmanager
def connected(home: Path, count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections on which only this is said."""
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for line in opened:
            line.settimeout(30)
            line.connect(str(socket_path(home)))
            line.sendall(said)
        yield opened


def is_open(line: socket.socket) -> bool:
    """Whether the other side still holds it."""
    line.setblocking(False)
    try:
        return bool(line.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        line.settimeout(30)


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /sta", b"GET /status HTTP/1.0\r\nX: ", b"POST /query HTTP/1.0\r\nContent-Length: 9\r\n\r\n{"],
)
def test_those_who_do_not_finish_make_room(home: Path, said: bytes) -> None:
    """More of them than there are places keep nobody from an answer, and none of them holds a thread."""
    before = threading.active_count()
    with connected(home, 2 * LIMITS.connections, said) as silent:
        for _ in range(5):
            assert client.status(home) == {"pid": 7}
        until(lambda: sum(map(is_open, silent)) <= LIMITS.connections)
        until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("limits", [ServerLimits(request_seconds=0.5)])
def test_those_who_do_not_finish_are_cut(home: Path) -> None:
    """A head that comes by drops has the same time as one that never comes: the whole of it counts."""
    with connected(home, 2) as (silent, slow):
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while is_open(slow) and time.monotonic() - begun < 20:
                slow.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - begun < 20
        until(lambda: not is_open(silent))


def test_a_head_without_an_end_is_cut(home: Path) -> None:
    """It is not kept in memory until its time is over."""
    with connected(home, 1, b"GET /status HTTP/1.1\r\nX: ") as (endless,):
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 2**24:
                endless.sendall(b"x" * 65536)
                sent += 65536
        assert sent < 2**22


@pytest.mark.parametrize("limits", [ServerLimits(body_seconds=0.5)])
def test_a_body_that_does_not_come_is_cut(home: Path) -> None:
    """Its head alone holds nothing for long."""
    with connected(home, 1, b"POST /query HTTP/1.1\r\nContent-Length: 9\r\n\r\n{") as (slow,):
        until(lambda: not is_open(slow))


@pytest.mark.parametrize("limits", [ServerLimits(read_seconds=0.5)])
def test_an_answer_that_nobody_reads_is_cut(home: Path) -> None:
    """It does not hold its connection and its file for ever."""
    body = json.dumps({"sql": "select * from range(1000000)", "limitRows": 1_000_000}).encode()
    with connected(home, 1, b"POST /query HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as (slow,):
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: not spooled(home))
        assert len(b"".join(iter(partial(slow.recv, 65536), b""))) < 4_000_000
    assert client.status(home) == {"pid": 7}


def spooled(home: Path) -> list[str]:
    """The files without a name that this process has open in the folder."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(f"{home}/#")]


@pytest.mark.parametrize("limits", [ServerLimits(connections=2)])
def test_while_all_places_are_taken_by_answers(home: Path) -> None:
    """A further client is refused at once; no connection that is being answered is closed for it."""
    sql = "select count(*) from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5"
    body = json.dumps({"sql": sql, "timeoutSeconds": 3}).encode()
    with connected(home, 2, b"POST /query HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as asking:
        time.sleep(0.5)
        with pytest.raises(UnreachableError, match=r"too many connections|does not answer"):
            client.status(home)
        answers = [b"".join(iter(partial(line.recv, 65536), b"")) for line in asking]
    assert [b"no answer within" in answer for answer in answers] == [True, True]
    assert client.status(home) == {"pid": 7}


def test_queries_wait_for_a_slot(home: Path) -> None:
    """More queries than slots are all answered; one whose time is over before it gets a slot fails and says so."""
    found: list[Any] = []

    def ask(sql: str, seconds: float) -> None:
        query = Query(sql, timeout_seconds=seconds)
        try:
            found.append(client.query(home, home / "warehouse.duckdb", query).table.num_rows)
        except Exception as error:  # noqa: BLE001 - looked at below
            found.append(str(error))

    threads = [threading.Thread(target=ask, args=("select 1", 30)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 20
    found.clear()
    endless = "select count(*) from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5"
    threads = [threading.Thread(target=ask, args=(endless, 3)) for _ in range(LIMITS.queries)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    ask("select 1", 0.3)
    for thread in threads:
        thread.join()
    assert "other queries are running, and none ended within 0.3 s" in found[0]
    assert ["no answer within 3 s" in text for text in found[1:]] == [True] * LIMITS.queries


def test_the_end_does_not_wait_for_those_who_say_nothing(tmp_path: Path) -> None:
    """A run ends as soon with them as without."""
    with open_warehouse(tmp_path / "warehouse.duckdb") as warehouse, contextlib.ExitStack() as held:
        with serving(tmp_path, warehouse, dict):
            silent = held.enter_context(connected(tmp_path, 10, b"GET /sta"))
            begun = time.monotonic()
        assert time.monotonic() - begun < 1.5
        assert not any(map(is_open, silent))


@pytest.mark.parametrize("end", ["close", "half"])
def test_a_client_that_leaves_ends_its_query(home: Path, end: str) -> None:
    """Its slot is free long before its time is over: nobody computes for nobody."""
    sql = "select count(*) from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5"
    body = json.dumps({"sql": sql, "timeoutSeconds": 3600}).encode()
    request = b"POST /query HTTP/1.1\r\nHost: lmdp\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connected(home, LIMITS.queries, request) as asking:
        with pytest.raises(UnreachableError, match="other queries are running"):
            client.query_run(home, Query("select 1", timeout_seconds=1.0))
        for line in asking:
            line.shutdown(socket.SHUT_RDWR if end == "close" else socket.SHUT_WR)
        assert client.query_run(home, Query("select 1", timeout_seconds=60)).table.num_rows == 1
    until(lambda: not any(thread.name == "query" for thread in threading.enumerate()))

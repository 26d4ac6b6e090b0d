"""Answers while the warehouse is open: what is asked over the socket, and what is refused."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query, socket_path
from lmdp.machine.api.server import serving
from lmdp.machine.warehouse.connection import EngineLimits
from lmdp.machine.warehouse.reader import Answer, log_bytes
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.testing.pipeline import write
from new_warehouse import open_warehouse
from running import bundle, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 50


def filled(folder: Path, limits: EngineLimits | None = None) -> Warehouse:
    """One with 50 rows."""
    opened = open_warehouse(folder / "warehouse.duckdb", limits=limits)
    load(opened, 0)
    return opened


def _more(counts: list[int], than: int) -> bool:
    return sum(counts) > than


def load(warehouse: Warehouse, first: int) -> None:
    """Write 50 more rows, from this offset on."""
    messages = [Message(bundle(offset), "t", 0, first + offset) for offset in range(ROWS)]
    write(warehouse, messages, TransformSettings(org_id="acme"))


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """One with 50 rows, for all who only ask."""
    with filled(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(warehouse: Warehouse) -> Iterator[Path]:
    """The folder in which that warehouse answers."""
    folder = warehouse.path.parent
    with serving(folder, warehouse, lambda: {"running": {"pid": 7}}):
        yield folder


def ask(home: Path, sql: str, rows: int = 10_000, seconds: float = 30.0) -> Answer:
    """Ask over the socket: the file has a writer, so nothing else could answer."""
    return client.query(home, home / "warehouse.duckdb", Query(sql, rows, seconds))


def raw(home: Path, request: bytes) -> bytes:
    """What the socket answers to bytes."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(socket_path(home)))
        line.sendall(request)
        if not request:
            return b""
        return b"".join(iter(lambda: line.recv(65536), b""))


def post(home: Path, body: Any, target: str = "/query") -> tuple[int, dict[str, Any]]:
    """The status and the fault that a query gets."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = raw(home, b"POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (target.encode(), len(data)) + data)
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def test_a_question_is_answered(home: Path) -> None:
    """Tables and views under their short names, while the file is open for writing."""
    answer = ask(home, "select count(*) as n, max(value) as top from metrics")
    assert answer.table.to_pylist() == [{"n": ROWS, "top": ROWS - 1.0}]
    assert not answer.truncated
    assert client.status(home) == {"running": {"pid": 7}}


@pytest.mark.parametrize(
    ("sql", "kind", "told"),
    [
        ("delete from row_events", SettingsError, "one SELECT"),
        ("insert into loads select * from loads", SettingsError, "one SELECT"),
        ("drop table row_events", SettingsError, "one SELECT"),
        ("select 1; select 2", SettingsError, "one SELECT"),
        ("select 1; drop table row_events", SettingsError, "one SELECT"),
        ("with a as (delete from row_events returning *) select * from a", SettingsError, "."),
        ("copy row_events to '/tmp/stolen.csv'", SettingsError, "one SELECT"),
        ("export database '/tmp/stolen'", SettingsError, "one SELECT"),
        ("attach '/tmp/other.duckdb'", SettingsError, "one SELECT"),
        ("install httpfs", SettingsError, "one SELECT"),
        ("load httpfs", SettingsError, "one SELECT"),
        ("set enable_external_access = true", SettingsError, "one SELECT"),
        ("pragma database_list", SettingsError, "."),
        ("checkpoint", SettingsError, "one SELECT"),
        ("begin", SettingsError, "one SELECT"),
        ("select * from read_csv('/etc/passwd')", SettingsError, "."),
        ("select * from read_text('/etc/passwd')", SettingsError, "."),
        ("select * from '/etc/passwd'", SettingsError, "."),
        ("select * from glob('/etc/*')", SettingsError, "."),
        ("select * from os", SettingsError, "."),
        ("select getenv('HOME')", SettingsError, "."),
        ("select * from nothing", SettingsError, "nothing"),
        ("selct 1", SettingsError, "."),
        ("", SettingsError, "one SELECT"),
        ("select * from metrics where", SettingsError, "."),
        ("select 'x'::int", SettingsError, "refused"),
    ],
)
def test_what_is_no_single_select_is_refused(home: Path, sql: str, kind: type[LmdpError], told: str) -> None:
    """Nothing is written, no file is read, no setting is changed; and the next query is answered."""
    with pytest.raises(kind, match=told):
        ask(home, sql)
    assert ask(home, "select count(*) as n from row_events").table.to_pylist() == [{"n": ROWS}]


def test_more_rows_than_the_limit_are_cut_off(home: Path) -> None:
    """The answer says that it was cut."""
    answer = ask(home, "select * from range(100000)", rows=10)
    assert (answer.table.num_rows, answer.truncated) == (10, True)
    answer = ask(home, "select * from metrics", rows=ROWS)
    assert (answer.table.num_rows, answer.truncated) == (ROWS, False)


def test_a_question_that_takes_too_long_is_ended(home: Path) -> None:
    """It ends about when it should, and the next one is answered."""
    begun = time.monotonic()
    with pytest.raises(LmdpError, match=r"no answer within 0\.5 s"):
        ask(
            home,
            "select count(*) from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5",
            10,
            0.5,
        )
    assert time.monotonic() - begun < 5
    assert ask(home, "select 1 as a").table.to_pylist() == [{"a": 1}]


def test_several_ask_at_once_while_rows_are_written(tmp_path: Path) -> None:
    """Questions run beside each other and beside a commit; each sees whole transactions."""
    seen: list[int] = []

    def go() -> None:
        query = "select count(*) as n from row_events"
        seen.extend(ask(tmp_path, query).table.column("n")[0].as_py() for _ in range(10))

    with filled(tmp_path) as own, serving(tmp_path, own, dict):
        threads = [threading.Thread(target=go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(1, 6):
            load(own, turn * ROWS)
        for thread in threads:
            thread.join()
    assert len(seen) == 40
    assert {count % ROWS for count in seen} == {0}


def test_questions_that_never_cease_let_the_log_be_folded_in(tmp_path: Path) -> None:
    """DuckDB folds its log into the file only while nobody reads: they pause for that, and are all answered."""
    stop, answered, longest = threading.Event(), [0] * 3, 0

    def go(n: int) -> None:
        while not stop.is_set():
            ask(tmp_path, "select count(*) from metrics")
            answered[n] += 1

    with filled(tmp_path, EngineLimits(log_bytes=100_000)) as own, serving(tmp_path, own, dict):
        threads = [threading.Thread(target=go, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: all(answered))
        for turn in range(1, 40):
            load(own, turn * ROWS)
            before = sum(answered)
            until(partial(_more, answered, before))
            longest = max(longest, log_bytes(own.path))
        stop.set()
        for thread in threads:
            thread.join()
        assert own.tally.exact().rows == 40 * ROWS
    assert 50_000 < longest < 300_000


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (b"", "/query"),
        (b"{", "/query"),
        ({"sql": 7}, "/query"),
        ({}, "/query"),
        ({"sql": "select 1", "limitRows": 0}, "/query"),
        ({"sql": "select 1", "limitRows": 10**9}, "/query"),
        ({"sql": "select 1", "timeoutSeconds": -1}, "/query"),
        ({"sql": "select 1", "timeoutSeconds": 1e300}, "/query"),
        ({"sql": "select 1", "what": 1}, "/query"),
    ],
)
def test_a_question_that_is_none_is_a_fault(home: Path, body: Any, target: str) -> None:
    """A JSON fault with the exit code of wrong usage, whatever was sent."""
    status, fault = post(home, body, target)
    assert (status, fault["exitCode"]) == (400, 2)
    assert fault.keys() == {"error", "exitCode", "next"}
    assert fault["error"]


def test_what_nobody_answers_is_a_fault(home: Path) -> None:
    """It names what is answered."""
    status, fault = post(home, {"sql": "select 1"}, "/other")
    assert (status, fault["exitCode"]) == (404, 2)
    assert "POST /query" in fault["next"]


def test_a_question_that_fails_midway_is_a_fault(home: Path) -> None:
    """What goes wrong after the first rows is told as what goes wrong before them."""
    with pytest.raises(SettingsError, match=r"refused: .*odd row"):
        ask(home, "select case when range > 900000 then error('odd row') else 'a' end from range(1000000)", 1_000_000)


STUBBORN = "select length(regexp_replace(repeat('a', {n}), 'a', 'bb', 'g')) as n"  # some 10 s for 8 million


def test_a_query_that_cannot_be_interrupted_keeps_no_place(tmp_path: Path, warehouse: Warehouse) -> None:
    """Its caller has an answer in time; others query, rows are written, too many of them are refused, the end comes."""
    with serving(tmp_path, warehouse, dict):
        failed: list[LmdpError] = []

        def stubborn(n: int) -> None:
            try:
                ask(tmp_path, STUBBORN.format(n=n), seconds=0.5)
            except LmdpError as error:
                failed.append(error)

        threads = [threading.Thread(target=stubborn, args=(8_000_000 + n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ["cannot interrupt" in str(error) for error in failed] == [True, True]
        with pytest.raises(UnreachableError, match="2 queries that cannot be interrupted"):
            ask(tmp_path, "select 1")
        until(lambda: not _are_querying(), 120)
        stubborn(8_000_000)
        assert ask(tmp_path, "select 1 as n").table.to_pylist() == [{"n": 1}]
        begun = time.monotonic()
    assert time.monotonic() - begun < 30
    until(lambda: not _are_querying(), 120)


def _are_querying() -> bool:
    return any(thread.name == "query" for thread in threading.enumerate())


@pytest.mark.parametrize("length", [b"Content-Length: 1000001", b"Content-Length: 99999999999999999999"])
def test_a_query_of_huge_length_is_not_read(home: Path, length: bytes) -> None:
    """The run's memory is not for whoever asks to fill."""
    answer = raw(home, b"POST /query HTTP/1.0\r\n" + length + b"\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


def test_a_query_without_a_length_is_read_up_to_the_limit(home: Path) -> None:
    """Chunks count as they come."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = b"POST /query HTTP/1.1\r\nHost: lmdp\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"at most 1,000,000 bytes" in raw(home, head + 16 * chunk)


@pytest.mark.parametrize("request_", [b"", b"\x00" * 100, b"GET / HTTP/1.0\r\n\r\n", b"PUT /query HTTP/1.0\r\n\r\n"])
def test_rubbish_on_the_socket_stops_nothing(home: Path, capfd: pytest.CaptureFixture[str], request_: bytes) -> None:
    """Whatever is sent, the next one is answered, and nothing is printed on the terminal of the run."""
    raw(home, request_)
    assert client.status(home)["running"] == {"pid": 7}
    assert capfd.readouterr() == ("", "")


def test_who_hangs_up_leaves_no_trace(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A client that goes away before its answer is not worth a traceback."""
    body = json.dumps({"sql": "select * from range(500000)", "limitRows": 500_000}).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(socket_path(home)))
        line.sendall(b"POST /query HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    ask(home, "select 1")
    time.sleep(0.5)
    assert capfd.readouterr() == ("", "")


def test_a_failing_status_is_a_fault(tmp_path: Path, warehouse: Warehouse) -> None:
    """What the status cannot tell is answered like any fault."""

    def fails() -> dict[str, Any]:
        raise UnreachableError("the disk is gone")

    with serving(tmp_path, warehouse, fails), pytest.raises(UnreachableError, match="the disk is gone"):
        client.status(tmp_path)


def test_the_socket_is_for_this_user_alone_and_gone_at_the_end(tmp_path: Path, warehouse: Warehouse) -> None:
    """Mode 0600 from the first moment; no file stays."""
    with serving(tmp_path, warehouse, dict) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


def test_a_live_run_keeps_its_socket_and_a_dead_one_does_not(tmp_path: Path, warehouse: Warehouse) -> None:
    """A second run is refused while the first answers; what a killed run left behind is replaced."""
    with serving(tmp_path, warehouse, lambda: {"first": True}) as path:
        with (
            pytest.raises(UnreachableError, match=r"another run answers on .*run\.sock"),
            serving(tmp_path, warehouse, dict),
        ):
            pass
        assert client.status(tmp_path) == {"first": True}
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with serving(tmp_path, warehouse, lambda: {"second": True}):
        assert client.status(tmp_path) == {"second": True}


def test_a_folder_with_a_long_name_has_its_socket_elsewhere(tmp_path: Path, warehouse: Warehouse) -> None:
    """The system allows about 100 bytes; the client finds the same place."""
    home = tmp_path / ("long" * 40) / ("names" * 30)
    home.mkdir(parents=True)
    with serving(home, warehouse, lambda: {"far": True}) as path:
        assert len(str(path)) <= 100
        assert client.status(home) == {"far": True}
    assert socket_path(home / "other") != socket_path(home)


def test_a_folder_that_is_none_is_told(tmp_path: Path, warehouse: Warehouse) -> None:
    """A file where the folder should be, in words."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnreachableError, match=r"cannot listen on .*: Not a directory"),
        serving(tmp_path / "file", warehouse, dict),
    ):
        pass

"""A replay into a warehouse that a run has: each failure once, whoever is killed and whatever is sent twice."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from lmdp.core.pipeline import TransformSettings, transform
from lmdp.errors import AlreadyReplayedError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import socket_path
from lmdp.machine.api.server import serving
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.arrow import reject_columns
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay import wire
from lmdp.replay.folder import Folder
from lmdp.replay.log import Rejects, ReplayedObject, Transaction, owned
from lmdp.replay.owner import commit, warehouse_owner
from lmdp.replay.replay import into_warehouse, replay_objects, replay_rejects
from lmdp.replay.report import Report
from lmdp.replay.retry import now
from lmdp.support.reject_files import envelope
from replay.failures import SPEC, files, message, reject_into, rejects, run, two, values
from running import bundle, until

INSTANCES = 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1'
ROWS = transform([message(bundle(n, tenant="acme"), n) for n in range(3)], TransformSettings()).rows
MARKED = Transaction("s", 3, ROWS, mark=ReplayedObject("0" * 64, "a/b", b"rest"))


@pytest.fixture
def home(tmp_path: Path, warehouse: Warehouse) -> Iterator[Path]:
    """The folder of a run that has the warehouse."""
    with serving(tmp_path, warehouse, dict, replay=commit):
        yield tmp_path


def put_back(home: Path, warehouse: Warehouse, *, dry: bool = False) -> Report:
    """Replay the folder `rejects` through the run."""
    report, store = Report(), Folder.open(home / "rejects")
    with warehouse_owner(home, warehouse.path, dry=dry) as owner:
        replay_objects(store, into_warehouse(owner, store.where), run(dry=dry), report)
    return report


def body(transaction: Transaction, warehouse: Warehouse) -> bytes:
    """A transaction as it is sent."""
    return wire.write(str(warehouse.path.resolve()), transaction, SPEC)


def post(home: Path, content: bytes, length: int | None = None) -> tuple[int, str]:
    """The status and the fault that these bytes get; the connection is closed behind them."""
    told_length = len(content) if length is None else length
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(socket_path(home)))
        line.sendall(b"POST /replay HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % told_length + content)
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, fault = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), str(json.loads(fault).get("error"))


def test_a_folder_through_a_run(home: Path, warehouse: Warehouse) -> None:
    """As into a file that nobody has: counts, marks, what is moved, and nothing in a dry run."""
    rejects(home / "rejects", message(bundle(1), 5), message(b"no bundle", 6))
    rejects(home / "rejects", message(bundle(2), 7))
    before = files(home / "rejects")
    dry = put_back(home, warehouse, dry=True)
    assert (files(home / "rejects"), values(warehouse, INSTANCES)) == (before, [])
    wet = put_back(home, warehouse)
    assert dry.counts == wet.counts
    assert (wet.counts.rows, wet.replayed, dict(wet.reasons)) == (2, 2, {"Decode.Malformed": 1})
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-1", "i-2"], 0)
    assert values(warehouse, "SELECT DISTINCT TOPIC FROM LOADS") == [f"{home / 'rejects'}/"]
    assert put_back(home, warehouse).counts.rows == 0


def test_the_runs_own_rejects(home: Path, warehouse: Warehouse) -> None:
    """They leave REJECTS with their rows, a page at a time, while the run writes others beside them."""
    reject_into(warehouse, *(two(2 * n) for n in range(300)), b"no bundle")
    (newer,) = transform([message(b"new", 7)], TransformSettings()).rejects
    load = Load([], [envelope(newer, now() + 60_000)], [], datetime.now(UTC))

    def tell(done: int, _total: int) -> None:
        if not done:
            warehouse.commit(load)

    how, report = replace(run(), on_progress=tell), Report()
    with warehouse_owner(home, warehouse.path, dry=False) as owner:
        replay_rejects(owner, None, how, report)
    assert (report.counts.messages, report.counts.rows) == (301, 300)
    assert (warehouse.counts().rows, warehouse.counts().rejects, warehouse.duplicates()) == (600, 2, 0)


def test_what_is_sent_twice_is_written_once(home: Path, warehouse: Warehouse) -> None:
    """The second time is refused, whether it has the mark of an object or takes rejects' place."""
    assert client.replay(home, body(MARKED, warehouse)) > 0
    with pytest.raises(AlreadyReplayedError, match="a/b is in the warehouse already"):
        client.replay(home, body(MARKED, warehouse))
    reject_into(warehouse, bundle(1), b"no bundle")
    ids = Rejects.of(owned(warehouse)).page().ids
    transaction = Transaction("r", 2, ROWS, replaced=ids)
    client.replay(home, body(transaction, warehouse))
    with pytest.raises(AlreadyReplayedError, match="removed or moved"):
        client.replay(home, body(transaction, warehouse))
    assert (warehouse.counts().rows, warehouse.counts().rejects, warehouse.duplicates()) == (6, 0, 0)


def test_rejects_that_are_others_by_now_stay(home: Path, warehouse: Warehouse) -> None:
    """A row's number alone proves nothing: what stands there must be what was replayed, all of it or none."""
    reject_into(warehouse, bundle(1), bundle(2))
    (first, second) = Rejects.of(owned(warehouse)).page().ids
    for wrong in ([first, (second[0], second[1] ^ 1)], [first, (second[0] + 1, second[1])], [(second[0], first[1])]):
        with pytest.raises(AlreadyReplayedError):
            client.replay(home, body(Transaction("r", 2, ROWS, replaced=wrong), warehouse))
    assert (warehouse.counts().rows, warehouse.counts().rejects) == (0, 2)


def test_an_answer_that_was_lost(home: Path, warehouse: Warehouse) -> None:
    """A replay that was killed behind its request finds the object's mark the next time, and what had been left."""
    (path,) = rejects(home / "rejects", message(two(1), 5))
    sent: list[bytes] = []

    def lost(transaction: Transaction) -> int:
        sent.append(body(transaction, warehouse))
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(socket_path(home)))
            line.sendall(b"POST /replay HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(sent[0]) + sent[0])
        raise UnreachableError("no answer")

    with warehouse_owner(home, warehouse.path, dry=False) as owner:
        killed = into_warehouse(type(owner)(owner.ask, lost), "x")
        with pytest.raises(UnreachableError, match="no answer"):
            replay_objects(Folder.open(home / "rejects"), killed, run(), Report())
    assert path.exists()
    until(lambda: warehouse.counts().rows)
    report = put_back(home, warehouse)
    assert (report.replayed, report.counts.rows, path.exists()) == (1, 0, False)
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-2"], 0)


def test_one_that_came_through_late(home: Path, warehouse: Warehouse) -> None:
    """An earlier request that is written between the look for its mark and the own transaction is not doubled."""
    (path,) = rejects(home / "rejects", message(bundle(1), 5))
    with warehouse_owner(home, warehouse.path, dry=False) as owner:

        def late(transaction: Transaction) -> int:
            owner.write(transaction)
            return owner.write(transaction)

        store, report = Folder.open(home / "rejects"), Report()
        replay_objects(store, into_warehouse(type(owner)(owner.ask, late), store.where), run(), report)
    assert (report.replayed, report.counts.rows, path.exists()) == (1, 0, False)
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-1"], 0)


def test_a_request_that_is_cut_changes_nothing(home: Path, warehouse: Warehouse) -> None:
    """Whether it is shorter than it says, or says that it is so short."""
    whole = body(MARKED, warehouse)
    for length in (0, 4, 8, 40, len(whole) // 2, len(whole) - 9):
        assert post(home, whole[:length], len(whole))[0] == 400
        assert post(home, whole[:length])[0] == 400
    assert (warehouse.counts().rows, values(warehouse, "SELECT count(*) FROM REPLAYED")) == (0, [0])
    assert client.replay(home, whole) > 0


@pytest.mark.parametrize(
    ("change", "status", "fault"),
    [
        (lambda good: good + b"\x00", 400, "more behind the end"),
        (lambda good: b"\xff" * 8 + good[8:], 400, "no transaction"),
        (lambda good: good.replace(b"messages", b"massages"), 400, "no transaction"),
        (lambda good: good.replace(b"warehouse.duckdb", b"warehouse.other_"), 421, "this run has"),
        (lambda good: good.replace(b"orgId", b"orgXX"), 400, "different columns"),
        (lambda good: good.replace(b"SOURCE_KEY", b"SOURCE_XXX"), 400, "different columns"),
        (lambda good: good.replace(b'"name":"Cpu"', b'"name":"C\xffu"'), 400, "no transaction"),
        (lambda _: b"", 400, "no transaction"),
        (lambda _: b"\x00" * 500, 400, "no transaction"),
    ],
)
def test_a_request_that_is_wrong_changes_nothing(
    home: Path, warehouse: Warehouse, change: object, status: int, fault: str
) -> None:
    """A fault in words, no row, no mark; the next one is written."""
    good = body(MARKED, warehouse)
    assert callable(change)
    found = post(home, change(good))
    assert (found[0], fault in found[1]) == (status, True), found
    assert (warehouse.counts().rows, values(warehouse, "SELECT count(*) FROM REPLAYED")) == (0, [0])
    assert client.replay(home, good) > 0


def test_a_request_without_a_required_column(home: Path, warehouse: Warehouse) -> None:
    """What the table refuses leaves no mark either."""
    bad = Transaction("s", 1, [(None, *ROWS[0][1:])], mark=MARKED.mark)
    assert post(home, body(bad, warehouse))[0] == 400
    assert (warehouse.counts().rows, values(warehouse, "SELECT count(*) FROM REPLAYED")) == (0, [0])


def test_a_request_that_is_too_large_is_not_read(home: Path, warehouse: Warehouse) -> None:
    """Neither memory nor disk of the run is for whoever asks to fill."""
    status, fault = post(home, b"", 2**40)
    assert (status, "at most 1,073,741,824 bytes" in fault) == (400, True)
    assert warehouse.counts().rows == 0


def test_rows_and_rejects_come_over_whole(home: Path, warehouse: Warehouse) -> None:
    """Bytes in, the same values out."""
    left = [envelope(reject, 7) for reject in transform([message(b"\xff", 1)], TransformSettings()).rejects]
    with (home / "body").open("w+b") as file:
        file.write(body(Transaction("s", 3, ROWS, left, [(1, 2**64 - 1)], MARKED.mark), warehouse))
        about, transaction = wire.read(file, SPEC)
        assert about == str(warehouse.path.resolve())
        assert isinstance(transaction.rows, pa.Table)
        assert transaction.rows["instance"].to_pylist() == ["i-0", "i-1", "i-2"]
        assert transaction.rejects == reject_columns(left)
        assert (transaction.messages, list(transaction.replaced), transaction.mark) == (
            3,
            [(1, 2**64 - 1)],
            MARKED.mark,
        )
        del transaction


def test_one_replay_at_a_time(home: Path, warehouse: Warehouse) -> None:
    """A second one is refused; a dry run is not; and the end of the first frees the place."""
    with warehouse_owner(home, warehouse.path, dry=False):
        with (
            pytest.raises(UnreachableError, match="another replay is at work"),
            warehouse_owner(home, warehouse.path, dry=False),
        ):
            pass
        with warehouse_owner(home, warehouse.path, dry=True):
            pass
    with warehouse_owner(home, warehouse.path, dry=False):
        pass


def test_the_run_of_another_file_is_not_asked(home: Path) -> None:
    """The file that was named is opened."""
    with Warehouse.open(home / "other.duckdb", SPEC):
        pass
    with warehouse_owner(home, home / "other.duckdb", dry=False) as owner:
        assert owner.write(MARKED) > 0
    with Warehouse.open(home / "other.duckdb", SPEC, read_only=True) as other:
        assert other.counts().rows == 3


def test_a_run_that_ends_meanwhile(tmp_path: Path, warehouse: Warehouse) -> None:
    """It says so, and what to do."""
    with serving(tmp_path, warehouse, dict, replay=commit):
        kept = warehouse_owner(tmp_path, warehouse.path, dry=False)
        owner = kept.__enter__()
    for call in (lambda: owner.write(MARKED), lambda: owner.ask("SELECT 1")):
        with pytest.raises(UnreachableError, match=r"has ended in the meantime.*Run the same command again"):
            call()
    kept.__exit__(None, None, None)


def test_a_file_in_use_by_another(tmp_path: Path, warehouse: Warehouse) -> None:
    """Where the one who has it does not answer here, nothing is changed."""
    with (
        pytest.raises((UnreachableError, SettingsError), match=r"already open|in use"),
        warehouse_owner(tmp_path, warehouse.path, dry=False),
    ):
        pass

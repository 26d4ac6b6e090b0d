"""A replay into a warehouse that a run has: each failure once, whoever is killed and whatever is sent twice."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from lmdp.core.pipeline import TransformSettings, reject_whole, transform
from lmdp.core.rejects import envelope
from lmdp.errors import AlreadyReplayedError, LmdpError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import LARGEST_REPLAY, socket_path
from lmdp.machine.api.server import serving
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.marks import REJECTS, Rejects, asking
from lmdp.replay.owner import serve, warehouse_owner
from lmdp.replay.replay import Failures, Origin, Replayed, elsewhere, into_warehouse, replay_rejects
from lmdp.replay.retry import Outcome, Report, now
from lmdp.replay.stores import Folder
from new_warehouse import open_warehouse
from replay.failures import NOW, SPEC, How, files, message, reject_into, rejects, run, sent, taken, two, values
from running import bundle

INSTANCES = 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1'


@pytest.fixture
def home(tmp_path: Path, warehouse: Warehouse) -> Iterator[Path]:
    """The folder of a run that has the warehouse."""
    with serving(tmp_path, warehouse, dict, replay=serve):
        yield tmp_path


def of_folder(home: Path, path: Path, how: How) -> Report:
    """Replay the folder `rejects` through the run."""
    with warehouse_owner(home, path, how.settings) as (_, step):
        return taken(Folder.open(home / "rejects"), step, how)


def of_table(home: Path, path: Path, how: How, send: Any = None) -> Report:
    """Replay the run's own rejects."""
    report = Report()
    with warehouse_owner(home, path, how.settings) as (ask, step):
        there = partial(elsewhere, send, step, how.settings) if send else step
        replay_rejects(Rejects.of(ask), there, how.run, report)
    return report


def request(path: Path, content: bytes, **changes: object) -> bytes:
    """The body for an object, as `lmdp replay` sends it."""
    head = {"warehouse": str(path.resolve()), "orgId": "acme", "specification": "", "dryRun": False}
    origin = {"source": "s", "now_ms": NOW, "address": "a/b", "copies": [], "replaced": [], "tried": False}
    changed = {name: changes.pop(name) for name in origin.keys() & changes}
    return json.dumps({**head, **changes, "origin": {**origin, **changed}}).encode() + b"\n" + content


def an_object(*numbers: int) -> bytes:
    """An object of rejects."""
    done = transform([message(bundle(n), n) for n in numbers], TransformSettings()).rejects
    return b"".join(json.dumps(envelope(one, NOW)).encode() + b"\n" for one in done)


def send(home: Path, content: bytes, length: int | None = None) -> socket.socket:
    """A connection with this request on it."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(30)
    line.connect(str(socket_path(home)))
    size = len(content) if length is None else length
    line.sendall(b"POST /replay HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % size + content)
    return line


def post(home: Path, content: bytes, length: int | None = None) -> tuple[int, str]:
    """The status and the fault that these bytes get; the connection is closed behind them."""
    with send(home, content, length) as line:
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, fault = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), str(json.loads(fault).get("error"))


def test_a_folder_through_a_run(home: Path, warehouse: Warehouse) -> None:
    """As into a file that nobody has: counts, marks, what is moved, and nothing in a dry run."""
    rejects(home / "rejects", message(bundle(1), 5), message(b"no bundle", 6))
    (passing,) = rejects(home / "rejects", message(bundle(2), 7))
    before = files(home / "rejects")
    dry = of_folder(home, warehouse.path, run(dry=True))
    assert (files(home / "rejects"), values(warehouse, INSTANCES)) == (before, [])
    wet = of_folder(home, warehouse.path, run())
    assert dry.counts == wet.counts
    assert (wet.counts.rows, wet.replayed, dict(wet.reasons)) == (2, 2, {"Decode.Malformed": 1})
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-1", "i-2"], 0)
    assert values(warehouse, "SELECT DISTINCT TOPIC FROM LOADS") == [f"{home / 'rejects'}/"]
    (left,) = [name for name in files(home / "rejects") if not name.startswith("replayed/")]
    assert len(gzip.decompress((home / "rejects" / left).read_bytes()).splitlines()) == 1
    assert not passing.exists()
    assert of_folder(home, warehouse.path, run()).counts.rows == 0


def test_copies_are_known_to_both(home: Path, warehouse: Warehouse) -> None:
    """What is in the folder's `replayed/` the command knows, and what the warehouse has had, the run."""
    rejects(home / "rejects", message(bundle(1), 5), message(bundle(2), 6))
    sent(Folder.open(home / "rejects"), lambda _outcome: 0, run())
    rejects(home / "rejects", message(bundle(2), 6), message(bundle(3), 7))
    assert of_folder(home, warehouse.path, run()).repeats == 1
    rejects(home / "elsewhere", message(bundle(3), 7), message(bundle(4), 8))
    how = run()
    with warehouse_owner(home, warehouse.path, how.settings) as (_, step):
        assert taken(Folder.open(home / "elsewhere"), step, how).repeats == 1
    assert values(warehouse, INSTANCES) == ["i-3", "i-4"]


def test_the_runs_own_rejects(home: Path, warehouse: Warehouse) -> None:
    """They leave REJECTS with their rows, a page at a time, while the run writes others alongside."""
    reject_into(warehouse, *(two(2 * n) for n in range(300)), b"no bundle")
    (newer,) = transform([message(b"new", 7)], TransformSettings()).rejects
    load = Load([], [envelope(newer, now() + 60_000)], [], datetime.now(UTC))

    def report(done: int, _total: int) -> None:
        if not done:
            warehouse.commit(load)

    dry = of_table(home, warehouse.path, run(dry=True))
    totals = warehouse.tally.exact()
    assert (dry.counts.rows, totals.rows, totals.rejects.total()) == (300, 300, 301)
    wet = of_table(home, warehouse.path, run(on_progress=report))
    assert (wet.counts.messages, wet.counts.rows) == (301, 300)
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total(), warehouse.duplicates()) == (600, 2, 0)
    assert values(warehouse, "SELECT sum(REJECTS) FROM LOADS") == [1]


def test_the_runs_own_rejects_to_another_sink(home: Path, warehouse: Warehouse) -> None:
    """They leave REJECTS and make no rows there; what failed again stays, one attempt later."""
    reject_into(warehouse, bundle(1), b"no bundle")
    outcomes: list[Outcome] = []

    def to(outcome: Outcome) -> int:
        outcomes.append(outcome)
        return 7

    report = of_table(home, warehouse.path, run(), to)
    assert ([len(outcome.rows) for outcome in outcomes], report.bytes_out) == ([1], 7)
    assert (warehouse.tally.exact().rows, warehouse.duplicates()) == (0, 0)
    assert values(warehouse, "SELECT ERROR_CODE FROM REJECTS") == ["Decode.Malformed"]
    assert values(warehouse, "SELECT ATTEMPTS_MADE FROM REJECTS") == [2]


def test_what_is_sent_twice_is_written_once(home: Path, warehouse: Warehouse) -> None:
    """An object has its mark the second time, also when both are sent at once; rejects that were replaced are gone."""
    body = request(warehouse.path, an_object(1, 2, 3))
    answers: list[dict[str, Any]] = []
    both = [
        threading.Thread(target=lambda: answers.append(json.loads(client.replay(home, body).splitlines()[0])))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted(answer["report"]["counts"]["rows"] for answer in answers) == [0, 3]
    assert [answer["changed"] for answer in answers] == [True, True]
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-1", "i-2", "i-3"], 0)
    reject_into(warehouse, bundle(4), bundle(5))
    ids = list(Rejects.of(asking(warehouse)).page())
    page = request(warehouse.path, an_object(4, 5), address="", replaced=ids)
    client.replay(home, page)
    with pytest.raises(AlreadyReplayedError, match="removed or moved"):
        client.replay(home, page)
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total(), warehouse.duplicates()) == (5, 0, 0)


def test_rejects_that_are_others_by_now_stay(home: Path, warehouse: Warehouse) -> None:
    """A row's number alone proves nothing: what is there must be what was replayed, all of it or none."""
    reject_into(warehouse, bundle(1), bundle(2))
    first, second = Rejects.of(asking(warehouse)).page()
    for wrong in ([first, (second[0], second[1] ^ 1)], [first, (second[0] + 1, second[1])], [(second[0], first[1])]):
        with pytest.raises(AlreadyReplayedError):
            client.replay(home, request(warehouse.path, an_object(*range(len(wrong))), address="", replaced=wrong))
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total()) == (0, 2)


def test_rejects_that_change_meanwhile_are_read_again(warehouse: Warehouse) -> None:
    """A removal between the read of a page and its transaction leaves the others, which are then replayed."""
    reject_into(warehouse, bundle(1), bundle(2), bundle(3))
    how, report, calls = run(), Report(), []

    def step(failures: Failures) -> Replayed:
        calls.append(len(failures.pieces))
        if len(calls) == 1:
            into_warehouse(
                warehouse, how.settings, Failures(Origin(REJECTS, NOW, replaced=[gone]), failures.pieces[:1])
            )
        return into_warehouse(warehouse, how.settings, failures)

    found = Rejects.of(asking(warehouse))
    gone = next(iter(found.page()))
    replay_rejects(found, step, how.run, report)
    totals = warehouse.tally.exact()
    assert (calls, values(warehouse, INSTANCES), totals.rejects.total()) == ([3, 2], ["i-1", "i-2", "i-3"], 0)


def test_an_answer_that_was_lost(home: Path, warehouse: Warehouse) -> None:
    """A replay that was killed behind its request finds the object's mark the next time, and what had been left."""
    (path,) = rejects(home / "rejects", message(two(1), 5))
    content = path.read_bytes()
    send(home, request(warehouse.path, content)).close()
    # Steps are taken one after the other, so that this one comes behind it or finds nothing yet: both write it once.
    report = of_folder(home, warehouse.path, run())
    assert (report.replayed, path.exists()) == (1, False)
    assert (values(warehouse, INSTANCES), warehouse.duplicates()) == (["i-2"], 0)


def test_what_was_left_is_left_again(home: Path, warehouse: Warehouse) -> None:
    """After a crash before the move, the object's mark says what remains of it."""
    (path,) = rejects(home / "rejects", message(bundle(1), 5), message(b"no bundle", 6))
    client.replay(home, request(warehouse.path, path.read_bytes()))
    report = of_folder(home, warehouse.path, run())
    assert (report.replayed, report.counts.rows) == (1, 0)
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 1
    assert values(warehouse, INSTANCES) == ["i-1"]


@pytest.mark.parametrize("length", [0, 4, 8, 40, 300, -9])
def test_a_request_that_is_cut_changes_nothing(home: Path, warehouse: Warehouse, length: int) -> None:
    """A client that leaves before its body is complete has asked for nothing."""
    whole = request(warehouse.path, an_object(1))
    send(home, whole[:length], len(whole)).close()
    assert post(home, b"no request")[0] == 400  # it waits for the end of the one before
    assert (warehouse.tally.exact().rows, values(warehouse, "SELECT count(*) FROM REPLAYED")) == (0, [0])


@pytest.mark.parametrize(
    ("changes", "status", "fault"),
    [
        ({"warehouse": "/another.duckdb"}, 421, "this run has"),
        ({"specification": "# no page"}, 400, "fields"),
        ({"more": 1}, 400, "not a request of a replay"),
        ({"copies": None}, 400, "not a request of a replay"),
        ({"replaced": [[1]]}, 400, "not a request of a replay"),
        ({"replaced": [[1, 2], [3, 4]], "address": ""}, 400, "not a request of a replay"),
    ],
)
def test_a_request_that_is_wrong_changes_nothing(
    home: Path, warehouse: Warehouse, changes: dict[str, Any], status: int, fault: str
) -> None:
    """A fault in words, no row, no mark; the next one is written."""
    found = post(home, request(warehouse.path, an_object(1), **changes))
    assert (found[0], fault in found[1]) == (status, True), found
    assert (warehouse.tally.exact().rows, values(warehouse, "SELECT count(*) FROM REPLAYED")) == (0, [0])
    client.replay(home, request(warehouse.path, an_object(1)))
    assert warehouse.tally.exact().rows == 1


@pytest.mark.parametrize("body", [b"", b"\x00" * 500, b"\x00" * 7 + b"\x20" + b"\x86\xa9warehouse\n"])
def test_a_transaction_of_an_earlier_version_changes_nothing(home: Path, warehouse: Warehouse, body: bytes) -> None:
    """It names the fault: the versions differ."""
    status, fault = post(home, body)
    assert (status, "Use one version" in fault) == (400, True)
    assert warehouse.tally.exact().rows == 0


def test_a_run_of_an_earlier_version(tmp_path: Path, warehouse: Warehouse) -> None:
    """It does not know the request, so the command says what to do, and changes nothing."""

    def earlier(_warehouse: Warehouse, _body: bytes) -> list[bytes]:
        raise SettingsError("this is no transaction of a replay: Input data was truncated. Nothing was changed.")

    (path,) = rejects(tmp_path / "rejects", message(bundle(1), 5))
    with (
        serving(tmp_path, warehouse, dict, replay=earlier),
        pytest.raises(SettingsError, match=r"of an earlier version.*Restart the run"),
    ):
        of_folder(tmp_path, warehouse.path, run())
    assert path.exists()


def test_the_specification_is_the_commands(home: Path, warehouse: Warehouse) -> None:
    """Its sources make the rows; with other columns than the run's nothing is replayed."""
    page = resources.files("lmdp").joinpath("kafka_ingest_spec.md").read_text("utf-8")
    (one,) = reject_whole([message(bundle(1, tenant="x"), 1)], "Decode.Malformed", "why").rejects
    content = json.dumps(envelope(one, NOW)).encode()
    other = page.replace('name = "deviceName"', 'name = "host"')
    status, fault = post(home, request(warehouse.path, content, specification=other))
    assert (status, "different columns" in fault, warehouse.tally.exact().rows) == (400, True, 0)
    same = page.replace('"move resource orgId"', '"move resource tenant"')
    client.replay(home, request(warehouse.path, content, specification=same))
    assert values(warehouse, 'SELECT "orgId" FROM ROW_EVENTS') == ["acme"]


def test_an_object_that_is_too_large_for_a_run(home: Path, warehouse: Warehouse) -> None:
    """Neither memory nor disk of the run is for whoever asks to fill; without a run it is replayed."""
    status, fault = post(home, b"", 2**40)
    assert (status, "at most 268,435,456 bytes" in fault) == (413, True)
    with gzip.open(home / "bomb", "wb", compresslevel=1) as file:
        for _ in range(LARGEST_REPLAY // 2**20 + 1):
            file.write(b" " * 2**20)
    with pytest.raises(LmdpError, match=r"it has more than 128 MiB.*Stop the run"):
        client.replay(home, request(warehouse.path, (home / "bomb").read_bytes()))
    assert warehouse.tally.exact().rows == 0


def test_one_replay_at_a_time(home: Path, warehouse: Warehouse) -> None:
    """A second one is refused; a dry run is not; and the end of the first frees the place."""
    with warehouse_owner(home, warehouse.path, run().settings):
        with (
            pytest.raises(UnreachableError, match="another replay is at work"),
            warehouse_owner(home, warehouse.path, run().settings),
        ):
            pass
        with warehouse_owner(home, warehouse.path, run(dry=True).settings):
            pass
    with warehouse_owner(home, warehouse.path, run().settings):
        pass


def test_the_run_of_another_file_is_not_asked(home: Path) -> None:
    """The file that was named is opened."""
    rejects(home / "rejects", message(bundle(1), 5))
    with open_warehouse(home / "other.duckdb"):
        pass
    assert of_folder(home, home / "other.duckdb", run()).counts.rows == 1
    with Warehouse.open(home / "other.duckdb", SPEC, read_only=True) as other:
        assert other.tally.exact().rows == 1


def test_a_run_that_ends_meanwhile(tmp_path: Path, warehouse: Warehouse) -> None:
    """It says so, and what to do."""
    with serving(tmp_path, warehouse, dict, replay=serve):
        kept = warehouse_owner(tmp_path, warehouse.path, run().settings)
        ask, step = kept.__enter__()
    for call in (lambda: step(Failures(Origin("s", NOW), [])), lambda: ask("SELECT 1")):
        with pytest.raises(UnreachableError, match=r"has ended in the meantime.*Run the same command again"):
            call()
    kept.__exit__(None, None, None)


def test_a_file_in_use_by_another(tmp_path: Path, warehouse: Warehouse) -> None:
    """Where the one who has it does not answer here, nothing is changed."""
    with (
        pytest.raises((UnreachableError, SettingsError), match=r"already open|in use"),
        warehouse_owner(tmp_path, warehouse.path, run().settings),
    ):
        pass

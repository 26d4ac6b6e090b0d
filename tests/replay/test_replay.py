"""A folder into the warehouse: each failure once, whatever ends the replay, and what is left stays."""

from __future__ import annotations

import base64
import gzip
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lmdp.core.rejects import envelope
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.marks import Rejects, asking
from lmdp.replay.replay import into_warehouse, replay_rejects
from lmdp.replay.retry import Report, now
from lmdp.replay.stores import Folder, Stored
from lmdp.support.reject_files import write_to_folder
from replay.failures import (
    NOW,
    files,
    firehose_record,
    lines,
    message,
    of_tenant,
    reject_into,
    rejects,
    replayed,
    replayed_rejects,
    row_json,
    run,
    sent,
    taken,
    two,
    values,
)
from running import bundle

INSTANCES = 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the rejects are."""
    return tmp_path / "rejects"


def test_all_of_a_folder(folder: Path, warehouse: Warehouse) -> None:
    """What is mended becomes rows, is moved to `replayed/`, and is not taken again; LOADS adds up."""
    rejects(folder, message(bundle(1), 5), message(bundle(2), 6), message(bundle(3), 7, partition=1))
    for expected in (3, 0):
        report = replayed(Folder.open(folder), warehouse, run())
        assert (report.counts.messages, report.counts.rows, report.counts.rejected_messages) == (expected, expected, 0)
        assert values(warehouse, INSTANCES) == ["i-1", "i-2", "i-3"]
    assert [name.split("/")[0] for name in files(folder)] == ["replayed", "replayed"]
    assert warehouse.duplicates() == 0
    assert values(warehouse, "SELECT sum(ROWS) FROM LOADS WHERE CLUSTER = 'replay'") == [3]


def test_what_fails_again_stays_cut_down(folder: Path, warehouse: Warehouse) -> None:
    """A message that passes in part leaves the other part, one attempt later and as old as it was; then that passes."""
    raw = json.loads(two(1))
    raw["resourceMetrics"][0]["resource"]["attributes"].pop()  # now neither has a tenant
    (path,) = rejects(folder, message(json.dumps(raw).encode(), 5), message(b"no bundle", 6))
    first = lines(path)
    first[0]["rawData"] = base64.b64encode(two(1)).decode()  # the sender mended one of them
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, first)).encode()))
    report = replayed(Folder.open(folder), warehouse, run(None))
    assert (report.counts.rows, dict(report.reasons)) == (1, {"Row.MissingField": 1, "Decode.Malformed": 1})
    assert values(warehouse, INSTANCES) == ["i-1"]
    left = lines(path)
    assert [entry["errorCode"] for entry in left] == ["Row.MissingField", "Decode.Malformed"]
    assert [(entry["attemptsMade"], entry["arrivalTimestamp"]) for entry in left] == [(2, NOW), (2, NOW)]
    assert left[0]["source"] == first[0]["source"]
    assert left[1]["rawData"] == first[1]["rawData"]
    assert len(files(folder)) == 2

    assert replayed(Folder.open(folder), warehouse, run()).counts.rows == 1
    assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert [entry["attemptsMade"] for entry in lines(path)] == [3]
    before = path.read_bytes()
    assert replayed(Folder.open(folder), warehouse, run()).replayed == 0
    assert path.read_bytes() == before
    assert warehouse.duplicates() == 0


def test_a_dry_run_says_the_same_and_changes_nothing(folder: Path, warehouse: Warehouse) -> None:
    """The counts of a dry run are those of the run after it."""
    rejects(folder, message(bundle(1), 5), message(b"no bundle", 6))
    rejects(folder, message(bundle(1), 5))
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    dry = replayed(Folder.open(folder), warehouse, run(dry=True))
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert values(warehouse, INSTANCES) == []
    wet = replayed(Folder.open(folder), warehouse, run())
    assert (dry.counts, dry.repeats, dry.reasons) == (wet.counts, wet.repeats, wet.reasons)
    assert (dry.counts.rows, dry.repeats) == (1, 1)


@pytest.mark.parametrize("again", [False, True])
def test_a_batch_that_was_cut_differently(folder: Path, warehouse: Warehouse, again: bool) -> None:
    """A message that is in two objects becomes rows once, in one run or in two."""
    a, b, c = message(bundle(1), 5), message(bundle(2), 6), message(bundle(3), 7)
    rejects(folder, a, b)
    if again:
        replayed(Folder.open(folder), warehouse, run())
    rejects(folder, b, c)
    report = replayed(Folder.open(folder), warehouse, run())
    assert report.repeats == 1
    assert values(warehouse, INSTANCES) == ["i-1", "i-2", "i-3"]
    assert [name for name in files(folder) if not name.startswith("replayed/")] == []


def test_a_copy_of_what_still_fails_is_not_thrown_away(folder: Path, warehouse: Warehouse) -> None:
    """Copies of a message that fails are left, all of them; mended, it becomes rows once."""
    bad, good = message(bundle(1), 5), message(bundle(2, tenant="x"), 6)
    rejects(folder, bad)
    (path,) = rejects(folder, bad, message(b"no bundle", 6))
    assert replayed(Folder.open(folder), warehouse, run(None)).replayed == 0
    assert len(files(folder)) == 2
    found = lines(path)
    found[1]["rawData"] = base64.b64encode(good.value or b"").decode()
    path.write_text("\n".join(map(json.dumps, found)))
    assert replayed(Folder.open(folder), warehouse, run(None)).counts.rows == 1
    assert sum(len(lines(folder / name)) for name in files(folder) if not name.startswith("replayed/")) == 2
    for _ in range(2):
        replayed(Folder.open(folder), warehouse, run())
        assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert [name for name in files(folder) if not name.startswith("replayed/")] == []


def test_copies_in_one_object(folder: Path, warehouse: Warehouse) -> None:
    """Objects that somebody put together hold a failure once; rejects of unknown place are all seen."""
    (path,) = rejects(folder, message(bundle(1), 5), message(b"no bundle", 6))
    path.write_bytes(2 * path.read_bytes())
    rejects(folder, message(bundle(2), -1), message(bundle(2), -1))
    report = replayed(Folder.open(folder), warehouse, run())
    assert (report.counts.rows, report.repeats) == (3, 2)
    assert values(warehouse, INSTANCES) == ["i-1", "i-2", "i-2"]
    assert len(lines(path)) == 1


def test_firehoses_records(folder: Path, warehouse: Warehouse) -> None:
    """Rows that Firehose could not deliver, without a line end between them, go into the warehouse as they are."""
    folder.mkdir()
    upper = {name.upper(): value for name, value in row_json(2).items()}
    records = [firehose_record(json.dumps(row).encode()) for row in (row_json(1), upper, {"orgId": "acme"})]
    (folder / "failed").write_text("".join(map(json.dumps, records)))
    report = replayed(Folder.open(folder), warehouse, run())
    assert (report.counts.messages, report.counts.rows, dict(report.reasons)) == (3, 2, {"Row.Invalid": 1})
    assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert [entry["attemptsMade"] for entry in lines(folder / "failed")] == [2]
    with pytest.raises(SettingsError, match="a topic carries bundles"):
        replayed(Folder.open(folder), warehouse, run(whole=True))


class CrashError(Exception):
    """The end of a process."""


@dataclass(frozen=True)
class Crashing(Folder):
    """A folder whose replay ends before an object is moved, or after its copy and before its replacement."""

    after_link: bool = False

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:  # noqa: ARG002 - as in Folder
        """End."""
        if self.after_link:
            (self.root / to).parent.mkdir(parents=True, exist_ok=True)
            os.link(self.root / name, self.root / to)
        raise CrashError


@pytest.mark.parametrize("after_link", [False, True])
@pytest.mark.parametrize("mended", [False, True])
def test_a_crash_before_the_move_doubles_nothing(
    folder: Path, warehouse: Warehouse, after_link: bool, mended: bool
) -> None:
    """The rows are in, and the file still there: the next run moves it, and leaves what had been left then."""
    (path,) = rejects(folder, message(bundle(1), 5), message(b"no bundle", 6))
    found = lines(path)
    found[0]["rawData"] = base64.b64encode(two(1)).decode()
    path.write_text("\n".join(map(json.dumps, found)))
    with pytest.raises(CrashError):
        replayed(Crashing(folder.resolve(), after_link), warehouse, run(None))
    assert values(warehouse, INSTANCES) == ["i-1"]
    # The settings may be others by now; what had passed then does not pass twice.
    report = replayed(Folder.open(folder), warehouse, run("acme" if mended else None))
    assert report.counts.rows == 0
    assert (report.replayed, values(warehouse, INSTANCES)) == (1, ["i-1"])
    assert [entry["errorCode"] for entry in lines(path)] == ["Row.MissingField", "Decode.Malformed"]
    replayed(Folder.open(folder), warehouse, run())
    assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert warehouse.duplicates() == 0


def test_a_copy_of_the_folder_is_known(folder: Path, tmp_path: Path, warehouse: Warehouse) -> None:
    """The same object from another place (unpacked, under another name) is not replayed into the same warehouse."""
    (path,) = rejects(folder, message(bundle(1), 5))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "x").write_bytes(gzip.decompress(path.read_bytes()))
    replayed(Folder.open(folder), warehouse, run())
    report = replayed(Folder.open(tmp_path / "copy"), warehouse, run())
    assert (report.replayed, report.counts.rows, values(warehouse, INSTANCES)) == (1, 0, ["i-1"])


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("name", ["all.ndjson", "aaa.ndjson.gz", "lm.metrics.otlp-0-5-6.ndjson"])
def test_copies_under_any_name_are_known(
    folder: Path, tmp_path: Path, warehouse: Warehouse, name: str, where: str
) -> None:
    """The lines of replayed objects, put together under another name with one more, make that one's rows alone."""
    first = rejects(folder, message(bundle(1), 5), message(bundle(2), 6)) + rejects(folder, message(bundle(3), 9))
    found = [line for path in first for line in lines(path)]
    replayed(Folder.open(folder), warehouse, run())
    (other,) = rejects(tmp_path / "other", message(bundle(4), 10))
    target = {"here": folder, "elsewhere": tmp_path / "elsewhere"}[where]
    target.mkdir(exist_ok=True)
    content = "\n".join(map(json.dumps, found + lines(other))).encode() + b"\n\n"
    (target / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    report = replayed(Folder.open(target), warehouse, run())
    assert (report.counts.rows, report.repeats) == (1, 3)
    assert values(warehouse, INSTANCES) == ["i-1", "i-2", "i-3", "i-4"]


@pytest.mark.parametrize("table_first", [True, False])
def test_rejects_in_a_folder_and_in_the_table_are_copies(folder: Path, warehouse: Warehouse, table_first: bool) -> None:
    """`run --rejects` writes each reject to both; replaying both makes each row once, also after a failed attempt."""
    rejects(folder, message(bundle(1), 0), message(bundle(2), 1))
    reject_into(warehouse, bundle(1), bundle(2))
    replayed_rejects(warehouse, run(None))  # fails again: the table's count one attempt more
    for of_table in (table_first, not table_first):
        if of_table:
            replayed_rejects(warehouse, run())
        else:
            replayed(Folder.open(folder), warehouse, run())
        assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert (warehouse.tally.exact().rejects.total(), warehouse.duplicates()) == (0, 0)


def test_stopped_and_gone_on(folder: Path, warehouse: Warehouse) -> None:
    """A replay that is stopped between objects goes on where it was."""
    for n in range(4):
        rejects(folder, message(bundle(n), n))
    assert replayed(Folder.open(folder), warehouse, run(stop_after=2)).replayed == 2
    assert replayed(Folder.open(folder), warehouse, run()).replayed == 2
    assert values(warehouse, INSTANCES) == [f"i-{n}" for n in range(4)]


def test_what_is_no_object_of_failures(folder: Path, warehouse: Warehouse) -> None:
    """Other files are named and left as they are; pieces that are no failures stay in their object."""
    folder.mkdir()
    (folder / "readme.txt").write_text("hello")
    (folder / "half.gz").write_bytes(gzip.compress(b"x" * 100)[:-4])
    (folder / ".hidden").write_text("hidden")
    (folder / "mixed").write_text(json.dumps(firehose_record(json.dumps(row_json(1)).encode())) + "\nodd\n")
    os.mkfifo(folder / "pipe")
    report = replayed(Folder.open(folder), warehouse, run())
    assert {name: why.split(":")[0] for name, why in report.skipped.items()} == {
        "readme.txt": "there are no rejects in it",
        "half.gz": "its gzip is damaged or was cut short",
        "pipe": "it is not a file",
    }
    assert (report.unread, (folder / "mixed").read_text()) == (1, "odd\n")


def test_links_are_not_followed(folder: Path, tmp_path: Path, warehouse: Warehouse) -> None:
    """Neither a linked file nor a linked folder is read or moved, and nothing is moved through a link."""
    outside = tmp_path / "outside"
    (path,) = rejects(outside, message(bundle(1), 5))
    rejects(folder, message(bundle(2), 6))
    (folder / "file").symlink_to(path)
    (folder / "folder").symlink_to(outside)
    (folder / "replayed").symlink_to(outside)
    with pytest.raises(UnreachableError, match="replayed is a link"):
        replayed(Folder.open(folder), warehouse, run())
    assert files(outside) == [path.relative_to(outside).as_posix()]
    (folder / "replayed").unlink()
    replayed(Folder.open(folder), warehouse, run())
    assert values(warehouse, INSTANCES) == ["i-2"]
    assert files(outside) == [path.relative_to(outside).as_posix()]


def test_a_file_that_changes_meanwhile_is_left(folder: Path, warehouse: Warehouse) -> None:
    """What another process wrote while it was replayed is not moved away unread."""
    (path,) = rejects(folder, message(bundle(1), 5))

    class Changing(Folder):
        def read(self, name: str) -> Stored:
            stored = super().read(name)
            path.write_text("newer")
            return stored

    report = replayed(Changing(folder.resolve()), warehouse, run())
    assert list(report.skipped.values()) == ["it changed while it was replayed; the next replay reads it again"]
    assert path.read_text() == "newer"


def test_what_was_replayed_is_no_source(folder: Path, tmp_path: Path) -> None:
    """The folder of what is done with, a file, and nothing at all are refused."""
    (folder / "replayed" / "x").mkdir(parents=True)
    (tmp_path / "file").touch()
    for path, text in ((folder / "replayed" / "x", "replayed before"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(SettingsError, match=text):
            Folder.open(path)


def test_an_error_names_the_object(folder: Path, warehouse: Warehouse) -> None:
    """A sink that fails leaves the object, and says at which one it was."""
    rejects(folder, message(bundle(1), 5))

    def refuse(_outcome: Any) -> int:
        raise UnreachableError("the sink is away.")

    with pytest.raises(UnreachableError, match=r"lm\.metrics\.otlp-0-5-5\.[0-9a-f]{16}\.ndjson\.gz: the sink is away"):
        sent(Folder.open(folder), refuse, run())
    assert not any(name.startswith("replayed") for name in files(folder))


# the warehouse's own rejects


def test_the_warehouses_rejects(warehouse: Warehouse) -> None:
    """What passes leaves REJECTS with its rows in one transaction; what fails again stays; LOADS adds up."""
    reject_into(warehouse, *(two(2 * n) for n in range(600)), b"no bundle")
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total()) == (600, 601)
    dry = replayed_rejects(warehouse, run(dry=True))
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total()) == (600, 601)
    wet = replayed_rejects(warehouse, run())
    assert dry.counts == wet.counts
    assert (wet.counts.messages, wet.counts.rows, dict(wet.reasons)) == (601, 600, {"Decode.Malformed": 1})
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total(), warehouse.duplicates()) == (1200, 1, 0)
    assert values(warehouse, 'SELECT count(DISTINCT "instance") FROM ROW_EVENTS') == [1200]
    assert values(warehouse, "SELECT sum(REJECTS) FROM LOADS") == [1]
    assert values(warehouse, "SELECT ATTEMPTS_MADE FROM REJECTS") == [2]
    assert values(warehouse, "SELECT epoch_ms(ARRIVAL_TIMESTAMP) FROM REJECTS") == [NOW]
    again = replayed_rejects(warehouse, run())
    assert (again.counts.messages, warehouse.tally.exact().rows) == (1, 1200)


@pytest.mark.parametrize("is_table", [False, True])
def test_a_whole_message_keeps_the_tenant_of_its_header(folder: Path, warehouse: Warehouse, is_table: bool) -> None:
    """Before what the message says, and before the tenant of the replay; from a folder and from the table."""
    stored = [of_tenant("acme", 1), of_tenant("", 2)]
    if is_table:
        envelopes = [envelope(reject, NOW) for reject in stored]
        part = OffsetRange("c", "id", "t", 0, 0, 2, 0, 2)
        warehouse.commit(Load([], envelopes, [part], datetime.now(UTC)))
        replayed_rejects(warehouse, run("replay"))
    else:
        write_to_folder(folder, stored, NOW)
        replayed(Folder.open(folder), warehouse, run("replay"))
    assert values(warehouse, 'SELECT "orgId" FROM ROW_EVENTS ORDER BY "instance"') == ["acme", "another's"]


def test_large_rejects_come_in_small_pages(warehouse: Warehouse) -> None:
    """A page has so many bytes at most, or one reject; all of them are tried once."""
    reject_into(warehouse, *(bundle(n) for n in range(20)), b"x" * 5_000, bundle(20))
    found = Rejects(asking(warehouse), now(), page_bytes=3_000)
    assert 1 < len(found.page()) < 10
    assert [len(found.page(number)) for number in (18, 19, 20, 21)] == [1, 1, 1, 0]
    report, how = Report(), run()
    replay_rejects(found, partial(into_warehouse, warehouse, how.settings), how.run, report)
    assert (report.counts.messages, report.counts.rows, warehouse.tally.exact().rejects.total()) == (22, 21, 1)


@pytest.mark.parametrize("dry", [True, False])
def test_a_step_makes_so_many_rows(folder: Path, warehouse: Warehouse, dry: bool) -> None:
    """A page ends where its rows are too many, and the next one continues; an object is refused whole."""
    reject_into(warehouse, *(bundle(n) for n in range(5)))
    report, how = Report(), run(dry=dry)
    step = partial(into_warehouse, warehouse, replace(how.settings, most_size=1))
    replay_rejects(Rejects.of(asking(warehouse)), step, how.run, report)
    assert (report.counts.messages, report.counts.rows) == (5, 5)
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total()) == ((0, 5) if dry else (5, 0))
    rejects(folder, message(bundle(8), 8), message(bundle(9), 9))
    with pytest.raises(LmdpError, match="more rows than a run takes at once"):
        taken(Folder.open(folder), step, how)
    assert len(files(folder)) == 1


def test_the_clock_went_back(warehouse: Warehouse) -> None:
    """Rejects that were stamped in what is now the future are tried once each, too."""
    reject_into(warehouse, bundle(1), b"no bundle", now_ms=NOW + 10**12)
    report = replayed_rejects(warehouse, run())
    assert (report.counts.messages, warehouse.tally.exact().rejects.total()) == (2, 1)


def test_a_sink_that_fails_leaves_the_rejects(warehouse: Warehouse) -> None:
    """What could not be sent stays in REJECTS; what could, leaves it, and makes no rows here."""
    reject_into(warehouse, bundle(1), b"no bundle")

    def refuse(_outcome: Any) -> int:
        raise LmdpError("away")

    with pytest.raises(LmdpError, match="away"):
        replayed_rejects(warehouse, run(), refuse)
    assert warehouse.tally.exact().rejects.total() == 2
    replayed_rejects(warehouse, run(), lambda outcome: len(outcome.rows))
    totals = warehouse.tally.exact()
    assert (totals.rows, totals.rejects.total(), warehouse.duplicates()) == (0, 1, 0)

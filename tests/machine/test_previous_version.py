"""What version 186e204 wrote, opened and continued: a warehouse, a folder of rejects, what was replayed, a `.env`.

The fixture was written by that version's own code: three rows, two rejects (one for want of a tenant) and a gap on
`topic`; two files of rejects on `other`, of which its `lmdp replay rejects --org-id acme` has replayed the first.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.testing.pipeline import write
from running import bundle, call, rows

FIXTURE = Path(__file__).parents[1] / "fixtures" / "previous" / "186e204.tar.xz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working folder that it left."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "env").rename(tmp_path / ".env")
    (tmp_path / "home").chmod(0o700)
    return tmp_path


def instances(folder: Path) -> list[str]:
    """Each row's instance, sorted."""
    return sorted(row["i"] for row in rows(folder / "home", 'select "instance" as i from row_events'))


def test_the_status_reads_a_file_of_older_tables(folder: Path) -> None:
    """Nothing is migrated by who only looks; the settings come from the `.env`."""
    before = (folder / "home" / "warehouse.duckdb").read_bytes()
    status = json.loads(call("status", "--json", folder=folder).out)
    assert (status["rows"], status["rejects"], status["gaps"], status["duplicates"]) == (4, 2, 10, 0)
    assert status["rejectsByReason"] == {"Decode.Malformed": 1, "Row.MissingField": 1}
    assert (folder / "home" / "warehouse.duckdb").read_bytes() == before


def test_the_pipeline_resumes_from_its_offsets(folder: Path) -> None:
    """Behind the last row and the gap, with the leader's epoch; old and new rows add up."""
    with Warehouse.open(folder / "home" / "warehouse.duckdb", load_spec()) as warehouse:
        assert warehouse.offsets("cluster", "id", "topic") == {0: 5, 1: 50}
        assert warehouse.epochs("cluster", "id", "topic") == {0: 0, 1: -1}
        messages = [Message(bundle(number), "topic", 0, number) for number in (5, 6)]
        write(warehouse, messages, TransformSettings(org_id="acme"), epoch=2)
        assert warehouse.offsets("cluster", "id", "topic") == {0: 7, 1: 50}
        assert (warehouse.tally.exact().rows, warehouse.duplicates(), warehouse.tally.exact().gaps) == (6, 0, 10)
        assert warehouse.tally.count().missing == 0
    assert instances(folder) == [f"i-{number}" for number in (0, 1, 2, 5, 6, 7)]


def test_its_rejects_are_replayed_once(folder: Path) -> None:
    """Those of the warehouse and of the folder, with the tenant of the `.env`; never what it had replayed itself."""
    assert "1 would fail again" in call("replay", "warehouse", "--dry-run", folder=folder).out  # of the file as it is
    assert "1 failed again" in call("replay", "warehouse", folder=folder).out  # the malformed one
    assert call("replay", "rejects", folder=folder).code == 0
    wanted = [f"i-{number}" for number in (0, 1, 2, 4, 7, 8)]
    assert instances(folder) == wanted
    for moved in (folder / "rejects" / "replayed").rglob("*.gz"):
        moved.rename(folder / "rejects" / moved.name)
    assert call("replay", "rejects", folder=folder).code == 0
    assert instances(folder) == wanted

"""When rejects are a fault: one verdict for the run, its status, its page, `flatten` and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmdp.core.pipeline import Counts
from lmdp.core.rejects import Reject
from lmdp.support.program import program
from lmdp.support.reject_share import RejectShare, replay_command, warning
from running import bundle, call

NO_TENANT = "orgId: not in resource attributes and LMDP_ORG_ID is not set"


@pytest.mark.parametrize(
    ("tally", "shown"),
    [
        (RejectShare(), ""),
        (RejectShare(messages=9, rows=90, datapoints=90), ""),
        (RejectShare(messages=5, datapoints=0), ""),
        (
            RejectShare(messages=1000, rows=999, rejected=1, datapoints=1000, rejected_datapoints=1, without_tenant=1),
            "",
        ),
        (RejectShare(messages=2, rows=5, rejected=1, datapoints=5, unreadable=1), ""),
        (RejectShare(3, 0, 3, 3, 3, 0, 3), "All 3 messages rejected: no tenant. SET"),
        (RejectShare(1, 0, 1, 3, 3, 0, 1), "1 of 1 messages rejected: no tenant. SET"),
        (
            RejectShare(75_806, 0, 75_629, 9, 9, 0, 75_629),
            "75,629 of 75,806 messages rejected, no rows made: no tenant. SET",
        ),
        (RejectShare(3, 0, 3, 0, 0, 3, 0), "All 3 messages rejected. The first reject: FIRST. LOOK"),
        (
            RejectShare(10, 4, 6, 4, 0, 6, 0),
            "6 of 10 messages rejected, whole or in part. The first reject: FIRST. LOOK",
        ),
        (RejectShare(4, 40, 4, 90, 50, 0, 3), "4 of 4 messages rejected, whole or in part: no tenant. SET"),
    ],
)
def test_a_share_of_rejects_is_a_fault(tally: RejectShare, shown: str) -> None:
    """No rows and any reject, or more than half unreadable messages or datapoints without rows."""
    assert warning(tally, "FIRST", no_tenant="SET", otherwise="LOOK") == shown


def test_a_batch_is_counted() -> None:
    """Codes tell what could not be read, reasons what lacks a tenant; sums of batches add up."""
    rejects = [
        Reject("Row.MissingField", NO_TENANT, b"", "t", 0, 0, None, None, 3),
        Reject("Decode.Malformed", "cut", b"", "t", 0, 1, None, None),
    ]
    counts = Counts(messages=3, datapoints=7, converted=4, rows=4, rejected_messages=2, rejected_datapoints=3)
    tally = RejectShare.of(counts, rejects)
    assert tally == RejectShare(3, 4, 2, 7, 3, 1, 1)
    assert tally.plus(tally) == RejectShare(6, 8, 4, 14, 6, 2, 2)


@pytest.mark.parametrize(
    ("home", "warehouse", "options"),
    [
        (".lmdp", None, ""),
        (".lmdp", ".lmdp/warehouse.duckdb", ""),
        ("a b", "a b/warehouse.duckdb", " --home 'a b'"),
        (".lmdp", "/data/m.duckdb", " --warehouse /data/m.duckdb"),
    ],
)
def test_the_command_replays_this_warehouse(home: str, warehouse: str | None, options: str) -> None:
    """It names what is not the default, quoted for a shell."""
    made = replay_command("--dry-run", Path(home), Path(warehouse) if warehouse else None)
    assert made == f"{program()} replay warehouse{options} --dry-run"


def test_the_command_names_another_place_of_rejects() -> None:
    """A run whose rejects are elsewhere has no table of them."""
    assert replay_command("--dry-run", Path(".lmdp"), Path("w"), "s3://b/r/ --to snowflake") == (
        f"{program()} replay s3://b/r/ --to snowflake --dry-run"
    )


@pytest.mark.parametrize(
    ("messages", "options", "code", "said"),
    [
        ([bundle(1), bundle(2)], ["--org-id", "acme"], 0, ""),
        ([bundle(1), bundle(2)], [], 1, "2 of 2 messages rejected, whole or in part (2 datapoints); keep"),
        ([bundle(1), b"{"], ["--org-id", "acme"], 0, "1 of 2 messages rejected"),
        ([bundle(1), b"{", b"{"], ["--org-id", "acme"], 1, "2 of 3 messages rejected, whole or in part (0 datapoints)"),
        ([], [], 0, ""),
    ],
)
def test_flatten_ends_with_1_when_most_is_rejected(
    messages: list[bytes], options: list[str], code: int, said: str, tmp_path: Path
) -> None:
    """Also without --strict: no rows at all is no success."""
    (tmp_path / "m.jsonl").write_bytes(b"".join(b"%s\n" % message for message in messages))
    ended = call("flatten", *options, "m.jsonl", "--report", "report.json", folder=tmp_path)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert json.loads((tmp_path / "report.json").read_bytes())["messages"] == len(messages)

"""Whose offsets a group has, and what is committed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmdp.local.group import GroupOffsets, Owners, owner_of


class _Client:
    """Takes commits as librdkafka's client does."""

    def __init__(self) -> None:
        self.committed: list[tuple[int, int, str]] = []

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> None:
        """Keep them."""
        assert asynchronous
        self.committed += [(place.partition, place.offset, place.metadata) for place in offsets]


@pytest.mark.parametrize(
    ("group", "owners", "committed", "told"),
    [
        ("lmdp", {}, True, ""),
        ("lmdp", {0: ""}, True, ""),  # by an older version, which wrote none
        ("lmdp", {0: "lmdp here:/b"}, True, "used by two warehouses, here:/b and here:/a"),
        ("lmdp", {1: "lmdp here:/b"}, True, ""),  # of a partition that this warehouse does not read
        ("lmdp", {0: "lmdp here:/a"}, True, ""),
        ("lmdp", {0: "a flink job"}, False, "offsets of another client"),
        ("pipe", {0: ""}, False, "offsets of another client"),
        ("mine", {0: "lmdp here:/a"}, True, ""),
    ],
)
def test_a_group_is_shared_knowingly(group: str, owners: Owners, *, committed: bool, told: str) -> None:
    """Another client's offsets stay as they are, and another warehouse's are overwritten with both names reported."""
    client, said = _Client(), list[str]()
    offsets = GroupOffsets(
        client,  # type: ignore[arg-type]  # what it needs of one
        "t",
        group,
        owner="lmdp here:/a",
        owners=lambda: owners,
        say=said.append,
    )
    offsets.commit({0: 7})
    offsets.look()
    offsets.look()
    assert client.committed == ([(0, 7, "lmdp here:/a")] if committed else [])
    assert len(said) == bool(told)
    assert told in "".join(said)


def test_nothing_is_committed_before_the_owners_are_known() -> None:
    """What waited meanwhile is committed with the newest offset of each partition, at the end at the latest."""
    client, known = _Client(), list[Owners]()
    offsets = GroupOffsets(
        client,  # type: ignore[arg-type]  # as above
        "t",
        "lmdp",
        owner="lmdp here:/a",
        owners=lambda: known[0] if known else None,
        say=print,
    )
    offsets.commit({0: 7, 1: 3})
    offsets.commit({0: 9})
    assert client.committed == []
    known.append({})
    offsets.close(1)
    assert sorted(client.committed) == [(0, 9, "lmdp here:/a"), (1, 3, "lmdp here:/a")]
    offsets.note({0: 9, 1: 3, 2: 0})
    assert client.committed[2:] == [(2, 0, "lmdp here:/a")]


def test_an_owner_is_a_host_and_a_path(tmp_path: Path) -> None:
    """However long the path is: the broker bounds it."""
    assert owner_of(tmp_path / "w.duckdb").endswith(f":{(tmp_path / 'w.duckdb').resolve()}")
    assert len(owner_of(Path("x" * 5_000))) == 1_000

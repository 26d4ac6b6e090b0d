"""Whose offsets a group has, and what is committed to it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.group_offsets import GroupOffsets, Owners, owner_of, read_own, read_owners
from running import no_more_threads, until


class _Client:
    """Takes commits as librdkafka's client does, and has `owners` once they are `known`, after `errors`."""

    def __init__(self, owners: Owners, *errors: int) -> None:
        self.errors = list(errors)
        self.committed_here: list[tuple[int, int, str]] = []
        self.owners = owners
        self.known = threading.Event()

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> None:
        """Keep them."""
        assert asynchronous
        self.committed_here += [(place.partition, place.offset, place.metadata) for place in offsets]

    def close(self) -> None:
        """End it."""

    def assignment(self) -> list[Any]:
        """The partition that this client reads."""
        return [TopicPartition("t", 0)]

    def committed(self, partitions: list[Any], timeout: float) -> list[Any]:
        """What the group has."""
        assert self.known.wait(timeout + 30)
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return [
            TopicPartition(one.topic, one.partition, 1, metadata=self.owners[one.partition])
            if one.partition in self.owners
            else TopicPartition(one.topic, one.partition, -1001)
            for one in partitions
        ]


def group_of(client: _Client, said: list[str], group: str = "lmdp", *, counted: bool = False) -> GroupOffsets:
    """A group as the warehouse /a has it."""
    return GroupOffsets(client, KafkaAccess("b:1"), "t", group, "lmdp here:/a", said.append, counted=counted)  # type: ignore[arg-type]  # enough


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
    client, said = _Client(owners), list[str]()
    client.known.set()
    offsets = group_of(client, said, group)
    offsets.commit({0: 7})
    until(lambda: offsets._owners is not None)
    offsets.look()
    offsets.look()
    offsets.close(1)
    offsets.close_client()
    assert client.committed_here == ([(0, 7, "lmdp here:/a")] if committed else [])
    assert len(said) == bool(told)
    assert told in "".join(said)


@pytest.mark.parametrize(
    ("counted", "consequence"),
    [
        (False, "lag monitors will not see this consumer, and the rows come all the same."),
        (True, "the next run reads messages without rows again, and what went through a channel that was idle"),
    ],
)
@pytest.mark.parametrize(
    ("owner", "begin", "command"),
    [
        ("", "no rights on the group g: ", "lmdp topic acls --topic t --reader NAME --group g --bootstrap-servers b:1"),
        ("a flink job", "the group g has offsets of another client on t, which stay as they are: ", "lmdp run --group"),
    ],
)
def test_a_group_that_gets_nothing_is_reported_with_the_consequence(
    owner: str, begin: str, command: str, *, counted: bool, consequence: str
) -> None:
    """Where the next run would resume from the group's offsets, their absence is more than a lag monitor's concern."""
    client, said = _Client({0: owner} if owner else {}), list[str]()
    client.known.set()
    offsets = group_of(client, said, "g", counted=counted)
    if not owner:
        offsets.deny()
    offsets.commit({0: 7})
    offsets.close(5)
    offsets.close_client()
    (text,) = said
    assert text.startswith(f"{begin}{consequence}")
    assert command in text
    assert client.committed_here == []


def test_nothing_is_committed_before_the_owners_are_known() -> None:
    """What waited meanwhile is committed with the newest offset of each partition, at the end at the latest."""
    client = _Client({})
    offsets = group_of(client, [])
    offsets.commit({0: 7, 1: 3})
    offsets.commit({0: 9})
    offsets.close(0.1)
    assert client.committed_here == []
    client.known.set()
    offsets.close(10)
    assert sorted(client.committed_here) == [(0, 9, "lmdp here:/a"), (1, 3, "lmdp here:/a")]
    offsets.note({0: 9, 1: 3, 2: 0})
    assert client.committed_here[2:] == [(2, 0, "lmdp here:/a")]
    offsets.close_client()


@pytest.mark.parametrize(
    ("error", "committed"),
    [
        (KafkaError._TIMED_OUT, []),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, [(0, 7, "lmdp here:/a")]),  # the broker refuses it and says so
    ],
)
def test_a_look_up_without_an_answer_commits_nothing(error: int, committed: list[tuple[int, int, str]]) -> None:
    """A group whose coordinator gives no answer may be another client's: it is looked up again before a commit."""
    client, said = _Client({0: "a flink job"}, error), list[str]()
    client.known.set()
    offsets = group_of(client, said)
    offsets.commit({0: 7})
    until(lambda: not client.errors)
    offsets.close(10)
    offsets.close_client()
    assert client.committed_here == committed
    assert ["offsets of another client" in text for text in said] == [True] * (not committed)


def test_an_error_of_one_partition_is_no_answer() -> None:
    """What the group has of a partition is unknown then, so it is nobody's to resume from or to overwrite."""

    class _Refusing(_Client):
        def committed(self, *_: object, **__: object) -> list[Any]:
            return [SimpleNamespace(error=KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT), offset=-1001)]

    client = _Refusing({0: "lmdp here:/a"})
    client.known.set()
    assert read_owners(client) is None  # type: ignore[arg-type]  # enough
    with pytest.raises(KafkaException):
        read_own(client, "t", [0], "lmdp here:/a")  # type: ignore[arg-type]  # enough


def test_a_look_up_that_cannot_be_started_is_tried_again() -> None:
    """A limit on threads ends neither the consumer nor its client; nothing is committed until the look-up runs."""
    client = _Client({})
    client.known.set()
    offsets = group_of(client, [])
    with no_more_threads():
        offsets.commit({0: 7})
        offsets.close_client()
    assert client.committed_here == []
    offsets.commit({0: 8})
    offsets.close(10)
    offsets.close_client()
    assert client.committed_here == [(0, 8, "lmdp here:/a")]


def test_partitions_of_another_process_are_not_committed() -> None:
    """What waits for the look-up is dropped with its partition, whose new owner may be further; it may come back."""
    client = _Client({})
    offsets = group_of(client, [])
    offsets.commit({0: 7, 1: 3})
    offsets.forget([0])
    client.known.set()
    offsets.close(10)
    assert client.committed_here == [(1, 3, "lmdp here:/a")]
    offsets.forget([1])
    offsets.note({1: 4})
    offsets.close_client()
    assert client.committed_here[1:] == [(1, 4, "lmdp here:/a")]


def test_an_owner_is_a_host_and_a_path(tmp_path: Path) -> None:
    """However long the path is: the broker bounds it."""
    assert owner_of(tmp_path / "w.duckdb").endswith(f":{tmp_path / 'w.duckdb'}")
    assert len(owner_of(Path("x" * 5_000))) == 1_000

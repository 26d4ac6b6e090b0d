"""A topic's shape in words, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Node, TopicPartitionInfo, Uuid
from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]  # it re-exports without saying so

from lmdp.errors import LmdpError, UnreachableError
from lmdp.machine.kafka.topics import TopicDetails, details, faults, summary

HOUR = 3_600_000
GOOD = TopicDetails("t", "id", 3, 12, 3, (), 2, 24 * HOUR, 8 * 2**20, "delete", unclean_election=False)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "t: 12 partitions, replication 3 on 3 brokers, messages are kept for 1 day, and have up to 8 MiB"),
        ({"partitions": 1, "brokers": 1}, "t: 1 partition, replication 3 on 1 broker, "),
        ({"retention_ms": 30_000}, "are kept for 30 s,"),
        ({"retention_ms": 45 * 60_000}, "are kept for 45 min,"),
        ({"retention_ms": 6 * HOUR}, "are kept for 6 hours,"),
        ({"retention_ms": 36 * HOUR}, "are kept for 1.5 days,"),
        ({"retention_ms": 7 * 24 * HOUR}, "are kept for 7 days,"),
        ({"retention_ms": -1}, "are kept forever,"),
    ],
)
def test_a_shape_in_words(changed: dict[str, Any], words: str) -> None:
    """Units as people read them."""
    assert words in summary(replace(GOOD, **changed))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"partitions": 1}, "1 partition, fewer than 4"),
        ({"replication": 1}, "replication 1 on 3 brokers"),
        ({"min_replicas": 1}, "min.insync.replicas is 1"),
        ({"behind": (3,)}, "partitions [3] lack a leader"),
        ({"retention_ms": 30_000}, "retention is 30 s: a consumer"),
        ({"max_message_bytes": 1_000}, "max.message.bytes is 1,000"),
        (
            {"unclean_election": True},
            (
                "unclean.leader.election.enable is true: a replica that lacks acknowledged messages may become the "
                "leader, and they are lost. kafka-configs.sh --alter --topic t --add-config "
                "unclean.leader.election.enable=false"
            ),
        ),
        ({"cleanup": "compact,delete"}, "cleanup.policy is compact,delete"),
    ],
)
def test_what_is_wrong_with_a_topic(changed: dict[str, Any], fault: str | None) -> None:
    """Each setting that can lose messages is named, with the command that changes it."""
    found = faults(replace(GOOD, **changed), partitions=4)
    assert len(found) == (fault is not None)
    assert (fault or "") in "".join(found)


NODE = Node(1, "kafka", 9092)
PARTITION = TopicPartitionInfo(0, NODE, [NODE], [NODE])
CONFIG: dict[str, str | None] = {
    "min.insync.replicas": "1", "retention.ms": "-1", "max.message.bytes": "1000", "cleanup.policy": "delete",
    "unclean.leader.election.enable": "true",
}  # fmt: skip


def described(*partitions: TopicPartitionInfo) -> TopicDescription:
    """A topic with these partitions."""
    return TopicDescription("t", Uuid(1, 2), False, list(partitions))


def test_a_shape_is_read_from_a_brokers_answers() -> None:
    """Numbers are text there."""
    found = details(2, described(PARTITION), CONFIG)
    assert found == TopicDetails("t", found.topic_id, 2, 1, 1, (), 1, -1, 1_000, "delete", unclean_election=True)


@pytest.mark.parametrize(
    ("partitions", "changed", "kind", "text"),
    [
        ([], {}, UnreachableError, "does not know the partitions of t yet"),
        ([PARTITION], {"min.insync.replicas": None}, LmdpError, "does not list min.insync.replicas of the topic 't'"),
    ],
)
def test_a_shape_that_is_not_known_is_an_error(
    partitions: list[TopicPartitionInfo], changed: dict[str, str | None], kind: type[LmdpError], text: str
) -> None:
    """A topic that was just created has no partitions; some brokers do not list every setting."""
    with pytest.raises(kind, match=re.escape(text)):
        details(1, described(*partitions), CONFIG | changed)

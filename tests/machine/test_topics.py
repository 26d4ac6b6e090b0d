"""A topic's shape in words, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lmdp.machine.kafka.topics import TopicDetails, faults, summary

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

"""The watcher of a topic, where the broker is silent or was in trouble."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from lmdp.errors import UnreachableError
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.topic_watcher import TopicWatcher
from lmdp.machine.offsets import TopicIdentity
from lmdp.machine.settings import ConsumeSettings
from running import consuming


@pytest.fixture
def silent() -> Iterator[KafkaAccess]:
    """A broker that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield KafkaAccess(f"127.0.0.1:{listener.getsockname()[1]}")


def test_the_first_look_ends_with_the_stop(silent: KafkaAccess) -> None:
    """Who stops while a broker is asked for the first time is not kept waiting for its answer."""
    watcher, stop = TopicWatcher(silent, "t"), threading.Event()
    watcher.start(60)
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="had not answered yet"):
        watcher.first(stop)
    watcher.stop()
    assert time.monotonic() - begun < 5


def test_a_consumer_that_is_stopped_while_it_connects_ends_in_order(silent: KafkaAccess, tmp_path: Path) -> None:
    """Ctrl-C before the broker has answered is no error, and does not wait for the time-outs of requests."""
    with consuming(silent, tmp_path / "warehouse.duckdb", ConsumeSettings("t")) as run:
        time.sleep(0.5)
        assert not run.ended
        begun = time.monotonic()
    assert time.monotonic() - begun < 8
    assert run.error is None


def test_what_was_wrong_before_is_not_told_again() -> None:
    """A fault of TLS that is over does not stand for what is wrong now."""
    watcher = TopicWatcher(KafkaAccess("127.0.0.1:9"), "t")
    watcher._admin.reasons(KafkaError(KafkaError._SSL, "SSL handshake failed"))
    with pytest.raises(UnreachableError, match="does not answer"):
        watcher.snapshot(0.5)


def test_a_check_ends_soon_after_the_stop(silent: KafkaAccess) -> None:
    """Whether the topic was recreated is asked before each write; who stops meanwhile does not wait it out."""
    watcher, stop = TopicWatcher(silent, "t"), threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="does not answer"):
        watcher.replaced(TopicIdentity("c", "id", "t"), 60, stop)
    assert time.monotonic() - begun < 20

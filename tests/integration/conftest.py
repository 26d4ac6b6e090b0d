"""One embedded Kafka for all tests that need a real one, in one worker."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from lmdp.errors import KafkaUnavailableError
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.embedded_kafka.config import BrokerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REAL_KAFKA = {"kafka_settings", "kafka_broker", "new_topic"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real Kafka, and keep it in one worker: the broker is started once."""
    for item in items:
        if REAL_KAFKA & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("kafka"):
            item.add_marker("kafka")
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.fixture(scope="session")
def kafka_settings(tmp_path_factory: pytest.TempPathFactory) -> BrokerSettings:
    """What an embedded Kafka needs; where it cannot be had, the tests are skipped, in CI they fail."""
    try:
        return embedded(tmp_path_factory.mktemp("kafka"))
    except KafkaUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the Kafka tests: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_broker(kafka_settings: BrokerSettings) -> Iterator[KafkaBroker]:
    """A running Kafka over mutual TLS, shared by all tests: take a topic of your own from `new_topic`."""
    with KafkaBroker(kafka_settings) as broker:
        yield broker


@pytest.fixture
def new_topic(kafka_broker: KafkaBroker) -> Callable[..., str]:
    """Make topics with names of their own: `new_topic(partitions=4)` gives the name."""

    def make(partitions: int = 4) -> str:
        name = f"test.{uuid.uuid4().hex[:12]}"
        kafka_broker.create_topic(name, partitions)
        return name

    return make


@pytest.fixture(scope="module")
def admin(kafka_broker: KafkaBroker) -> AdminClient:
    """An administrative client; requests end with it, so it outlives them."""
    return AdminClient(kafka_broker.access.config())

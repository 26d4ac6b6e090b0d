"""A broker in memory for the receiver's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lmdp.machine.embedded_kafka.broker import MemoryBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[MemoryBroker]:
    """A broker in memory."""
    with MemoryBroker() as running:
        yield running

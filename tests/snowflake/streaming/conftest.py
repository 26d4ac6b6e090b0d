"""A double of Snowpipe Streaming, and a session that is signed in to it with a key pair."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lmdp.snowflake.streaming.session import Account, Session
from lmdp.testing.snowpipe import SnowpipeDouble, snowpipe_double
from snowpipe_parts import KEY, public


@pytest.fixture
def double() -> Iterator[SnowpipeDouble]:
    """A double that knows the key, and commits at once."""
    with snowpipe_double(key=public(KEY)) as running:
        yield running


@pytest.fixture
def session(double: SnowpipeDouble) -> Iterator[Session]:
    """A session with it."""
    opened = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: KEY), threading.Event())
    yield opened
    opened.close()

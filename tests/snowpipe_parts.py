"""What the tests of the direct writer share: a key pair, and a sink in front of the double."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lmdp.snowflake.connection import der
from lmdp.snowflake.keypair import make_pair
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.session import Account, PipeName, Session
from lmdp.snowflake.streaming.sink import SinkLimits, SnowflakeSink
from lmdp.testing.snowpipe import SnowpipeDouble

KEY = der(make_pair(2048).private.encode())
PLACE = PipeName("DB", "SCH", "ROW_EVENTS-STREAMING")


def public(key: bytes) -> rsa.RSAPublicKey:
    """Return the public half of a key."""
    private = serialization.load_der_private_key(key, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.public_key()


def sink_of(
    double: SnowpipeDouble,
    writer: str = "one",
    notify: Callable[[str], None] = lambda _: None,
    stop: threading.Event | None = None,
    retry_s: float = 30.0,
    **given: Any,
) -> SnowflakeSink:
    """Return a sink of its own process, as it were."""
    ends = stop or threading.Event()
    session = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: KEY), ends, retry_s)
    channels = Channels(session, PLACE, writer)
    limits = SinkLimits(**{"look_s": 0.05, **given})
    name = f"snowflake://xy12345/{PLACE}"
    return SnowflakeSink(channels, name, writer=writer, stop=ends, notify=notify, limits=limits)

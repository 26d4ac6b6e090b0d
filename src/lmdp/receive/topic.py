"""The topic, for requests that wait: each ends when Kafka has acknowledged its message, or has not in time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from lmdp.errors import LmdpError, RequestRefusedError, SettingsError, UnreachableError
from lmdp.machine.kafka.access import ClientErrors, KafkaAccess, cluster_identity, translate
from lmdp.machine.kafka.producer import open_producer
from lmdp.machine.kafka.topics import BATCH_OVERHEAD_BYTES, TopicDetails, describe
from lmdp.receive.answers import unavailable

if TYPE_CHECKING:
    from confluent_kafka import Message

ACK_SECONDS: Final = 5.0
"""The longest time for Kafka: less than senders wait for an answer, which is 10 s in OpenTelemetry's SDKs."""

_GRACE_S: Final = 2.0  # librdkafka looks for what is too late once a second
_SERVE_S: Final = 0.05
_MOST_PROBES: Final = 100  # under way while Kafka is unreachable; more would only wait
_BATCH: Final = 1_000_000  # bytes, librdkafka's own
_SMALLEST_BATCH: Final = 1_000
_PAUSES_S: Final = (1.0, 5.0, 30.0, 120.0)  # before the topic is asked again for its limit
_RETRY: Final = "nothing was acknowledged, retry the request"


class TopicWriter:
    """An idempotent producer for one topic. A message that is not acknowledged in time is given up.

    Whether the broker has it is then unknown, as with every producer: a retry may double it, and nothing can lose it.
    `notify` shows what an operator must know.
    """

    def __init__(
        self,
        access: KafkaAccess,
        topic: str,
        notify: Callable[[str], None],
        *,
        describe: Callable[[KafkaAccess, str], TopicDetails] = describe,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self.topic = topic
        self.limit: int | None = None  # bytes of a message; None while nobody has said
        self.trouble = ""
        self.waiting = 0
        self._access = access
        self._notify = notify
        self._describe, self._pauses_s = describe, pauses_s
        self._reasons = ClientErrors()
        self._done: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._stop = threading.Event()
        self._old: list[Producer] = []

    def start(self) -> None:
        """Look for the topic, and begin to serve, within the running loop.

        Raises SettingsError where the topic does not exist or TLS fails; a broker that is unreachable may come back.
        """
        self._loop = asyncio.get_running_loop()
        try:
            cluster_identity(self._access, self.topic)
            threading.Thread(target=self._learn_limit, daemon=True).start()
        except UnreachableError as error:
            self._in_trouble(str(error))
        self._basis = self._wanted_basis()
        self._producer = self._client()
        self._thread = threading.Thread(target=self._serve, name="deliveries", daemon=True)
        self._thread.start()

    def _learn_limit(self) -> None:
        """Learn how large a message may be, where this client may ask. A topic that is not ready is asked again."""
        for pause in (*self._pauses_s, 0.0):
            try:
                self.limit = self._describe(self._access, self.topic).max_message_bytes
            except UnreachableError:
                if self._stop.wait(pause):
                    return
            except (LmdpError, KafkaException):
                return
            else:
                return

    def _wanted_basis(self) -> tuple[str, int]:
        """Return what a client is made of: the certificates, and a batch that is not larger than one message may be."""
        most = _BATCH if self.limit is None else self.limit - BATCH_OVERHEAD_BYTES
        return self._access.fingerprint(), max(_SMALLEST_BATCH, min(_BATCH, most))

    def _client(self) -> Producer:
        further = {
            "linger.ms": 5,
            "delivery.timeout.ms": int(ACK_SECONDS * 1000),
            "request.timeout.ms": int(ACK_SECONDS * 1000),
            "batch.size": self._basis[1],
        }
        return open_producer(self._access, self._reasons, further)

    async def write(self, value: bytes, headers: Mapping[str, str]) -> None:
        """Return when Kafka has acknowledged the message.

        Raises RequestRefusedError: 413 where the topic does not take one so large, else 503.
        """
        if self.trouble and self.waiting >= _MOST_PROBES:
            raise unavailable(f"Kafka is unreachable; {_RETRY}")
        future = self._loop.create_future()
        self.waiting += 1
        try:
            self._producer.produce(
                self.topic,
                value,
                headers={name: text.encode() for name, text in headers.items()},
                on_delivery=partial(self._delivered, future),
            )
            async with asyncio.timeout(ACK_SECONDS + _GRACE_S):
                await future
        except KafkaException as error:
            raise self._refusal(error.args[0], len(value)) from error
        except BufferError as error:
            raise unavailable(f"too many messages are waiting for Kafka; {_RETRY}") from error
        except TimeoutError as error:
            raise unavailable(f"Kafka does not answer; {_RETRY}") from error
        finally:
            self.waiting -= 1
        if self.trouble:
            self.trouble = ""
            self._notify("Kafka acknowledges again")
            if self.limit is None:
                threading.Thread(target=self._learn_limit, daemon=True).start()

    def _delivered(self, future: asyncio.Future[None], error: KafkaError | None, _message: Message) -> None:
        """Hand a delivery report to the loop, which is woken up once for as many as there are."""
        self._done.append((future, error))
        if len(self._done) == 1:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        while self._done:
            future, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(KafkaException(error))

    def _refusal(self, error: KafkaError, size: int) -> RequestRefusedError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            takes = "fewer" if self.limit is None else f"{self.limit:,} (max.message.bytes)"
            return RequestRefusedError(
                413,
                f"the body has {size:,} bytes, and the topic takes {takes}: send smaller batches, or raise its limit",
            )
        self._in_trouble(self._cause(error))
        if error.fatal():
            self._replace()
        return unavailable(f"Kafka did not acknowledge in time; {_RETRY}")

    def _cause(self, error: KafkaError) -> str:
        """Return why, for an operator; of a timeout the client's newest error says more."""
        if error.name() != "_MSG_TIMED_OUT":
            return str(translate(error, self._access, topic=self.topic, reasons=self._reasons))
        newest = f" ({self._reasons[-1].str()})" if self._reasons else ""
        return f"Kafka at {self._access.bootstrap_servers} did not acknowledge within {ACK_SECONDS:g} s{newest}."

    def _in_trouble(self, text: str) -> None:
        is_new, self.trouble = not self.trouble, text
        if is_new:
            self.report()

    def report(self) -> None:
        """Report trouble while it lasts: an alarm that counts these lines ends when they do."""
        if self.trouble:
            self._notify(f"{self.trouble} Requests are answered with 503 until Kafka acknowledges again.")

    def refresh(self) -> None:
        """Take up certificates that changed on disk, with a new client; unusable ones are left until they change."""
        basis = self._wanted_basis()
        if basis != self._basis:
            self._basis = basis
            self._replace()

    def _replace(self) -> None:
        try:
            fresh = self._client()
        except SettingsError as error:
            self._notify(f"{error} The previous client stays in use.")
            return
        self._old.append(self._producer)
        self._producer = fresh

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_SERVE_S)
            for old in list(self._old):
                old.poll(0)
                if not len(old):
                    self._old.remove(old)

    def close(self) -> None:
        """End. What still waits was answered before: nothing is sent after that."""
        self._stop.set()
        self._thread.join(5)
        for client in (*self._old, self._producer):
            client.purge()
            client.flush(1)

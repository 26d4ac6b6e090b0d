"""A day without Snowflake, its waits cut short: the memory of a run that cannot write, and what it writes afterwards.

The parent has broker and double. The child is a run's pipeline from that broker, which every retry of the day happens
in; its waits take no time. `python -m benchmarks.direct --only outage` runs both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks import scratch
from benchmarks.consumed import Task
from lmdp.core.pipeline import TransformSettings
from lmdp.machine.kafka.consumer import KafkaSource
from lmdp.machine.kafka.positions import Drain
from lmdp.machine.metrics import Progress
from lmdp.machine.pipeline import Clock, Pipeline
from lmdp.machine.settings import ConsumeSettings, StopEvents
from lmdp.machine.transformer import transformer
from lmdp.snowflake.connection import der
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.session import Account, PipeName, Session
from lmdp.snowflake.streaming.sink import SnowflakeSink

if TYPE_CHECKING:
    from lmdp.testing.snowpipe import SnowpipeDouble

ROUNDS: Final = 86_400 // 31
"""The rounds of a day: a run tries for half a minute, and again after a second. Here it tries once a round."""

_SHORT_S: Final = 0.001
_WARM: Final = 200


def measure(double: SnowpipeDouble, task: Task, key: str) -> dict[str, Any]:
    """Return the child's memory in MiB at the start of the day, at most and at its end, and its rows afterwards."""
    command = [sys.executable, "-m", "benchmarks.outage", task.written(), double.url]
    with subprocess.Popen(command, cwd=scratch.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(key)
        child.stdin.close()
        while not double.rows:
            time.sleep(0.01)
        double.away = True
        day: dict[str, Any] = json.loads(child.stdout.readline())
        double.away = False
        return {**day, **json.loads(child.stdout.readline())}


def main() -> None:
    """Run the pipeline through the day, and to the end of the topic after it."""
    task, url, key = Task.read(sys.argv[1]), sys.argv[2], der(sys.stdin.read().encode())
    settings, events, progress = TransformSettings(org_id="bench"), StopEvents(), Progress()
    events.drain.set()
    reading = ConsumeSettings(task.topic, group=task.topic, batch_rows=5_000, from_group=True, row_spec=settings.spec)
    channels = Channels(
        Session(Account(url, "LM_FIREHOSE_SVC", lambda: key), events.stop, _SHORT_S),
        PipeName("LM_METRICS", "PIPELINE", "ROW_EVENTS_STREAM"),
        "outage",
    )
    sink = SnowflakeSink(channels, "double", writer="outage", stop=events.stop, notify=_drop)
    memory = _Memory()
    clock = Clock(wait=memory.note, wait_for_space=lambda _, stop: not memory.note(stop, 0))
    drain = Drain(events.drain, _drop)
    connect = partial(KafkaSource, task.access, sink, reading, progress, events, _drop, drain)
    rows = transformer(settings, 0, events.stop, _drop, settings.spec)
    Pipeline(connect, rows, sink, reading, progress, events.stop, _drop, clock).run()
    print(json.dumps({"rows": progress.counts.rows, "messages": progress.counts.messages}), flush=True)


def _drop(_text: str) -> None:
    """Show nothing."""


class _Memory:
    """Memory in MiB: once warm, at most, and after the day. It is looked at in each wait, which takes no time."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._waits = 0
        self._first = self._most = 0.0

    def note(self, stop: threading.Event, _seconds: float) -> bool:
        """Wait for nothing; the last wait of the day lasts until the parent has brought the service back."""
        self._waits += 1
        now = self._process.memory_info().rss / 2**20
        self._first = now if self._waits == _WARM else self._first
        self._most = max(self._most, now)
        if self._waits == ROUNDS:
            print(json.dumps({"waits": self._waits, "first": self._first, "most": self._most, "last": now}), flush=True)
        return stop.wait(1.0 if self._waits >= ROUNDS else 0)


if __name__ == "__main__":
    main()

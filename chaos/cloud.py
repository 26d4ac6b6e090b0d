"""Batches that come again, in whole, in part or cut otherwise: METRICS holds every row once."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from chaos.pipes import START_MS, Reported, cloud, hand_over, judged, landed, pipe, published, record, rejected
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.cloud.handler import Function
from lmdp.testing.firehose import THROTTLED, Fault, RandomFaults

ALL = frozenset(range(500))
ROOM = 128 * 2**20  # for the rows of a batch, in a function of 1 GiB


def half_delivered(site: Site) -> Outcome:
    """A part of a batch is in when the time is over, and the pipe hands all of it over again."""
    put, reported = published(site.by_size(2, 4), poison=4), Reported()
    records = put.partitions[0]
    batches = [records[at : at + 100] for at in range(0, len(records), 100)]
    expected = 0
    with cloud() as running:
        for batch in batches:
            # Every second record of every call is in; the others are refused until the time is over.
            running.double.script.append(Fault(entries=frozenset(range(0, 500, 2))))
            running.double.script.extend([Fault(entries=ALL)] * 1_000)
            before = len(running.double.accepted)
            assert not hand_over(running.function, batch, reported), "all of it was delivered"
            expected += len(running.double.accepted) - before
            running.double.script.clear()
            assert hand_over(running.function, batch, reported)
        assert expected >= len(batches), "nothing was half in"
        promises = {
            "other repeats than what was in": len(running.double.accepted) - put.datapoints == expected,
            "a batch that was half in was called delivered": reported.counts["delivered"] == put.datapoints,
        }
        return judged(site, running, put, reported, len(batches), promises)


def delivered_twice(site: Site) -> Outcome:
    """Every batch comes a second time, whole, since the pipe did not hear of its success."""
    put, reported = published(site.by_size(3, 12), poison=4), Reported()
    with cloud() as running:
        pipe(running.function, put.partitions[0], reported, lambda _: 90)
        pipe(running.function, put.partitions[0], reported, lambda _: 90)
        reported.repeats += put.datapoints
        exact = {
            "not every row is there twice": len(running.double.accepted) == 2 * put.datapoints,
            "a datapoint was not counted": reported.counts["datapoints"] == 2 * put.datapoints,
            "a reject was not counted": reported.counts["rejectedMessages"] == 2 * put.poison,
        }
        return judged(site, running, put, reported, 2, exact)


def cut_differently(site: Site) -> Outcome:
    """Two partitions at once, each in batches of another size at each try; some come again though they were in."""
    put, reported = published(site.by_size(4, 16), partitions=2, poison=8), [Reported(), Reported()]
    random_faults = RandomFaults(
        entry_failures=0.05, throttle_bursts=0.02, burst_calls=3, drops=0.05, losses=0.05, seed=9
    )
    with cloud(random_faults) as running:
        # Long enough that nothing gets through in one invocation, for each of them.
        running.double.script.extend([Fault(), Fault(entries=frozenset(range(0, 500, 3))), *[THROTTLED] * 40])
        workers = [
            threading.Thread(target=restless, args=(running.another(), records, each, seed))
            for seed, (records, each) in enumerate(zip(put.partitions, reported, strict=True))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        both = summed(reported)
        assert both.failures["DeliveryError"] >= 2, "nothing had to be tried again"
        return judged(site, running, put, both, both.failures.total(), {})


def restless(function: Function, records: Sequence[dict[str, Any]], reported: Reported, seed: int) -> None:
    """A pipe that cuts at random, and now and then forgets that a batch was in."""
    chance = random.Random(seed)
    at = 0
    while at < len(records):
        batch = records[at : at + chance.randint(1, 120)]
        before = reported.counts["rows"]
        if hand_over(function, batch, reported):
            if chance.random() < 0.2:
                reported.repeats += reported.counts["rows"] - before
            else:
                at += len(batch)


def summed(reported: Sequence[Reported]) -> Reported:
    """Return the sum of several reports."""
    both = Reported()
    for one in reported:
        both.counts += one.counts
        both.dropped += one.dropped
        both.failures += one.failures
        both.repeats += one.repeats
        both.longest = max(both.longest, one.longest)
    return both


def killed(site: Site) -> Outcome:
    """The function's process is killed between its calls, as Lambda does when the time is over."""
    kills, chance = site.by_size(3, 12), random.Random(4)
    put, reported = published(site.by_size(6, 12), poison=4), Reported()
    records = put.partitions[0]
    cut_short = 0
    with cloud() as running:
        for _ in range(kills):
            running.double.script.extend([Fault(seconds=0.2)] * 100)
            before = len(running.double.accepted)
            with handling(records) as process:
                begun = time.monotonic()
                while len(running.double.accepted) == before and time.monotonic() - begun < 60:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.5))
                process.kill()
                process.wait()
            part = len(running.double.accepted) - before
            cut_short += 0 < part < put.datapoints
            reported.repeats += part
            running.double.script.clear()
        assert cut_short >= 2, "it was not killed in the midst of its calls"
        pipe(running.function, records, reported, lambda _: 200)
        return judged(site, running, put, reported, kills, {})


# A process that handles one batch, one call after another.
# The peak is the kernel's mark for this process: `ru_maxrss` of a child begins at what its parent had.
HANDLE = """
import json, os, pathlib, re, sys
from types import SimpleNamespace
from lmdp.cloud.handler import open_function
context = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: 60_000)
open_function(dict(os.environ))(json.load(sys.stdin), context)
sys.stderr.write(" " + re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@contextlib.contextmanager
def handling(batch: Sequence[dict[str, Any]]) -> Iterator[subprocess.Popen[bytes]]:
    """Such a process at work; killed at the end of the block."""
    alone = {**os.environ, "LMDP_FIREHOSE_CONCURRENCY": "1"}
    words = [sys.executable, "-c", HANDLE]
    with subprocess.Popen(
        words, env=alone, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(list(batch)).encode())
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def bombs(site: Site) -> Outcome:
    """One batch of small compressed messages whose rows would need twice the function's memory."""
    messages, datapoints = 60, 1_000
    batch = [record(0, offset, bomb(offset, datapoints)) for offset in range(messages)]
    with cloud() as running:
        reported = subprocess.run(
            [sys.executable, "-c", HANDLE],
            env={**os.environ, "POWERTOOLS_SERVICE_NAME": "bombs"},
            input=json.dumps(batch).encode(),
            capture_output=True,
            check=False,
        )
        peak = int(reported.stderr.split()[-1]) / 1024 if reported.returncode == 0 else 0.0
        _, rejects = rejected(running)
        rows, metrics = landed(site, running.double.accepted)
    return Outcome(
        1,
        messages,
        datapoints * (messages - rejects),
        metrics,
        rows - metrics,
        rejects,
        f"{len(json.dumps(batch)) / 1e6:.1f} MB of event, {sum(map(len, running.double.accepted)) / 1e6:.0f} MB of "
        f"rows, peak {peak:.0f} MiB",
        broken(
            {
                f"it ended with {reported.returncode}": reported.returncode == 0,
                "all of it was taken": rejects > 0,
                "less was taken than there is room for": sum(map(len, running.double.accepted)) > ROOM,
                "it took more memory than a function has": peak < 1_024,
            }
        ),
    )


def bomb(number: int, datapoints: int) -> bytes:
    """Gzip of one bundle, each of whose rows repeats a resource of 4 KB."""
    points = [
        {
            "timeUnixNano": f"{START_MS + n}000000",
            "asInt": n,
            "attributes": [{"key": "dataSourceInstanceName", "value": {"stringValue": f"{number}-{n}"}}],
        }
        for n in range(datapoints)
    ]
    resource = [{"key": key, "value": {"stringValue": text}} for key, text in (("hostId", "1"), ("note", "x" * 4_096))]
    scope = {"scope": {"name": "CPU"}, "metrics": [{"name": "m", "gauge": {"dataPoints": points}}]}
    bundle = {"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [scope]}]}
    return gzip.compress(json.dumps(bundle).encode())


SCENARIOS = (
    Scenario("batch half delivered", "What was in is there twice in ROW_EVENTS, and once in METRICS.", half_delivered),
    Scenario("batch delivered twice", "A batch that comes again whole changes no answer.", delivered_twice),
    Scenario("batch cut differently", "Neither other boundaries nor partitions at once matter.", cut_differently),
    Scenario("function killed", "Lambda's end in the midst of a batch loses and doubles nothing.", killed),
    Scenario("batch of bombs", "What a batch has no memory for is a reject; the partition continues.", bombs),
)

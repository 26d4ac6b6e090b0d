"""The cloud's half: a call of Firehose, a whole invocation of the function, its start, and its memory.

Firehose is the project's double, in a process of its own on another core, so its work is not in these costs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, Final

from benchmarks import scratch, workloads
from benchmarks.bench import Bench
from benchmarks.functions import MESSAGES, REGION, STREAM, double, environment, event, events, open_client, ours, theirs
from benchmarks.measure import LMDP, Contender, compare, one_core
from benchmarks.stages.core import PLAIN, rows_of
from benchmarks.table import Line, figure, line
from lmdp import encode
from lmdp.cloud.firehose_sink import request_body, split

FLOOR: Final = "SHA-256 + a copy"
READ_FLOOR: Final = "base64 + orjson.loads + SHA-256"
_START = """
import sys, time
sys.modules["OpenSSL"] = None
wall, cpu = time.perf_counter(), time.process_time()
{imports}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
_STARTS: Final = {
    LMDP: "import lmdp.cloud.handler",
    "boto3.client": "import json, boto3; boto3.client('firehose')",
    "botocore.httpsession": "import botocore.httpsession",
}


def measure_firehose(bench: Bench) -> Iterator[Line]:
    """Rows to Firehose in calls of 500: the client's CPU. The floor signs nothing and sends nothing."""
    from lmdp.cloud.firehose_sink import deliver, open_firehose  # noqa: PLC0415 - it reads the environment

    with double():
        firehose, client = open_firehose(STREAM, REGION, dict(os.environ), 1), open_client()

        def call(rows: Sequence[bytes]) -> int:
            return deliver(firehose, rows, firehose.clock() + 60).accepted

        def boto3(rows: Sequence[bytes]) -> int:
            for batch in split(rows):
                client.put_record_batch(DeliveryStreamName=STREAM, Records=[{"Data": row} for row in batch])
            return len(rows)

        def prepare(messages: Sequence[bytes]) -> list[bytes]:
            return encode(rows_of(messages))

        bench.say("deliver")
        contenders = {
            LMDP: Contender(call, prepare),
            FLOOR: Contender(
                _hashed, lambda messages: [request_body(STREAM, one) for one in split(prepare(messages))], "none"
            ),
            "boto3": Contender(boto3, prepare),
        }
        given = bench.workload(workloads.SMALL)
        with one_core():
            yield line("deliver to Firehose", "rows of LMDP small", compare(contenders, given.rounds), floors=[FLOOR])


def measure_invocation(bench: Bench) -> Iterator[Line]:
    """Events of 200 messages through the whole function: read, transform, encode, deliver, log."""
    with double():
        handlers = {LMDP: ours(), PLAIN + " + boto3": theirs()}
        contenders = {name: Contender(_all(handle), events) for name, handle in handlers.items()}
        with bench.skipping(READ_FLOOR):
            contenders[READ_FLOOR] = Contender(
                _read_and_hash(scratch.orjson(install=bench.may_install)), _event_and_bodies, "none"
            )
        for name in (workloads.SMALL, workloads.AGAIN):
            bench.say(f"invocation: {name}")
            made = workloads.MAKERS[name](bench.sizes.rounds + 1, bench.sizes.events * MESSAGES)
            with one_core():
                yield line("Lambda invocation", f"200 x {name}", compare(contenders, made), floors=[READ_FLOOR])


def measure_start(bench: Bench) -> Iterator[Line]:
    """A new process imports the handler, which opens its connections; files are in the system's cache.

    botocore takes pyOpenSSL where it finds one, as in the tests' environment; in Lambda there is none.
    """
    bench.say("cold start")
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in _STARTS}
    env = {**os.environ, **environment("http://127.0.0.1:9")}
    for number in range(bench.sizes.starts + 1):
        for name, imports in _STARTS.items():
            command = [sys.executable, "-c", _START.format(imports=imports)]
            result = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()
            if number:
                found[name].append(tuple(1000 * float(each) for each in result))
    for at, unit in enumerate(("ms", "ms CPU")):
        times = {name: median(each[at] for each in all_of_it) for name, all_of_it in found.items()}
        mine = times.pop(LMDP)
        others = {name: f"{name} {figure(each)} ({figure(each / mine)}x)" for name, each in times.items()}
        yield Line(
            "cold start",
            "the handler's import",
            unit,
            figure(mine),
            floor=others["botocore.httpsession"],
            peers=others["boto3.client"],
        )


def measure_memory(bench: Bench) -> Iterator[Line]:
    """The peak of a process that handles event after event, all of other messages."""
    bench.say("memory of the function")
    count = 10 * bench.sizes.events
    with double() as url:
        env = {**os.environ, **environment(url)}
        peaks = {}
        for name in (LMDP, "plain", "idle"):
            command = [sys.executable, "-m", "benchmarks.invoked", name, str(count)]
            result = subprocess.run(command, env=env, cwd=scratch.ROOT, capture_output=True, text=True, check=True)
            peaks[name] = float(json.loads(result.stdout)["peakMiB"])
    mine = peaks[LMDP]
    yield Line(
        "memory",
        f"{count} invocations of 200 x {workloads.SMALL}",
        "MiB, peak",
        figure(mine),
        floor=f"the events alone {figure(peaks['idle'])} ({figure(peaks['idle'] / mine)}x)",
        peers=f"{PLAIN} + boto3 {figure(peaks['plain'])} ({figure(peaks['plain'] / mine)}x)",
    )


def _all(handle: Callable[[list[dict[str, Any]]], int]) -> Callable[[Sequence[list[dict[str, Any]]]], int]:
    return lambda given: sum(map(handle, given))


def _hashed(bodies: Sequence[bytes]) -> int:
    return sum(len(hashlib.sha256(each).digest()) + len(bytearray(each)) for each in bodies)


def _event_and_bodies(messages: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
    return event(messages), [request_body(STREAM, one) for one in split(encode(rows_of(messages)))]


def _read_and_hash(reader: Any) -> Callable[[tuple[list[dict[str, Any]], list[bytes]]], int]:
    def work(given: tuple[list[dict[str, Any]], list[bytes]]) -> int:
        records, bodies = given
        read = sum(1 for record in records if reader.loads(b64decode(record["value"])))
        return read + _hashed(bodies)

    return work

"""The core, on one core: decode; flatten and encode; and the whole of it, from a message's bytes to its rows' bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from benchmarks import scratch, workloads
from benchmarks.bench import Bench
from benchmarks.functions import MESSAGES
from benchmarks.measure import LMDP, Contender, compare, one_core
from benchmarks.peers import json_format, native, plain
from benchmarks.peers.duckdb_sql import Sql
from benchmarks.table import Line, line
from benchmarks.workloads import Workload
from lmdp import Message, TransformSettings, encode, transform
from lmdp.core import pipeline
from lmdp.core.flatten import flatten
from lmdp.core.otlp.decode import decode

SETTINGS: Final = TransformSettings(org_id=plain.ORG)
STAGES: Final = pipeline._stages(SETTINGS)  # noqa: SLF001 - the parts as the pipeline calls them
COPY, ORJSON, FROM_STRING = "a copy", "orjson.loads", "FromString"
PLAIN, JSON_FORMAT, SQL, NATIVE = "plain json + dicts", "json_format", "DuckDB SQL", "otlp2records (Rust)"


def read(value: bytes) -> Any:
    """One message as structs."""
    return decode(value, SETTINGS.max_decompressed_bytes, SETTINGS.max_message_memory)


def rows_of(messages: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """The rows of `messages`, which must not be rejected."""
    done = transform([Message(value) for value in messages], SETTINGS)
    if done.rejects:
        raise ValueError(f"rejected: {done.rejects[0].message}")
    return done.rows


def lmdp_rows(messages: Sequence[bytes]) -> int:
    """From bytes to bytes, a batch of a pipe at a time."""
    batches = (messages[at : at + MESSAGES] for at in range(0, len(messages), MESSAGES))
    return len([row for batch in batches for row in encode(rows_of(batch))])


def plain_rows(messages: Sequence[bytes]) -> int:
    """The same, plain."""
    return len([plain.dumps(row) for value in messages for row in plain.flatten(plain.loads(value))])


def json_format_rows(messages: Sequence[bytes]) -> int:
    """The same, by way of protobuf's objects."""
    return len([plain.dumps(row) for value in messages for row in json_format.flatten(json_format.parse(value))])


def measure_decode(bench: Bench) -> Iterator[Line]:
    """Bytes to structs, dictionaries or objects; nothing is made of them."""
    for name in (workloads.SMALL, workloads.LARGE, workloads.MIX):
        for form in ("JSON", "protobuf"):
            given = bench.workload(name, form)
            contenders = {LMDP: _each(read), **_floors(bench, given)}
            contenders[JSON_FORMAT if form == "JSON" else FROM_STRING] = _each(json_format.parse)
            if form == "JSON":
                contenders["json.loads"] = _each(plain.loads)
            yield _compared(bench, "decode", given, contenders, unit="message")


def measure_flatten(bench: Bench) -> Iterator[Line]:
    """Decoded messages to rows, and rows to bytes. The floor is a copy of those bytes."""

    def ours(bundles: Sequence[Any]) -> int:
        return len(encode([row for bundle in bundles for row in flatten(bundle, STAGES.promotion, STAGES.limits).rows]))

    def others(walk: Callable[[Any], Iterator[dict[str, Any]]], bundles: Sequence[Any]) -> int:
        return len([plain.dumps(row) for bundle in bundles for row in walk(bundle)])

    for name in (workloads.SMALL, workloads.LARGE, workloads.MIX):
        contenders = {
            LMDP: Contender(ours, _mapped(read)),
            COPY: Contender(_copies, lambda messages: encode(rows_of(messages)), counts="none"),
            PLAIN: Contender(partial(others, plain.flatten), _mapped(plain.loads)),
            JSON_FORMAT: Contender(partial(others, json_format.flatten), _mapped(json_format.parse)),
        }
        yield _compared(bench, "flatten + encode", bench.workload(name), contenders)


def measure_transform(bench: Bench) -> Iterator[Line]:
    """The whole core. SQL reads its messages from a file, and writes its rows to one."""
    sql = Sql(bench.folder)
    in_rust = _native(bench, sql)
    for form in workloads.FORMS:
        for name in workloads.MAKERS:
            if form != "JSON" and name == workloads.AGAIN:
                continue
            given = bench.workload(name, form)
            contenders = {LMDP: Contender(lmdp_rows), **_floors(bench, given)}
            if form.startswith("JSON"):
                contenders[PLAIN] = Contender(plain_rows)
            if "gzip" not in form:
                contenders[JSON_FORMAT if form == "JSON" else "protobuf objects"] = Contender(json_format_rows)
            if form == "JSON" and name != workloads.MIX:
                contenders[SQL] = Contender(sql.to_json, sql.file)
                contenders |= in_rust
            yield _compared(bench, "transform + encode", given, contenders)


def _compared(bench: Bench, stage: str, given: Workload, contenders: dict[str, Contender], unit: str = "row") -> Line:
    bench.say(f"{stage}: {given.title}")
    with one_core():
        costs = compare(contenders, given.rounds, unit=unit)
    floors = [name for name in (ORJSON, FROM_STRING, COPY) if name in contenders]
    workload = f"{given.title} ({given.bytes_each:,} B)"
    return line(stage, workload, costs, floors=floors, unit=f"µs CPU a {unit}")


def _floors(bench: Bench, given: Workload) -> dict[str, Contender]:
    """Reading the same bytes with the fastest reader there is, and making nothing of them."""
    floors = {COPY: Contender(_copies, counts="none")}
    if "protobuf" in given.form:
        floors[FROM_STRING] = Contender(_from_string, counts="none")
    else:
        with bench.skipping(ORJSON):
            floors[ORJSON] = Contender(partial(_loads, scratch.orjson(install=bench.may_install)), counts="none")
    return floors


def _native(bench: Bench, sql: Sql) -> dict[str, Contender]:
    """The native program, where it can be had; it reads the same file as SQL does."""
    found = {}
    with bench.skipping(NATIVE):
        program = native.program(bench.say, install=bench.may_install)
        found[NATIVE] = Contender(native.rows_of(program), sql.file, "own")
    return found


def _each(reader: Callable[[bytes], Any]) -> Contender:
    """Read each message, and drop it."""

    def work(messages: Sequence[bytes]) -> int:
        for value in messages:
            reader(value)
        return len(messages)

    return Contender(work)


def _mapped(reader: Callable[[bytes], Any]) -> Callable[[Sequence[bytes]], list[Any]]:
    return lambda messages: [reader(value) for value in messages]


def _copies(values: Sequence[bytes]) -> int:
    return sum(len(bytearray(value)) for value in values)


def _loads(reader: ModuleType, messages: Sequence[bytes]) -> int:
    return len([0 for value in messages if reader.loads(_unzipped(value))])


def _from_string(messages: Sequence[bytes]) -> int:
    return len([0 for value in messages if MetricsData.FromString(_unzipped(value))])


def _unzipped(value: bytes) -> bytes:
    return gzip.decompress(value) if value[:2] == b"\x1f\x8b" else value

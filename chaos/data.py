"""Bytes that nobody should send: each is a row, a reject or a drop, within bounded memory and time."""

from __future__ import annotations

import functools
import gzip
import multiprocessing
import secrets
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from confluent_kafka import KafkaError, KafkaException, Producer

from chaos.fuzz import Tally, fuzz
from chaos.mutate import Corpus, corpus
from chaos.scenario import Outcome, Scenario, Site, broken
from chaos.worst import KINDS, MIB, Took, apart, largest, settings
from edges import BAD_TIMESTAMP, EDGES
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.topics import TopicSettings
from lmdp.machine.settings import ConsumeSettings
from running import NOW_NS, bundle, consuming, until

LOT = 5_000  # messages that a process checks before it reports
TOPIC_BYTES = TopicSettings().max_message_bytes
BATCH = 90  # bytes of a record batch, its one record and their headers around the value, and a little more
HEADERS: list[tuple[str, str | bytes | None]] = [
    *(("", None), ("traceparent", b"\xff\x00" * 50)),
    *(("traceparent", b""), ("content-type", b"text/html")),
]
KEYS = (None, b"", b"\x00\xff", b"k" * 1_000)
SLACK = 32 * MIB  # the message itself, twice, and what the allocator keeps
LINEAR = 10  # times as long for four times the size; what grows with its square takes 16


def fuzzed(site: Site) -> Outcome:
    """Real messages, broken in as many ways as there is time for."""
    messages = site.by_size(10_000, 100_000, 1_000_000)
    # The seed is a new one where there is time to look into what it finds.
    seed = secrets.randbelow(2**31) if site.size == "long" else 1
    tally = Tally()
    with ProcessPoolExecutor(site.by_size(1, 2), multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(functools.partial(_lot, seed), range(0, messages, LOT)):
            tally = tally + part
    assert tally.seen["compared with the second reading"] > messages / 20, "too little of it was a message at all"
    shown = [f"message {number} of seed {seed}: {fault}"[:300] for number, fault in tally.faults[:5]]
    return Outcome(
        times=tally.messages,
        messages=tally.messages,
        expected_rows=tally.stored,
        found_rows=tally.found,
        repeats=0,
        rejects=sum(count for code, count in tally.seen.items() if "." in code),
        measured=f"seed {seed}, {tally.rows:,} rows, {tally.messages / tally.seconds:,.0f} messages/s a process",
        broken=(*shown, *([f"{len(tally.faults):,} faults in all"] if tally.faults else [])),
    )


@functools.cache
def _corpus() -> Corpus:
    return corpus()


def _lot(seed: int, first: int) -> Tally:
    return fuzz(seed, range(first, first + LOT), _corpus())


def edges(site: Site) -> Outcome:
    """Every hand-made message through a real Kafka into a real warehouse, with odd keys and headers."""
    sent = [(edge, value) for edge in EDGES if site.size != "short" or not edge.alone for value in [edge.make()]]
    sent = [
        (edge, value) for edge, large in sent for value in [_sendable(large)] if len(value or b"") < TOPIC_BYTES / 2
    ]
    topic = site.new_topic(2)
    producer = _producer(site.broker.access)
    for number, (_, value) in enumerate(sent):
        producer.produce(topic, value, key=KEYS[number % 4], partition=number % 2, headers=HEADERS[: number % 5])
        producer.flush(60)
    # Kafka gives each message a time, and so a time to those that have none.
    results = Counter("1 rows" if edge.verdict == BAD_TIMESTAMP else edge.verdict for edge, _ in sent)
    rows = sum(int(result.split()[0]) * count for result, count in results.items() if result.endswith(" rows"))
    rejects = Counter({code: count for code, count in results.items() if "." in code})
    with consuming(site.broker.access, site.folder() / "warehouse.duckdb", ConsumeSettings(topic)) as at_work:
        until(lambda: at_work.progress.counts.messages == len(sent) or at_work.ended, 300)
        counts, kept = at_work.progress.counts, at_work.warehouse.tally.exact()
        duplicates = at_work.warehouse.duplicates()
    return Outcome(
        times=len(sent),
        messages=len(sent),
        expected_rows=rows,
        found_rows=kept.rows,
        repeats=duplicates,
        rejects=kept.rejects.total(),
        broken=broken(
            {
                f"not every message was counted: {counts.messages}": counts.messages == len(sent),
                f"other rejects: {dict(kept.rejects)}": kept.rejects == rejects,
                "other empty messages": counts.dropped["empty"] == results["empty"],
                "the datapoints do not add up": counts.datapoints
                == counts.converted + counts.dropped["noRecordedValue"] + counts.rejected_datapoints,
            }
        ),
    )


def _sendable(value: bytes | None) -> bytes | None:
    return value if len(value or b"") < TOPIC_BYTES / 2 else gzip.compress(value or b"", 1)


def largest_message(site: Site) -> Outcome:
    """A message as large as the topic takes, one byte more, and small ones before and after it."""
    topic = site.new_topic(1)
    producer = _producer(site.broker.access)
    value, points = _filled(TOPIC_BYTES - BATCH)
    producer.produce(topic, bundle(1), partition=0)
    producer.flush(60)
    reported: list[KafkaError | None] = []
    for one in (value, value + b" " * BATCH):
        producer.produce(topic, one, partition=0, on_delivery=lambda error, _: reported.append(error))
        producer.flush(60)
    producer.produce(topic, bundle(2), partition=0)
    producer.flush(60)
    refused = [error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE for error in reported]
    assert refused == [False, True], f"it was not the largest: {reported}"
    with consuming(site.broker.access, site.folder() / "warehouse.duckdb", ConsumeSettings(topic)) as at_work:
        until(lambda: at_work.progress.counts.messages == 3 or at_work.ended, 300)
        instances, duplicates = at_work.instances(), at_work.warehouse.duplicates()
        counts = at_work.progress.counts
    return Outcome(
        times=1,
        messages=3,
        expected_rows=points + 2,
        found_rows=len(instances),
        repeats=duplicates + len(instances) - len(set(instances)),
        rejects=counts.rejected_messages,
        measured=f"{len(value):,} bytes, {points:,} rows in one transaction",
        broken=broken({f"not every message was counted: {counts.messages}": counts.messages == 3}),
    )


def _filled(size: int) -> tuple[bytes, int]:
    """A message of exactly so many bytes, and how many datapoints it has."""
    one = bundle(10)
    before, after = one.split(b'[{"timeUnixNano', 1)[0] + b"[", one[one.rindex(b"]}}]}]}]}") :]
    points = []
    room = size - len(before) - len(after)
    number = 1_000_000
    while room > 0:
        point = b'{"timeUnixNano":%d,"asInt":1,"attributes":[{"key":"wildValue","value":{"stringValue":"i-%d"}}]},' % (
            NOW_NS,
            number,
        )
        room -= len(point)
        number += 1
        points.append(point)
    points.pop()
    made = before + b"".join(points)[:-1] + after
    return made + b" " * (size - len(made)), len(points)


def _producer(access: KafkaAccess) -> Producer:
    """One that leaves it to the broker how large a message may be."""
    try:
        return Producer({**access.config(), "message.max.bytes": 4 * TOPIC_BYTES, "linger.ms": 0})
    except KafkaException as error:  # pragma: no cover - a setting of ours
        raise AssertionError(str(error)) from error


def at_their_worst(site: Site) -> Outcome:
    """The largest message of each kind that is read at all: its memory, and its time against a quarter of it."""
    # With room for rows: the time of a row changes once, where their sum comes so near its limit that each is measured.
    memory, rows = site.by_size(24, 64, 512), 2_000
    kinds = [kind for kind in KINDS if site.size != "short" or "fail" in kind or "slow" in kind]
    took = {kind: _pair(kind, memory, rows) for kind in kinds}
    over = {
        f"{kind}: {whole.peak // MIB} MiB for {whole.size / MIB:.1f} MiB": whole.peak
        <= memory * MIB + 3 * whole.row_bytes + SLACK
        for kind, (_, whole) in took.items()
    }
    slow = {
        f"{kind}: four times the size takes {whole.seconds / part.seconds:.0f} times as long": whole.seconds
        < LINEAR * part.seconds + 0.1
        for kind, (part, whole) in took.items()
        if part.result == whole.result  # else they did not go the same way
    }
    worst = max(whole.peak - 3 * whole.row_bytes for _, whole in took.values())
    return Outcome(
        times=len(took),
        messages=2 * len(took),
        expected_rows=0,
        found_rows=0,
        repeats=0,
        rejects=sum("." in each.result for pair in took.values() for each in pair),
        measured=f"limit {memory} MiB; at most {worst // MIB} MiB beside the rows, "
        f"{max(whole.seconds for _, whole in took.values()):.1f} s",
        broken=broken(over | slow),
    )


def _pair(kind: str, memory: int, rows: int) -> tuple[Took, Took]:
    size = largest(kind, settings(memory, rows))
    return apart(kind, size // 4, memory, rows), apart(kind, size, memory, rows)


SCENARIOS = (
    Scenario("messages fuzzed", "Any bytes are rows, a reject or a drop that add up, and others agree.", fuzzed),
    Scenario("messages at the edges", "Each hand-made message has its result, through Kafka into DuckDB.", edges),
    Scenario("largest message", "A message as large as the topic takes is there whole.", largest_message),
    Scenario("messages at their worst", "What a message takes is bounded in memory, linear in time.", at_their_worst),
)

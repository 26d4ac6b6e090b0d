"""The receiver before a real Kafka: what the topic does not take, and a broker that is killed under load."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from lmdp.machine.embedded_kafka.broker import KafkaBroker
from lmdp.machine.embedded_kafka.config import BrokerSettings
from lmdp.machine.kafka import topics
from lmdp.receive import senders
from receive.receiving import consumed, receiving
from running import bundle, lmdp, options, rows, until


def test_what_the_topic_does_not_take_is_413_with_both_numbers(kafka_broker: KafkaBroker) -> None:
    """The broker's limit decides, and a batch of small messages never exceeds it."""
    topics.create(
        kafka_broker.access, "small", topics.TopicSettings(partitions=1, replication=1, max_message_bytes=10_000)
    )
    incompressible = bytes.hex(os.urandom(20_000))
    large = json.dumps({"resourceMetrics": [{"schemaUrl": incompressible}]}).encode()
    with receiving(kafka_broker.access, topic="small") as receiver:
        sent: list[int] = []
        with httpx.Client() as client:
            until(lambda: "10,000 (max.message.bytes)" in client.post(receiver.address, content=large).text)
            answer = client.post(receiver.address, content=large)
            assert answer.status_code == 413
            assert f"the body has {len(large):,} bytes, and the topic takes 10,000" in answer.json()["message"]

        def send(number: int) -> None:
            with httpx.Client() as client:
                sent.extend(
                    client.post(receiver.address, content=bundle(10 * number + n)).status_code for n in range(10)
                )

        threads = [threading.Thread(target=send, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sent == [200] * 80
        assert len(receiver.consumed(80)) == 80


def test_a_run_takes_the_tenant_from_the_header_that_it_trusts(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """The token's tenant is in the rows, whatever the sender claims; a run that trusts no header sees the claim."""
    topic = "tenants"
    kafka_broker.create_topic(topic, 1)
    token = senders.add(tmp_path / "tokens", "collector-1", "acme")
    with receiving(kafka_broker.access, topic=topic, tokens=tmp_path / "tokens") as receiver:
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.post(receiver.address, content=bundle(1, tenant="another's"), headers=headers)
        assert answer.status_code == 200
    words = ("run", *options(kafka_broker.access), "--topic", topic, "--until-idle", "--json")
    for home, trusted, tenant in (("a", ("--tenant-header", "lmdp-tenant"), "acme"), ("b", (), "another's")):
        done = lmdp(*words, *trusted, "--home", home, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert rows(tmp_path / home, "select ORG_ID as t from METRICS") == [{"t": tenant}]


def test_a_killed_broker_loses_nothing_that_was_acknowledged(kafka_settings: BrokerSettings, tmp_path: Path) -> None:
    """Senders repeat what was answered with 503; each message is there, and twice only where it was repeated."""
    settings = dataclasses.replace(kafka_settings, folder=tmp_path / "broker")
    with KafkaBroker(settings) as broker:
        broker.create_topic("t", 2)
        with receiving(broker.access, topic="t") as receiver:
            tries, stop, statuses = Counter[int](), threading.Event(), Counter[int]()

            def send(first: int) -> None:
                number = first
                with httpx.Client(timeout=30) as client:
                    while not stop.is_set():
                        tries[number] += 1
                        answer = client.post(receiver.address, content=bundle(number))
                        statuses[answer.status_code] += 1
                        if answer.status_code == 200:
                            number += 4
                        elif not stop.wait(0.2):
                            assert (answer.status_code, int(answer.headers["retry-after"]) > 1) == (503, True)

            threads = [threading.Thread(target=send, args=[first]) for first in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: statuses[200] > 100)
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGKILL)
            until(lambda: statuses[503] > 0)
            broker.stop()
            time.sleep(1)
            broker.start()
            until(lambda: not [line for line in receiver.log if "503" in line] or "again" in receiver.log[-1], 60)
            before = statuses[200]
            until(lambda: statuses[200] > before + 100)
            stop.set()
            for thread in threads:
                thread.join()
        found = Counter(value for value, _ in consumed(broker.access, "t", statuses[200]))
    assert set(statuses) == {200, 503}
    once = {bundle(number) for number, times in tries.items() if times == 1}
    assert {value for value, times in found.items() if times > 1} & once == set()
    assert len(found) >= statuses[200]
    assert set(found) <= {bundle(number) for number in tries}
    assert len([line for line in receiver.log if "Requests are answered with 503" in line]) == 1

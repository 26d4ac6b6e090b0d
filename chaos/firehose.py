"""Firehose and S3 behind a network that fails: every wait ends in time, and nothing lost is called delivered."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.pipes import LOAD, SECONDS, STREAM, Reported, cloud, hand_over, judged, pipe, published
from chaos.proxy import Mode, proxy_to
from chaos.scenario import Outcome, Scenario, Site
from lmdp.certificates import development_ca
from lmdp.testing.firehose import INTERNAL, THROTTLED, UNAVAILABLE, Fault, RandomFaults, firehose_double

ALL = frozenset(range(500))
FOREVER = 600.0
# A 200 that is anything but Firehose's answer: a proxy's page, no UTF-8, nesting without end, sums that do not add up.
GARBAGE = (
    b"<html>Please sign in to the network</html>",
    b'{"FailedPutCount":1,"RequestResponses":[{"ErrorCode":"\xff\xfe"}]}',
    b'{"FailedPutCount":0,"x":' + b"[" * 100_000,
    b'{"FailedPutCount":0,"RequestResponses":[]}',
    b"\x00",
)


def faulty_firehose(site: Site) -> Outcome:
    """Throttling of calls and records, 500s, resets, lost and garbled answers, and answers that are none."""
    script = [
        THROTTLED,
        Fault(entries=ALL),
        INTERNAL,
        UNAVAILABLE,
        Fault(502, ""),
        Fault(entries=frozenset(range(0, 500, 3)), entry_code="InternalFailure"),
        Fault(drop=True),
        Fault(lose=True),
        Fault(entries=frozenset(range(50)), lose=True),
        Fault(garble=True),
        *[Fault(instead=content) for content in GARBAGE],
    ]
    random_faults = RandomFaults(
        entry_failures=0.05, throttle_bursts=0.05, burst_calls=3, drops=0.05, losses=0.05, seed=5
    )
    put, reported = published(site.by_size(4, 12), poison=5), Reported()
    with cloud(random_faults) as running:
        running.double.script.extend(script)
        pipe(running.function, put.partitions[0], reported, lambda _: 200)
        promises = {"not every fault was met": not running.double.script}
        return judged(site, running, put, reported, len(script), promises)


def hanging(site: Site) -> Outcome:
    """Calls that are accepted and not answered, answers that come byte by byte, and connections that fall silent."""
    put, reported = published(3), Reported()
    batch = put.partitions[0]
    with cloud() as running:
        for fault in (Fault(seconds=FOREVER), Fault(drip=1.0), Fault(seconds=3.0)):
            running.double.script.extend([fault] * 4)
            hand_over(running.function, batch, reported)
            running.double.script.clear()
        running.to_firehose.become("silent")
        hand_over(running.function, batch, reported)
        running.to_firehose.become("pass")
        promises = {"a call without an answer was called delivered": reported.failures["DeliveryError"] >= 3}
        assert running.to_firehose.harmed, "no connection fell silent"
        pipe(running.function, batch, reported, lambda _: 200)
        return judged(site, running, put, reported, 4, promises)


def no_name(site: Site) -> Outcome:
    """Names that are not known, and a name server that does not answer."""
    put, reported = published(2), Reported()
    batch = put.partitions[0]
    with cloud() as running:
        for seconds in (0.0, FOREVER):
            with names_gone(seconds) as asked:
                running.to_firehose.cut()  # a call has to look up the name again
                hand_over(running.function, batch, reported)
            assert asked, "no name was looked up"
        accepted = len(running.double.accepted)
        promises = {
            "it was not reported": reported.failures["DeliveryError"] == 2,
            "a row came through": accepted == 0,
            "a call that was never made counts as a repeat": reported.repeats <= put.datapoints,
        }
        pipe(running.function, batch, reported, lambda _: 200)
        return judged(site, running, put, reported, 2, promises)


@contextlib.contextmanager
def names_gone(seconds: float) -> Iterator[list[str]]:
    """No name is known, which is said after `seconds`; gives what was asked for."""
    asked: list[str] = []

    def lost(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        time.sleep(seconds)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lost)
        yield asked


def no_tls(site: Site) -> Outcome:
    """TLS that is none, and TLS by a CA that nobody knows; then all is well."""
    known, other = development_ca.make(site.folder()), development_ca.make(site.folder())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known.server.cert, known.server.key)
    put, reported = published(2), Reported()
    batch = put.partitions[0]
    with cloud() as running, firehose_double(STREAM, tls=context) as safe:
        host, port = safe.url.split("//")[1].split(":")
        with proxy_to(host, int(port)) as between:
            url = f"https://127.0.0.1:{between.port}"
            trusting = running.another(AWS_ENDPOINT_URL_FIREHOSE=url, AWS_CA_BUNDLE=str(known.ca.cert))
            stranger = running.another(AWS_ENDPOINT_URL_FIREHOSE=url, AWS_CA_BUNDLE=str(other.ca.cert))
            hand_over(stranger, batch, reported)
            unsure = reported.repeats
            between.become("garbage")
            hand_over(trusting, batch, reported)
            harmed = between.harmed
            between.become("pass")
            promises = {
                "it was not reported": reported.failures["DeliveryError"] == 2,
                "a row came through": safe.accepted == [],
                "a refused certificate counts as a repeat": unsure == 0,
            }
            pipe(trusting, batch, reported, lambda _: 200)
        assert harmed, "no TLS was harmed"
        running.double.accepted.extend(safe.accepted)
        return judged(site, running, put, reported, 2, promises)


def no_bucket(site: Site) -> Outcome:
    """An S3 that refuses, falls silent, talks nonsense: rejects are not written, so nothing is delivered either."""
    put, reported = published(2, poison=5), Reported()
    batch = put.partitions[0]
    modes: tuple[Mode, ...] = ("refuse", "silent", "garbage")
    with cloud() as running:
        for mode in modes:
            running.to_s3.become(mode)
            hand_over(running.function, batch, reported)
        assert running.to_s3.harmed >= 2, "S3 was not harmed"
        promises = {
            "it was not reported": reported.failures["RejectsNotWrittenError"] == len(modes),
            "rows were delivered before their batch's rejects": running.double.accepted == [],
            "an invocation outlasted its time": reported.longest < SECONDS + LOAD,
        }
        running.to_s3.become("pass")
        pipe(running.function, batch, reported, lambda _: 200)
        return judged(site, running, put, reported, len(modes), promises)


SCENARIOS = (
    Scenario("Firehose with faults", "Whatever Firehose answers, METRICS holds each row once.", faulty_firehose),
    Scenario("Firehose silent", "No call outlasts the invocation, nor is called delivered.", hanging),
    Scenario("Firehose's name gone", "A name that is not known, or a silent name server, ends in time.", no_name),
    Scenario("Firehose without TLS", "No row goes where TLS fails.", no_tls),
    Scenario("S3 unreachable", "Rejects that cannot be written hold back their batch, in time.", no_bucket),
)

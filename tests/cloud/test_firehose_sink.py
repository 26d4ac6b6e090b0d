"""Delivery to Firehose: what goes again, what raises, when, and what is said of it."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from dataclasses import replace

import pytest
from botocore.exceptions import CredentialRetrievalError

from cloud.names import REGION, SECRET, STREAM
from lmdp.cloud.aws_client import connect, endpoint, post
from lmdp.cloud.firehose_sink import TARGET, Firehose, deliver, open_firehose
from lmdp.errors import DeliveryError, LmdpError
from lmdp.testing.firehose import (
    DENIED,
    INTERNAL,
    NO_STREAM,
    THROTTLED,
    UNAVAILABLE,
    Fault,
    FirehoseDouble,
    RandomFaults,
)

ROWS = [b'{"n":%d,"secret":"row content"}' % n for n in range(1_200)]
ALL = frozenset(range(500))


@pytest.fixture
def firehose(double: FirehoseDouble) -> Firehose:
    """The real sink, with the double behind it."""
    return open_firehose(STREAM, REGION, {"AWS_ENDPOINT_URL_FIREHOSE": double.url}, 4)


def test_few_calls(firehose: Firehose, double: FirehoseDouble) -> None:
    """1,200 rows are three calls, and each row is one record as it was."""
    done = deliver(firehose, ROWS, firehose.clock() + 10)
    assert (done.rows, done.accepted, done.refused, done.calls, done.retried) == (1200, 1200, 0, 3, 0)
    assert sorted(double.calls) == [200, 500, 500]
    assert Counter(double.accepted) == Counter(ROWS)


@pytest.mark.parametrize(
    ("fault", "retried", "repeats", "throttled"),
    [
        (Fault(entries=frozenset({3, 7, 499})), 3, 0, 0),
        (Fault(entries=frozenset({3}), entry_code="InternalFailure"), 1, 0, 0),
        (Fault(entries=ALL), 500, 0, 1),
        (THROTTLED, 500, 0, 1),
        (UNAVAILABLE, 500, 0, 1),
        (INTERNAL, 500, 500, 0),
        (Fault(drop=True), 500, 500, 0),
        (Fault(lose=True), 500, 500, 0),
        (Fault(garble=True), 500, 500, 0),
    ],
    ids=["entries", "entries, internal", "all entries", "throttled", "503", "500", "dropped", "lost", "cut off"],
)
def test_what_goes_again(
    firehose: Firehose, double: FirehoseDouble, fault: Fault, retried: int, repeats: int, throttled: int
) -> None:
    """Refused rows go again, and a call that may have been carried out counts as probable repeats."""
    double.script.append(fault)
    done = deliver(firehose, ROWS[:500], firehose.clock() + 30)
    assert (done.accepted, done.refused) == (500, 0)
    assert (done.retried, done.repeats, done.throttled) == (retried, repeats, throttled)
    assert set(double.accepted) == set(ROWS[:500])


@pytest.mark.parametrize(
    ("fault", "hint"),
    [(NO_STREAM, "LMDP_DELIVERY_STREAM"), (DENIED, "firehose:PutRecordBatch"), (Fault(400, "X"), "API reference")],
)
def test_what_no_retry_mends(firehose: Firehose, double: FirehoseDouble, fault: Fault, hint: str) -> None:
    """A permanent fault raises at once, with the code and what to do about it."""
    double.script.extend([fault] * 3)
    with pytest.raises(DeliveryError, match=hint) as caught:
        deliver(firehose, ROWS, firehose.clock() + 30)
    assert not caught.value.retryable
    assert caught.value.code == fault.code
    assert caught.value.delivered.refused == 1200
    assert caught.value.delivered.calls <= 3


def test_the_time_is_used_and_kept(firehose: Firehose, double: FirehoseDouble) -> None:
    """While Firehose throttles, it goes on until its time is nearly over, and then says what will be there twice."""
    double.script.extend([Fault(entries=frozenset(range(1, 500))), *[THROTTLED] * 1000])
    begun = firehose.clock()
    with pytest.raises(DeliveryError, match="METRICS hides") as caught:
        deliver(replace(firehose, concurrency=1), ROWS[:500], begun + 2)
    done = caught.value.delivered
    assert caught.value.retryable
    assert (done.accepted, done.refused, done.repeats) == (1, 499, 1)
    assert done.calls >= 2
    assert firehose.clock() - begun < 2.5


def test_out_of_turns_is_out_of_time(firehose: Firehose, double: FirehoseDouble) -> None:
    """Where the next turn comes after the deadline, nothing is left to wait for: it ends, and counts no retry."""
    for _ in range(20):
        start = firehose.limiter.acquire(firehose.clock())
        assert start is not None
        firehose.limiter.throttled(start)
    begun = firehose.clock()
    with pytest.raises(DeliveryError, match="OutOfTime") as caught:
        deliver(firehose, ROWS, begun + 5)
    assert (caught.value.retryable, caught.value.delivered.calls, caught.value.delivered.retried) == (True, 0, 0)
    assert firehose.clock() - begun < 1
    assert double.calls == []


def test_a_slow_answer_does_not_outlast_the_deadline(firehose: Firehose, double: FirehoseDouble) -> None:
    """A call is given only the time that is left; what it carried out meanwhile counts as a probable repeat."""
    double.script.append(Fault(seconds=3))
    begun = firehose.clock()
    with pytest.raises(DeliveryError, match="ReadTimeoutError") as caught:
        deliver(firehose, ROWS[:10], begun + 0.5)
    assert firehose.clock() - begun < 1.5
    assert caught.value.delivered.repeats == 10


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>Sign in to the network</html>",
        b"",
        b'{"FailedPutCount":1,"RequestResponses":[{"ErrorCode":"\xff"}]}',
        b'{"FailedPutCount":0,"RequestResponses":[],"x":' + b"[" * 100_000,
        b'{"FailedPutCount":0,"RequestResponses":[{"RecordId":"1"}]}',
        b'{"FailedPutCount":0,"RequestResponses":[' + b",".join([b'{"ErrorCode":"InternalFailure"}'] * 500) + b"]}",
        b'{"FailedPutCount":500,"RequestResponses":[' + b",".join([b'{"RecordId":"1"}'] * 500) + b"]}",
    ],
    ids=["page", "empty", "no UTF-8", "nested", "too short", "0 refused, 500 errors", "500 refused, no error"],
)
def test_an_answer_that_is_none(firehose: Firehose, double: FirehoseDouble, answer: bytes) -> None:
    """A 200 that Firehose did not write, or that contradicts itself, says nothing: all rows go again."""
    double.script.append(Fault(instead=answer or b" "))
    done = deliver(firehose, ROWS[:500], firehose.clock() + 30)
    assert (done.accepted, done.refused, done.retried, done.repeats) == (500, 0, 500, 500)
    assert set(double.accepted) == set(ROWS[:500])


def test_a_code_is_a_name(firehose: Firehose, double: FirehoseDouble) -> None:
    """Whatever stands in an entry's code reaches no error and no log, unless it is a name."""
    double.script.extend([Fault(entries=ALL, entry_code="row content")] * 100)
    with pytest.raises(DeliveryError, match=r"\(Http200\)"):
        deliver(firehose, ROWS[:10], firehose.clock() + 0.5)


@pytest.mark.parametrize("fault", [Fault(drip=0.3), Fault(seconds=60)], ids=["byte by byte", "never"])
def test_no_answer_outlasts_the_deadline(firehose: Firehose, double: FirehoseDouble, fault: Fault) -> None:
    """An answer that comes for ever is not waited for; what became of the rows is not known."""
    double.script.append(fault)
    begun = firehose.clock()
    with pytest.raises(DeliveryError, match="Check the network path to Firehose") as caught:
        deliver(firehose, ROWS[:500], begun + 1)
    assert firehose.clock() - begun < 8
    assert (caught.value.retryable, caught.value.delivered.repeats) == (True, 500)


def test_a_silent_name_server_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up without any time-out; the invocation ends in time all the same."""
    end = threading.Event()

    def lookup(*_: object, **__: object) -> None:
        end.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    firehose = open_firehose(STREAM, REGION, {}, 1)
    begun = firehose.clock()
    with pytest.raises(DeliveryError, match="DeadlineError") as caught:
        deliver(firehose, ROWS[:10], begun + 1)
    end.set()
    assert caught.value.retryable
    assert firehose.clock() - begun < 8


def test_credentials_that_ended_and_are_not_renewed() -> None:
    """That is told as such, by the call that needed them."""
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415 - only here

    def ended() -> dict[str, str]:
        return {"access_key": "A", "secret_key": "s", "token": "t", "expiry_time": "2020-01-01T00:00:00Z"}

    credentials = RefreshableCredentials.create_from_metadata(ended(), ended, "here")
    connection = connect("firehose", REGION, {}, pool=1, credentials=credentials)
    with pytest.raises(CredentialRetrievalError, match="they have expired"):
        post(connection, TARGET, b"{}", 1)


def test_nobody_there() -> None:
    """A stream that cannot be reached is not delivered to, and nothing can have got through."""
    firehose = open_firehose(STREAM, REGION, {"AWS_ENDPOINT_URL_FIREHOSE": "http://127.0.0.1:9"}, 2)
    with pytest.raises(DeliveryError, match="EndpointConnectionError") as caught:
        deliver(firehose, ROWS[:10], firehose.clock() + 0.5)
    assert caught.value.retryable
    assert caught.value.delivered.repeats == 0


def test_random_faults(double: FirehoseDouble) -> None:
    """Refused entries, throttling bursts, dropped connections and lost answers together: every row is there."""
    double.random_faults = RandomFaults(
        entry_failures=0.05, throttle_bursts=0.1, burst_calls=3, drops=0.05, losses=0.05
    )
    firehose = open_firehose(STREAM, REGION, {"AWS_ENDPOINT_URL_FIREHOSE": double.url}, 8)
    rows = [b'{"n":%d}' % n for n in range(5_000)]
    done = deliver(firehose, rows, firehose.clock() + 60)
    assert (done.accepted, done.refused) == (5_000, 0)
    stored = Counter(double.accepted)
    assert set(stored) == set(rows)
    assert stored.total() - 5_000 <= done.repeats


@pytest.mark.parametrize("fault", [THROTTLED, DENIED, INTERNAL, Fault(drop=True), Fault(garble=True)])
def test_no_row_and_no_secret_in_logs_or_errors(
    firehose: Firehose, double: FirehoseDouble, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log, from INFO up, nor an error's text has anything of a row or of the credentials."""
    double.script.extend([fault] * 100)
    caplog.set_level(logging.INFO)
    with pytest.raises(DeliveryError) as caught:
        deliver(firehose, ROWS, firehose.clock() + 0.4)
    for text in (str(caught.value), repr(caught.value.delivered), caplog.text):
        assert "row content" not in text
        assert "cm93IGNvbnRlbnQ" not in text  # the same in base64
        assert SECRET not in text


@pytest.mark.parametrize(
    ("region", "env", "url"),
    [
        ("eu-west-1", {}, "https://firehose.eu-west-1.amazonaws.com"),
        ("cn-north-1", {}, "https://firehose.cn-north-1.amazonaws.com.cn"),
        ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://firehose-fips.us-east-1.amazonaws.com"),
        ("us-east-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://firehose.us-east-1.api.aws"),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        (
            "us-east-1",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://firehose.us-east-1.amazonaws.com",
        ),
    ],
)
def test_endpoints_are_boto3s(region: str, env: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is where boto3's own client would look for it."""
    from botocore.session import Session  # noqa: PLC0415 - what it is compared with

    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert endpoint("firehose", region, env) == url == Session().create_client("firehose", region).meta.endpoint_url


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the function does not start, and says what to do."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(LmdpError, match="no AWS credentials"):
        open_firehose(STREAM, REGION, {}, 1)


def test_moto_takes_it_too(s3_url: str) -> None:
    """moto, which is not ours, reads the request as a real one."""
    from botocore.session import Session  # noqa: PLC0415 - only to make the stream

    control = Session().create_client("firehose", REGION, endpoint_url=s3_url)
    control.create_delivery_stream(
        DeliveryStreamName=STREAM,
        S3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/x",
            "BucketARN": "arn:aws:s3:::" + "lmdp-moto-stream",
        },
    )
    Session().create_client("s3", REGION, endpoint_url=s3_url).create_bucket(
        Bucket="lmdp-moto-stream", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    firehose = open_firehose(STREAM, REGION, {"AWS_ENDPOINT_URL_FIREHOSE": s3_url}, 2)
    assert deliver(firehose, ROWS, firehose.clock() + 10).accepted == 1200

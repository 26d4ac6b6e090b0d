"""Signing in, and what a session does about each fault."""

from __future__ import annotations

import base64
import socket
import threading

import pytest

from lmdp.errors import ChannelInvalidError, LmdpError, UnreachableError
from lmdp.snowflake.connection import der
from lmdp.snowflake.keypair import make_pair
from lmdp.snowflake.streaming.session import Account, Call, Session
from lmdp.testing.snowpipe import Fault, SnowpipeDouble, snowpipe_double
from snowpipe_parts import KEY, PLACE, public


def status() -> Call:
    """Return a request that changes nothing."""
    return Call(
        "POST",
        f"{PLACE.path()}:bulk-channel-status",
        {},
        b'{"channel_names": []}',
        {"Content-Type": "application/json"},
        wait_seconds=5.0,
    )


@pytest.mark.parametrize("documented", [False, True])
def test_a_session_signs_in_once(documented: bool) -> None:
    """Host and token are asked for once, whether the answers are plain text or as documented."""
    with snowpipe_double(key=public(KEY), documented=documented) as double:
        session = Session(Account(double.url, "lm_firehose_svc", lambda: KEY))
        for _ in range(3):
            assert session.call(status()) == b'{"channel_statuses": {}}'
    assert [request.operation for request in double.requests] == ["hostname", "token", *["status"] * 3]
    identities = [request.query["requestId"] for request in double.requests if request.operation == "status"]
    assert len(set(identities)) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"),
        Fault("status", 503, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST", bare=True),
        Fault("status", 503, "upstream connect error", plain=True),
        Fault("status", 429, "ERR_TOO_MANY_REQUESTS"),
        Fault("status", 409, "ERR_OPEN_CHANNEL_IN_PROGRESS"),
        Fault("status", 401, "ERR_TOKEN_EXPIRED"),
        Fault("status", drop=True),
        Fault("status", lose=True),
        Fault("status", garble=True),
        Fault("hostname", 503, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"),
        Fault("hostname", drop=True),
        Fault("token", 500, "x", plain=True),
        Fault("token", lose=True),
    ],
    ids=str,
)
def test_a_passing_fault_is_repeated(double: SnowpipeDouble, session: Session, fault: Fault) -> None:
    """The same request comes again, with the same id and a higher count, until it is answered."""
    double.script = [fault, fault]
    assert session.call(status()) == b'{"channel_statuses": {}}'
    assert not double.script
    asked = [request for request in double.requests if request.operation == "status"]
    assert len({request.query["requestId"] for request in asked}) == 1
    counts = [int(request.query["retryCount"]) for request in asked]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", 400, "STALE_CONTINUATION_TOKEN_SEQUENCER"), ChannelInvalidError),
        (Fault("status", 409, "ERR_CHANNEL_MUST_BE_REOPENED"), ChannelInvalidError),
        (Fault("status", 410, "ERR_PIPE_FAILED_OVER"), ChannelInvalidError),
        (Fault("status", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"), LmdpError),
        (Fault("status", 400, "ERR_MALFORMED_REQUEST", bare=True), LmdpError),
    ],
    ids=str,
)
def test_what_no_repetition_can_help_is_raised_at_once(
    double: SnowpipeDouble, session: Session, fault: Fault, error: type[Exception]
) -> None:
    """A channel that is invalid, and a refusal for good, are not tried again."""
    double.script = [fault]
    with pytest.raises(error, match=fault.code):
        session.call(status())
    assert [request.operation for request in double.requests].count("status") == 1


def test_a_pipe_that_failed_over_is_looked_up_again(double: SnowpipeDouble, session: Session) -> None:
    """After a 410 the host and the token are asked for again."""
    double.script = [Fault("status", 410, "ERR_PIPE_FAILED_OVER")]
    with pytest.raises(ChannelInvalidError):
        session.call(status())
    session.call(status())
    assert [request.operation for request in double.requests].count("hostname") == 2


def test_an_answer_that_was_lost_leaves_doubt(double: SnowpipeDouble, session: Session) -> None:
    """A refusal of a request that may have been carried out before is told from one that was refused at once."""
    stale = Fault("status", 400, "STALE_CONTINUATION_TOKEN_SEQUENCER")
    for before, is_in_doubt in (([], False), ([Fault("status", lose=True)], True), ([Fault("status", 500)], True)):
        double.script = [*before, stale]
        with pytest.raises(ChannelInvalidError) as raised:
            session.call(status())
        assert raised.value.is_in_doubt is is_in_doubt


def test_tokens_are_renewed_before_they_end() -> None:
    """No request is refused for an old token."""
    with snowpipe_double(key=public(KEY), token_s=0.4) as double:
        session = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: KEY))
        for _ in range(10):
            session.call(status())
            threading.Event().wait(0.1)
    assert {request.answer[0] for request in double.requests} == {200}
    assert [request.operation for request in double.requests].count("token") > 2


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_a_wrong_clock_follows_snowflakes(ahead: float) -> None:
    """A JWT that is not valid yet, or no longer, is made again with the time that Snowflake's answer has."""
    with snowpipe_double(key=public(KEY), clock_s=ahead) as double:
        Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: KEY)).call(status())
        operations = [request.operation for request in double.requests]
    assert operations == ["hostname", "hostname", "token", "status"]


def test_a_key_that_was_replaced_is_taken_up(double: SnowpipeDouble) -> None:
    """The key is read again whenever one is signed with: after a rotation the new one is used."""
    other = der(make_pair(2048).private.encode())
    keys = iter([other, KEY, KEY])
    session = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: next(keys)))
    session.call(status())
    assert double.requests[0].answer[0] == 401


def test_a_key_that_nobody_knows_ends_it(double: SnowpipeDouble) -> None:
    """A key that is not registered is reported with the user's name, soon."""
    other = der(make_pair(2048).private.encode())
    session = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: other))
    with pytest.raises(LmdpError, match="does not know the key of LM_FIREHOSE_SVC"):
        session.call(status())


@pytest.mark.parametrize("closed", [True, False])
def test_what_is_away_is_unreachable(double: SnowpipeDouble, closed: bool) -> None:
    """Connections that are refused, or closed at once, are an error of their own after the time allowed."""
    double.away = True
    session = Session(
        Account("http://127.0.0.1:9" if closed else double.url, "LM_FIREHOSE_SVC", lambda: KEY), retry_s=0.5
    )
    with pytest.raises(UnreachableError, match="does not take"):
        session.call(status())


def test_nothing_is_repeated_at_the_end(double: SnowpipeDouble, session: Session) -> None:
    """Once the end is wanted a request is sent once."""
    double.script = [Fault("status", 503)] * 3
    session.stop.set()
    with pytest.raises(UnreachableError):
        session.call(status())
    assert [request.operation for request in double.requests] == ["hostname", "token", "status"]


@pytest.mark.parametrize(
    ("proxy", "authorization"),
    [
        ("http://alice:s%40cret@{}", b"Basic " + base64.b64encode(b"alice:s@cret")),
        ("http://{}", None),
        ("{}", None),
    ],
)
def test_a_proxy_may_want_a_password(proxy: str, authorization: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked to connect with the name and password of its address, which may lack a scheme, as curl takes it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("https_proxy", proxy.format(f"127.0.0.1:{listener.getsockname()[1]}"))
        opened = Session(Account("https://acme.snowflakecomputing.com", "U", lambda: KEY), threading.Event(), 0.0)
        with pytest.raises(UnreachableError):
            opened.call(status())
        opened.close()
        thread.join()
    lines = heard[0].split(b"\r\n")
    assert lines[0].startswith(b"CONNECT acme.snowflakecomputing.com:443")
    found = [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"proxy-authorization")]
    assert found == ([authorization] if authorization else [])

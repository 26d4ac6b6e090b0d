"""Who may send: tokens, their file, and what they are limited to."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path

import httpx
import pytest

from lmdp.errors import RequestRefusedError, SettingsError
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.receive import senders
from lmdp.receive.application import Application, ReceiveLimits
from lmdp.receive.metrics import Metrics
from lmdp.receive.senders import Senders
from lmdp.receive.server import Receiver, ReceiveSettings
from lmdp.receive.topic import TopicWriter
from receive.receiving import BUNDLE, receiving
from running import call, until


def basic(name: str, token: str) -> str:
    """The header of HTTP basic."""
    return f"Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}"


def refused(admitting: Senders, authorization: str, query: bytes = b"") -> tuple[int, str]:
    """The status and text of a refusal."""
    with pytest.raises(RequestRefusedError) as error:
        admitting.admit(authorization, query, "")
    return error.value.status, str(error.value)


def test_a_token_names_its_sender_and_tenant(tmp_path: Path) -> None:
    """Bearer and basic are the same token; with basic the name has to be the token's."""
    path = tmp_path / "tokens.json"
    token = senders.add(path, "collector-1", "acme")
    other = senders.add(path, "collector-2", "other")
    admitting = Senders(path)
    for authorization in (f"Bearer {token}", f"bearer  {token}", basic("collector-1", token), basic("", token)):
        found = admitting.admit(authorization, b"", "")
        assert (found.name, found.tenant) == ("collector-1", "acme")
    assert admitting.admit(f"Bearer {other}", b"", "").tenant == "other"
    assert refused(admitting, basic("collector-2", token))[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "counted"),
    [
        ("GET", "/", {}, "strangers"),
        ("GET", "/?id=1", {}, "strangers"),
        ("POST", "/.env", {}, "strangers"),
        ("POST", "/", {}, "strangers"),
        ("POST", "/", {"authorization": "Bearer lmdp_revoked"}, "refusals"),
        ("POST", "/?token=lmdp_revoked", {}, "refusals"),
        ("POST", "/v1/metricz", {"authorization": "Bearer lmdp_good"}, "refusals"),
    ],
)
def test_scanners_do_not_count_as_senders(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], counted: str
) -> None:
    """Refused without any credentials, at another path or with another method: a line that no alarm counts."""
    tokens = tmp_path / "tokens.json"
    senders.add(tokens, "collector-1", "acme")
    topic = TopicWriter(KafkaAccess("127.0.0.1:1"), "t", print)
    application = Application(topic, Senders(tokens, from_query=True), Metrics(), frozenset({"/"}), ReceiveLimits())

    async def send() -> int:
        transport = httpx.ASGITransport(application)  # type: ignore[arg-type]  # its own types for ASGI's
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.request(method, path, headers=headers, content=BUNDLE)).status_code

    assert asyncio.run(send()) in (401, 404, 405)
    found = {"refusals": application.refusals.total(), "strangers": application.strangers.total()}
    assert found == {"refusals": 0, "strangers": 0} | {counted: 1}


def test_strangers_have_a_line_of_their_own() -> None:
    """The text that the alarm on refusals counts is in the senders' line alone."""
    log = list[str]()
    receiver = Receiver(ReceiveSettings(KafkaAccess("127.0.0.1:1"), "t"), log.append)
    receiver.application.strangers[404, "nothing"] += 3
    receiver.application.refusals[400, "no body"] += 1
    receiver.report()
    receiver.report()
    assert log == ["refused requests: 1 of 400: no body", "refused requests without credentials: 3 of 404: nothing"]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic",
        "Basic !",
        "Basic eA==",
        "Digest x",
        "lmdp_x",
        "Bearer \x00",
        "Bearer ü",
    ],
)
def test_anything_else_is_401(tmp_path: Path, authorization: str) -> None:
    """No token, another one, and what is no header at all."""
    senders.add(tmp_path / "t", "a")
    status, text = refused(Senders(tmp_path / "t"), authorization)
    assert (status, "Bearer" in text or "Basic" in text) == (401, True), text


def test_a_token_in_the_url_has_to_be_permitted(tmp_path: Path) -> None:
    """URLs are logged by every proxy."""
    token = senders.add(tmp_path / "t", "a")
    query = f"x=1&token={token}".encode()
    assert refused(Senders(tmp_path / "t"), "", query)[0] == 401
    permitting = Senders(tmp_path / "t", from_query=True)
    assert permitting.admit("", query, "").name == "a"
    assert refused(permitting, "", b"token=x")[0] == 401
    assert refused(permitting, "Bearer x", query)[0] == 401


def test_a_token_expires(tmp_path: Path) -> None:
    """An expired token is refused with its day."""
    path = tmp_path / "t"
    token = senders.add(path, "a", expires_days=1)
    assert Senders(path).admit(f"Bearer {token}", b"", "").name == "a"
    file = json.loads(path.read_text())
    file["tokens"][0]["expires"] = 86_400
    path.write_text(json.dumps(file))
    assert refused(Senders(path), f"Bearer {token}") == (401, "the token 'a' expired on 1970-01-02")


def test_a_rate_holds_for_each_token(tmp_path: Path) -> None:
    """Beyond its rate a token is asked to wait; the others are not."""
    path = tmp_path / "t"
    slow, other = senders.add(path, "slow", requests_per_second=2), senders.add(path, "other")
    admitting = Senders(path)
    assert [admitting.admit(f"Bearer {slow}", b"", "").name for _ in range(2)] == ["slow", "slow"]
    assert refused(admitting, f"Bearer {slow}") == (429, "the token 'slow' may send 2 requests a second")
    assert admitting.admit(f"Bearer {other}", b"", "").name == "other"
    until(lambda: admitting.admit(f"Bearer {other}", b"", ""))
    time.sleep(0.6)
    assert admitting.admit(f"Bearer {slow}", b"", "").name == "slow"


@pytest.mark.parametrize("rate", [0.01, 0.5, 1])
def test_a_low_rate_admits_the_first_request(tmp_path: Path, rate: float) -> None:
    """A sender's bucket holds one request at least, also where that is more than a second's."""
    path = tmp_path / "t"
    slow = senders.add(path, "slow", requests_per_second=rate)
    admitting = Senders(path)
    assert admitting.admit(f"Bearer {slow}", b"", "").name == "slow"
    assert refused(admitting, f"Bearer {slow}") == (429, f"the token 'slow' may send {rate} requests a second")


def test_the_file_has_no_token(tmp_path: Path) -> None:
    """Only hashes are kept, for the owner alone to read."""
    path = tmp_path / "t"
    token = senders.add(path, "a", "acme")
    assert token not in path.read_text()
    assert len(token) > 43
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        ("{", 0o600, "is not as"),
        ('{"tokens": [{"name": "a", "token": "x"}]}', 0o600, "is not as"),
        ('{"tokens": [{"name": "a", "sha256": "xx"}]}', 0o600, "sha256 that is none"),
        ('{"tokens": []}', 0o622, "others may write it. Run: chmod go-w"),
    ],
)
def test_a_broken_file_is_refused_at_the_start(tmp_path: Path, content: str, mode: int, text: str) -> None:
    """Unknown fields as well: a misspelt limit would limit nothing."""
    path = tmp_path / "t"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=text):
        Senders(path)


def test_a_file_that_changes_is_taken_up(tmp_path: Path) -> None:
    """A new token is admitted, a revoked one is not; while the file is broken nobody is, for the time being."""
    path = tmp_path / "t"
    token = senders.add(path, "a")
    admitting = Senders(path)
    assert admitting.refresh() == ""
    later = senders.add(path, "b")
    assert admitting.refresh() == f"{path} has changed: 2 tokens"
    assert admitting.admit(f"Bearer {later}", b"", "").name == "b"
    senders.revoke(path, "a")
    admitting.refresh()
    assert refused(admitting, f"Bearer {token}")[0] == 401
    kept = path.read_text()
    path.unlink()
    assert "cannot be read" in admitting.refresh()
    assert refused(admitting, f"Bearer {later}")[0] == 503
    path.write_text(kept)
    admitting.refresh()
    assert admitting.admit(f"Bearer {later}", b"", "").name == "b"


def test_the_receiver_names_sender_and_tenant_to_kafka(tmp_path: Path, broker: MemoryBroker) -> None:
    """The headers are the token's, whatever the request's own say; a revoked token is refused without a restart."""
    path = tmp_path / "tokens.json"
    token = senders.add(path, "collector-1", "acmé", max_body_bytes=2_000)
    with receiving(broker.access, tokens=path) as receiver:
        spoofed = {"lmdp-tenant": "other", "lmdp-sender": "x", "x-forwarded-for": "1.2.3.4"}
        given = {"authorization": f"Bearer {token}"} | spoofed
        assert httpx.post(f"{receiver.address}/v1/metrics", content=BUNDLE).status_code == 401
        assert httpx.post(f"{receiver.address}/v1/metrics", content=bytes(2_001), headers=given).status_code == 413
        assert httpx.post(f"{receiver.address}/v1/metrics", content=BUNDLE, headers=given).status_code == 200
        [(_, headers)] = receiver.consumed(1)
        assert headers == {
            "lmdp-path": b"/v1/metrics", "lmdp-sender": b"collector-1", "lmdp-tenant": "acmé".encode(),
        }  # fmt: skip
        senders.revoke(path, "collector-1")
        until(lambda: httpx.post(f"{receiver.address}/", content=BUNDLE, headers=given).status_code == 401)
    assert token not in "\n".join(receiver.log)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"host": "0.0.0.0", "behind_proxy": True}, "anybody could send"),
        ({"host": "0.0.0.0", "tokens": Path("t")}, "without TLS shows tokens"),
        ({"host": "192.0.2.1", "cert": Path("c"), "key": Path("k")}, "anybody could send"),
        ({"host": "::"}, "anybody could send"),
        ({"host": "localhost", "client_ca": Path("c")}, "--client-ca needs --tls-cert"),
        ({"cert": Path("c")}, "go together"),
        ({"query_token": True}, "needs --tokens"),
        ({"paths": frozenset({"x"})}, "does not begin with /"),
    ],
)
def test_it_fails_closed(given: dict[str, object], fault: str) -> None:
    """Beyond loopback it wants senders and TLS."""
    faults = ReceiveSettings(KafkaAccess("127.0.0.1:1"), "t", **given).faults()  # type: ignore[arg-type]
    assert [one for one in faults if fault in one], faults


@pytest.mark.parametrize("given", [{}, {"host": "::1"}, {"host": "0.0.0.0", "tokens": Path("t"), "behind_proxy": True}])
def test_settings_that_are_fine(given: dict[str, object]) -> None:
    """Loopback needs nothing."""
    assert ReceiveSettings(KafkaAccess("127.0.0.1:1"), "t", **given).faults() == []  # type: ignore[arg-type]


def test_the_command_makes_lists_and_revokes_tokens(tmp_path: Path) -> None:
    """The token is on standard output, once, and nowhere else."""
    made = call("receive", "token", "add", "c-1", "--tenant", "acme", "--expires-days", "9", folder=tmp_path)
    token = made.out.strip()
    assert (made.code, token[:5], token in made.err) == (0, "lmdp_", False)
    again = call("receive", "token", "add", "c-1", folder=tmp_path)
    assert (again.code, "has a token 'c-1'" in again.err) == (2, True)
    listed = call("receive", "token", "list", folder=tmp_path)
    assert listed.out.startswith("c-1  tenant acme, made 2")
    as_json = json.loads(call("receive", "token", "list", "--json", folder=tmp_path).out)
    assert [sorted(one) for one in as_json] == [
        ["created", "expires", "max_body_bytes", "name", "requests_per_second", "tenant"]
    ]
    assert call("receive", "token", "revoke", "c-1", folder=tmp_path).out == "Revoked: c-1\n"
    assert call("receive", "token", "revoke", "c-1", folder=tmp_path).code == 2
    wrong = call("receive", "token", "add", "c 1", folder=tmp_path)
    assert (wrong.code, "is not a valid name for a token" in wrong.err) == (2, True)

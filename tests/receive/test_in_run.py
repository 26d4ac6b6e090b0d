"""`lmdp run --receive`: the receiver in the process of the run, and what shows it."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import httpx
import pytest

from lmdp.certificates import development_ca
from lmdp.cli.live import lines
from lmdp.doctor import receiver as doctor
from lmdp.doctor.result import Context
from lmdp.machine.api import client
from lmdp.page.pipeline_tab import _source
from lmdp.receive import senders
from page.sites import site_in
from page.test_prometheus import samples
from running import bundle, call, rows, until

ALONE = ("--broker", "memory", "--receive", "--listen")


def test_one_line_takes_metrics_and_makes_rows(tmp_path: Path) -> None:
    """No device is simulated; the token's tenant is the rows', else `demo`; status, page, doctor, metrics show it."""
    with_tenant, without = (
        senders.add(tmp_path / "tokens", name, tenant) for name, tenant in (("a", "acme"), ("b", ""))
    )
    words = (*ALONE, "127.0.0.1:0", "--tokens", str(tmp_path / "tokens"))
    with site_in(tmp_path, None, *words) as site:
        address = client.status(site.home)["running"]["receiver"]["address"]
        for number, token, status in ((1, with_tenant, 200), (2, without, 200), (3, "x", 401)):
            headers = {"authorization": f"Bearer {token}"}
            assert httpx.post(address, content=bundle(number), headers=headers).status_code == status
        query = "select ORG_ID as t, INSTANCE as i from METRICS order by all"
        until(lambda: len(rows(site.home, query)) == 2)
        assert rows(site.home, query) == [{"t": "acme", "i": "i-1"}, {"t": "demo", "i": "i-2"}]
        running = client.status(site.home)["running"]
        assert running["simulating"] is False
        state = running["receiver"]
        assert {name: state[name] for name in ("accepted", "busy", "refused", "trouble")} == {
            "accepted": 2, "busy": 0, "refused": 1, "trouble": "",
        }  # fmt: skip
        shown = f"receiver    {address}, requests: 2 accepted, 0 to be retried, 1 refused"
        assert shown in lines(client.status(site.home))
        until(lambda: site.get("/api/status")[1]["run"]["receiver"]["refused"] == 1)
        until(lambda: 'status="401"' in site.get("/metrics")[1])
        found = samples(site.get("/metrics")[1])
        assert found['lmdp_receive_requests_total{sender="a"}{status="200"}'] == 1
        assert found["lmdp_up"] == 1
        looked = doctor.receiver(Context(site.home, site.home / "warehouse.duckdb", {}, "t"))
        assert (looked.state, looked.text) == ("ok", f"{address} answers")


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        (("--listen", "0.0.0.0:1", "--tls-cert", "c"), 2, ["--listen is for --receive", "--tls-cert is for --receive"]),
        (("--receive", "--listen", "x"), 2, ["--listen is 'x'"]),
        (("--receive", "--listen", "0.0.0.0:0"), 2, ["anybody could send", "without TLS shows tokens"]),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_started(
    tmp_path: Path, words: tuple[str, ...], code: int, fault: list[str]
) -> None:
    """Options of a receiver without one, and a receiver that would be open."""
    ended = call("run", *words, folder=tmp_path)
    assert ended.code == code
    assert [one for one in fault if one not in ended.err] == []
    assert not (tmp_path / ".lmdp").exists()


def test_a_port_that_is_taken_ends_the_run(tmp_path: Path) -> None:
    """Exit code 3 with the address: a run whose senders reach nothing is no run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = call("run", *ALONE, f"127.0.0.1:{port}", folder=tmp_path, LMDP_PAGE="false")
    assert (ended.code, f"cannot listen on 127.0.0.1:{port}" in ended.err) == (3, True)


def receiver_of(*, simulated: int | None = None, trouble: str = "") -> dict[str, object]:
    """A run's figures, as the page's API has them."""
    receiver = {"address": "http://127.0.0.1:4318", "accepted": 1200, "busy": 3, "refused": 2, "trouble": trouble}
    return {"run": {"simulatedDevices": simulated, "published": 7, "messages": 5, "topic": "t", "receiver": receiver}}


def test_the_page_has_the_receiver_where_its_path_begins() -> None:
    """What is accepted is large; what is wrong takes the place of what was refused."""
    assert _source(receiver_of()) == [
        ("requests accepted at http://127.0.0.1:4318", "1,200"),
        ("refused; 3 to be retried", "2"),
    ]
    assert _source(receiver_of(trouble="Kafka is unreachable"))[1] == ("Kafka is unreachable", "2")
    assert _source(receiver_of(simulated=4))[0] == ("messages published", "7")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A home without a run."""
    return Context(tmp_path, tmp_path / "warehouse.duckdb", {}, "t")


def looked(context: Context, **env: object) -> tuple[str, str]:
    """What doctor finds with these settings of a receiver."""
    given = {f"LMDP_RECEIVE_{name}": str(value) for name, value in env.items()}
    found = doctor.receiver(Context(context.home, context.warehouse, given, context.topic))
    return found.state, found.text


def test_doctor_without_a_receiver_tries_nothing(context: Context) -> None:
    """Nothing is set, and no run is there."""
    assert looked(context)[0] == "not tried"


def test_doctor_looks_at_the_port(context: Context) -> None:
    """Free is fine, since the receiver may not be started; something else is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        other.close()
        assert looked(context, LISTEN=address) == ("ok", f"nothing listens at http://{address} yet")
    assert looked(context, LISTEN="127.0.0.1:x") == ("wrong", "http://127.0.0.1:x has no port")


def test_doctor_counts_the_days_of_the_certificate(context: Context, tmp_path: Path) -> None:
    """A certificate is read from its file; one that cannot be read is wrong."""
    made = development_ca.make(tmp_path / "certs")
    listen = {"LISTEN": "127.0.0.1:1"}
    state, text = looked(context, **listen, CERT=made.server.cert, KEY=made.server.key)
    assert (state, f"{made.server.cert} expires in " in text) == ("ok", True)
    assert looked(context, **listen, CERT=tmp_path / "none.pem")[0] == "wrong"


def test_doctor_counts_the_tokens(context: Context, tmp_path: Path) -> None:
    """A file without a valid token lets nobody send; a token that expires within a week is reported."""
    path, listen = tmp_path / "tokens", {"LISTEN": "127.0.0.1:1"}
    assert looked(context, **listen, TOKENS=path)[0] == "wrong"
    senders.add(path, "a")
    assert looked(context, **listen, TOKENS=path) == (
        "ok",
        f"nothing listens at http://127.0.0.1:1 yet; {path}: 1 valid",
    )
    senders.add(path, "b", expires_days=3)
    state, text = looked(context, **listen, TOKENS=path)
    assert (state, text.endswith("2 valid, expiring: b in 2 days")) == ("wrong", True)
    senders.revoke(path, "a")
    expired = json.loads(path.read_text())
    expired["tokens"][0]["expires"] = int(time.time()) - 5
    path.write_text(json.dumps(expired))
    assert looked(context, **listen, TOKENS=path)[1].endswith("has no token that is valid, so that nobody may send")

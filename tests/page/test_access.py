"""Who may look at the page: tried on the request guard itself, and on the real page over HTTP and websocket."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.page.security import RequestGuard

if TYPE_CHECKING:
    from pathlib import Path

    from page.sites import Site

PORT = 8088
HERE = f"127.0.0.1:{PORT}"
PEER = ("127.0.0.1", 40_000)
VISIT = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


async def said(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers everybody."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def code(headers: dict[str, str], *, path: str = "/", kind: str = "http", tables: tuple[Path, ...] = ()) -> Any:
    """What the gate answers: an HTTP status, or how it closes a websocket."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": kind,
        "path": path,
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
        "client": PEER,
    }
    asyncio.run(RequestGuard(said, PORT, tables)(scope, receive, send))
    return sent[0].get("status") or sent[0]["type"]


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"host": HERE}, 200),
        ({"host": "localhost:8088"}, 200),
        ({"host": "LOCALHOST:8088"}, 200),
        ({"host": "[::1]:8088"}, 200),
        ({"host": HERE, "origin": f"http://{HERE}"}, 200),
        ({"host": HERE, "sec-fetch-site": "same-origin"}, 200),
        ({"host": HERE, "sec-fetch-site": "cross-site", **VISIT}, 200),
        ({}, 403),
        ({"host": ""}, 403),
        ({"host": "127.0.0.1"}, 403),
        ({"host": "127.0.0.1:80"}, 403),
        ({"host": "evil.example:8088"}, 403),
        ({"host": "127.0.0.1.evil.example:8088"}, 403),
        ({"host": "0.0.0.0:8088"}, 403),
        ({"host": HERE, "origin": "http://evil.example"}, 403),
        ({"host": HERE, "origin": "null"}, 403),
        ({"host": HERE, "origin": f"https://{HERE}"}, 403),
        ({"host": HERE, "origin": "http://127.0.0.1:3000"}, 403),
        ({"host": HERE, "origin": "http://localhost:8088"}, 403),
        ({"host": HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"host": HERE, "sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"host": HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
    ],
)
def test_only_a_page_of_this_address_may_ask(headers: dict[str, str], wanted: int) -> None:
    """The name is loopback's with the port, the origin is the page's own; the user may follow a link to it."""
    assert code(headers) == wanted
    assert (code(headers, kind="websocket") == "websocket.close") is (wanted == 403)


LINE = "   0: {peer} {here} 01 00000000:00000000 00:00000000 00000000 {uid:>5}        0 12345 1 0000 20 4 30 10 -1"
OURS = "0100007F:1F98"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([("0100007F:9C40", os.geteuid())], 200),
        ([("7F000001:9C40", os.geteuid())], 200),
        ([("0100007F:9C40", 0)], 200),
        ([("0100007F:9C40", 54_321)], 403),
        ([("0100007F:9C41", os.geteuid()), ("0100007F:9C40", 54_321)], 403),
        ([("0100007F:9C41", os.geteuid())], 403),
        ([], 403),
    ],
)
def test_other_users_of_the_machine_see_nothing(tmp_path: Path, lines: list[tuple[str, int]], wanted: int) -> None:
    """The kernel's table tells whose program asks; sums without names are open to a monitor's user."""
    table = tmp_path / "tcp"
    text = [LINE.format(peer=peer, here=OURS, uid=uid) for peer, uid in lines]
    table.write_text("\n".join(["  sl  local_address rem_address st", *text]) + "\n")
    assert code({"host": HERE}, tables=(table,)) == wanted
    assert code({"host": HERE}, tables=(table,), kind="websocket") == (wanted if wanted == 200 else "websocket.close")
    assert code({"host": HERE}, tables=(table,), path="/metrics") == 200


def test_a_program_that_speaks_ipv6_is_known_too(tmp_path: Path) -> None:
    """A dual socket's end is in the other table, as a mapped address."""
    table = tmp_path / "tcp6"
    mapped = "0000000000000000FFFF0000"
    line = LINE.format(peer=f"{mapped}0100007F:9C40", here=f"{mapped}{OURS}", uid=os.geteuid())
    table.write_text(f"head\n{line}\n")
    assert code({"host": HERE}, tables=(table,)) == 200


def test_where_the_system_shows_nothing_the_user_is_not_checked(tmp_path: Path) -> None:
    """On a system without that table the name and the origin decide."""
    assert code({"host": HERE}, tables=(tmp_path / "none",)) == 200


def request(site: Site, method: str = "GET", path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
    """The answer of the real page, with these headers instead of the usual ones."""
    line = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, text in ({"Host": f"127.0.0.1:{site.port}"} | headers).items():
        line.putheader(name.replace("_", "-"), text)
    line.endheaders()
    answer = line.getresponse()
    body = answer.read().decode(errors="replace")
    line.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


@pytest.mark.parametrize(
    "path", ["/", "/api/status", "/metrics", SOCKET, "/_nicegui_ws/socket.io/?EIO=4&transport=polling"]
)
def test_the_real_page_refuses_strangers(site: Site, path: str) -> None:
    """Every address of it, the page's own socket too."""
    upgrade = UPGRADE if path == SOCKET else {}
    assert request(site, path=path, Host=f"evil.example:{site.port}", **upgrade)[0] == 403
    assert request(site, path=path, Origin="http://evil.example", **upgrade)[0] == 403


def test_what_is_answered_is_sealed(site: Site) -> None:
    """No copy is kept, no frame holds it, no script runs that did not come with it."""
    for path in ("/", "/api/status", "/metrics", "/none", "/api/none"):
        _, headers, _ = request(site, path=path)
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
        assert headers.get("access-control-allow-origin") is None
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        script = re.search(r"script-src ([^;]*)", policy)
        assert script is not None
        assert "unsafe-inline" not in script[1]
        assert "http" not in policy


def test_each_document_has_a_nonce_of_its_own(site: Site) -> None:
    """Every script in it carries the nonce that its policy names."""
    seen = set()
    for _ in range(2):
        _, headers, body = request(site)
        nonce = re.search(r"'nonce-([\w-]{16,})'", headers["content-security-policy"])
        assert nonce is not None
        scripts = re.findall(r"<script[^>]*>", body)
        assert scripts
        assert all(f'nonce="{nonce[1]}"' in script for script in scripts)
        seen.add(nonce[1])
    assert len(seen) == 2


def test_nothing_comes_from_elsewhere(site: Site) -> None:
    """The page names no other host: it works without a network."""
    _, _, body = request(site)
    sources = re.findall(r"""(?:src|href)=["']([^"']+)|@import url\(["']([^"']+)|"[^"]+": ?"(/[^"]+)""", body)
    named = [part for source in sources for part in source if part]
    assert len(named) > 5
    assert [name for name in named if not name.startswith("/")] == []


def test_it_listens_on_loopback_alone(site: Site) -> None:
    """No other address of the machine answers on its port."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - a table of the kernel's
        listening = [
            line.split()[1]
            for line in table
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{site.port:04X}")
        ]
    assert listening == [f"0100007F:{site.port:04X}"]


HOLDING = """
import os, socket, sys, time
os.setgroups([]); os.setgid(65534); os.setuid(65534)
lines = []
for _ in range(260):
    try:
        line = socket.socket()
        line.settimeout(5)
        line.connect(("127.0.0.1", int(sys.argv[1])))
        line.send(b"GET /metr")
        lines.append(line)
    except OSError:
        pass
print(len(lines), flush=True)
begun, open_ = time.monotonic(), lines
while open_ and time.monotonic() - begun < 60:
    still = []
    for line in open_:
        line.settimeout(0.01)
        try:
            line.send(b"i")  # a drop of a head
            if line.recv(1):
                still.append(line)
        except TimeoutError:
            still.append(line)
        except OSError:
            pass
    open_ = still
    time.sleep(0.5)
print(len(open_), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_who_holds_connections_shuts_out_nobody(site: Site) -> None:
    """260 silent connections of `nobody`: this user and a monitor are answered meanwhile, and they are cut."""
    words = [sys.executable, "-c", HOLDING, str(site.port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd="/") as others:
        assert others.stdout is not None
        assert int(others.stdout.readline()) > 100
        assert [site.get(path)[0] for path in ("/api/status", "/metrics", "/") * 3] == [200] * 9
        assert int(others.stdout.readline()) == 0
        assert site.get("/api/status")[0] == 200

"""Who may look at the page: tried on the request guard itself, and on the real page over HTTP and websocket."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from lmdp.page.api import INDEX
from lmdp.page.security import RequestGuard, Tokens, tokens, with_token
from running import call

if TYPE_CHECKING:
    from page.sites import Site

PORT = 8088
HERE = f"127.0.0.1:{PORT}"
VISIT = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


TOKENS = Tokens("page-token-0123456789", "metrics-token-012345")
BEARER = {"host": HERE, "authorization": f"Bearer {TOKENS.page}"}
COOKIE = {"host": HERE, "cookie": f"lmdp-{PORT}={TOKENS.page}"}


async def said(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers everybody."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(headers: dict[str, str], path: str = "/", kind: str = "http", method: str = "GET") -> list[Any]:
    """What the guard sends."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    path, _, query = path.partition("?")
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
    }
    asyncio.run(RequestGuard(said, PORT, TOKENS, Path("/srv/lmdp"))(scope, receive, send))
    return sent


def code(headers: dict[str, str], path: str = "/", kind: str = "http", method: str = "GET") -> Any:
    """What the guard answers: an HTTP status, or how it closes a websocket."""
    sent = asked(headers, path, kind, method)
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
        ({"host": HERE, "origin": ""}, 403),
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
    given = headers | {"cookie": COOKIE["cookie"]}
    assert code(given) == wanted
    assert (code(given, kind="websocket") == "websocket.close") is (wanted == 403)
    assert code(headers, path=f"/?token={TOKENS.page}") == (303 if wanted == 200 else 403)


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (COOKIE, True),
        ({**COOKIE, "cookie": f"a=b; lmdp-{PORT}={TOKENS.page}; c={{"}, True),
        (BEARER, True),
        ({**BEARER, "authorization": f"token {TOKENS.page}"}, True),
        ({"host": HERE}, False),
        ({**COOKIE, "cookie": f"lmdp-{PORT + 1}={TOKENS.page}"}, False),
        ({**COOKIE, "cookie": f"lmdp-{PORT}="}, False),
        ({**COOKIE, "cookie": f"lmdp-{PORT}={TOKENS.page}x"}, False),
        ({**COOKIE, "cookie": f"lmdp-{PORT}={TOKENS.page[:-1]}"}, False),
        ({**COOKIE, "cookie": f"lmdp-{PORT}={TOKENS.metrics}"}, False),
        ({**BEARER, "authorization": f"Basic {TOKENS.page}"}, False),
        ({**BEARER, "authorization": TOKENS.page}, False),
        ({**BEARER, "authorization": "Bearer \xe9"}, False),
    ],
)
def test_only_the_token_opens_the_page(headers: dict[str, str], *, wanted: bool) -> None:
    """By cookie or header, for every address and for websockets."""
    for path in ("/", "/explore", "/api/status", "/metrics", "/_nicegui/3/x.js", "/favicon.ico", "/none"):
        metrics = path == "/metrics" and TOKENS.metrics in headers.get("cookie", "")
        assert code(headers, path) == (200 if wanted or metrics else 403), path
    assert code(headers, "/api/query", method="POST") == (200 if wanted else 403)
    assert code(headers, kind="websocket") == (200 if wanted else "websocket.close")


def test_a_monitor_has_a_token_of_its_own() -> None:
    """It opens the totals, and no row."""
    monitor = {"host": HERE, "authorization": f"Bearer {TOKENS.metrics}"}
    assert [code(monitor, path) for path in ("/metrics", "/", "/api/status", "/metrics/")] == [200, 403, 403, 403]
    assert code(BEARER, "/metrics") == 200


@pytest.mark.parametrize(
    ("path", "method", "location"),
    [
        (f"/?token={TOKENS.page}", "GET", f"http://{HERE}/"),
        (f"/explore?range=1h&token={TOKENS.page}&s=%5B%5D", "GET", f"http://{HERE}/explore?range=1h&s=%5B%5D"),
        (f"//evil.example/?token={TOKENS.page}", "GET", f"http://{HERE}//evil.example/"),
        (f"/?token={TOKENS.page}", "POST", None),
        (f"/?token={TOKENS.metrics}", "GET", None),
        (f"/?token={TOKENS.page}x", "GET", None),
        ("/?token=", "GET", None),
        ("/?token=%C3%A9", "GET", None),
        (f"/?token=x&token={TOKENS.page}", "GET", None),
    ],
)
def test_the_token_leaves_the_address(path: str, method: str, location: str | None) -> None:
    """It becomes a cookie of this page, which no script and no other site gets, by a redirect to this page alone."""
    start = asked({"host": HERE}, path, method=method)[0]
    headers = dict(start["headers"])
    assert headers[b"cache-control"] == b"no-store"
    if location is None:
        assert (start["status"], b"set-cookie" in headers) == (403, False)
    else:
        assert (start["status"], headers[b"location"].decode()) == (303, location)
        cookie = f"lmdp-{PORT}={TOKENS.page}; Path=/; HttpOnly; SameSite=Strict"
        assert headers[b"set-cookie"].decode() == cookie


def test_a_refusal_names_the_status_of_this_home() -> None:
    """The command shows the address of this page, whatever the folder it is pasted in."""
    refusal = json.loads(asked({"host": HERE}, "/api/status")[1]["body"])
    assert refusal["next"] == "lmdp status --home /srv/lmdp"


def test_a_link_from_another_site_is_followed_once() -> None:
    """The browser withholds the cookie from it, and sends it when the page's own answer makes it come again."""
    link = {"host": HERE, "sec-fetch-site": "cross-site", "sec-fetch-user": "?1", **VISIT}
    first, body = asked(link)
    assert (first["status"], b"refresh" in body["body"]) == (403, True)
    del link["sec-fetch-user"]  # as no user has clicked on it
    assert b"refresh" not in asked(link)[1]["body"]


def test_a_home_keeps_its_tokens(tmp_path: Path) -> None:
    """A browser's tab and a monitor survive a restart; only the owner can read the files."""
    made = tokens(tmp_path)
    assert made.page != made.metrics
    assert tokens(tmp_path) == made
    assert with_token(tmp_path, "http://here") == f"http://here/?token={made.page}"
    assert with_token(tmp_path / "none", "http://here") == "http://here"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"page.token": 0o600, "metrics.token": 0o600}


@pytest.mark.parametrize("fault", ["others can read it", "empty", "a link", "a pipe", "rubbish"])
def test_a_token_that_others_may_know_is_replaced(tmp_path: Path, fault: str) -> None:
    """What is not a private file with a token is none."""
    before, path = tokens(tmp_path).page, tmp_path / "page.token"
    if fault == "others can read it":
        path.chmod(0o640)
    elif fault == "a link":
        path.rename(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    elif fault == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    else:
        path.write_text("" if fault == "empty" else "../../x")
    assert with_token(tmp_path, "http://here") == "http://here"
    after = tokens(tmp_path).page
    assert after != before
    assert tokens(tmp_path).page == after


def request(site: Site, method: str = "GET", path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
    """The answer of the real page, with these headers instead of the usual ones."""
    line = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    given = {"Host": f"127.0.0.1:{site.port}", "Authorization": f"Bearer {site.token}"} | headers
    for name, text in given.items():
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


def addresses(site: Site) -> list[str]:
    """Every address of the page: its tabs, its API, its metrics, its socket, and each file that it loads."""
    _, _, body = request(site)
    files = re.findall(r"""(?:src|href)=["'](/[^"']+)|": ?"(/_nicegui[^"]+\.js)""", body)
    api = [name.partition(" ")[2] for name in INDEX]
    found = [
        "/",
        "/explore",
        "/sql",
        "/api",
        *api,
        "/none",
        "/favicon.ico",
        SOCKET,
        SOCKET.replace("websocket", "polling"),
    ]
    return found + [first or second for first, second in files]


def test_nothing_is_answered_without_the_token(site: Site) -> None:
    """No address gives anything but the refusal, whatever stands in the place of the token."""
    paths = addresses(site)
    assert len(paths) > 20
    for path in paths:
        upgrade = UPGRADE if path == SOCKET else {}
        for given in ("", f"Bearer {'x' * 22}", f"Bearer {site.token[:-1]}"):
            status, headers, body = request(site, path=path, Authorization=given, **upgrade)
            assert (status, "set-cookie" in headers) == (403, False), path
            assert not body or json.loads(body).keys() == {"error", "exitCode", "next"}, path
    assert request(site, "POST", "/api/query", Authorization="")[0] == 403


def test_the_token_is_in_no_log_report_or_process_list(site: Site) -> None:
    """Not in what a redirected run prints, what programs read, the arguments and environments of processes."""
    texts = [(site.folder / "stderr").read_text()]
    texts += [call("status", *words, folder=site.folder).out for words in ((), ("--json",))]
    texts += [str(site.get(f"/api/{name}")[1]) for name in ("status", "history", "reasons")]
    for process in (psutil.Process(site.process.pid), *psutil.Process(site.process.pid).children(recursive=True)):
        texts += [str(process.cmdline()), str(process.environ())]
    assert "the page is at http" in texts[0]
    assert f'"page": "{site.base}"' in texts[2]
    for token in (site.token, (site.home / "metrics.token").read_text().strip()):
        assert [text for text in texts if token in text] == []


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", SOCKET, SOCKET.replace("websocket", "polling")])
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

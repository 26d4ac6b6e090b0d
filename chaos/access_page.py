"""The local page, asked by those who must not: other names, other origins, other users, and SQL that does more."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

from chaos.access_questions import FILE, MARK, REFUSED
from chaos.scenario import Outcome, Scenario, Site, broken
from running import bundle, options, publish, rows, started, until

EVIL = (
    "http://evil.example",
    "null",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:1",
    "http://localhost.evil.example",
)
NAMES = ("evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}", "[::]:{port}", "0.0.0.0:{port}", "")
# What another user of the machine tries: without a token, with wrong ones, and to read the files that have them.
STRANGER = textwrap.dedent(
    """
    import os, pathlib, socket, sys
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    port, home, found = int(sys.argv[1]), pathlib.Path(sys.argv[2]), set()
    guesses = ("X: y", "Authorization: Bearer ", "Authorization: Bearer x", "Cookie: lmdp-%d=" % port)
    for path in ("/", "/api/status", "/metrics", "/?token=", "/_nicegui/x.js"):
        for guess in guesses:
            with socket.socket() as line:
                line.settimeout(30)
                line.connect(("127.0.0.1", port))
                head = "GET %s HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n%s\\r\\n\\r\\n" % (path, port, guess)
                line.sendall(head.encode())
                found.add(line.recv(100).split()[1].decode())
    for name in ("page.token", "metrics.token"):
        try:
            found.add((home / name).read_text())
        except OSError:
            pass
    print(",".join(sorted(found)))
    """
)


def asked(port: int, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    """The status and the body that a request gets; the Host is exactly what is given."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.putrequest("GET" if body is None else "POST", path, skip_host=True)
    for name, value in headers.items():
        line.putheader(name, value)
    if body is not None:
        line.putheader("Content-Length", str(len(body)))
        line.putheader("Content-Type", "application/json")
    line.endheaders(body)
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, content


def websocket(port: int, headers: dict[str, str]) -> int:
    """The status of a websocket's handshake at the page's own address of them; 101 is let in."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(
            b"GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + lines.encode()
            + b"\r\n"
        )
        return int(line.recv(200).split()[1])


def page(site: Site) -> Outcome:
    """All that may not ask the page of a run at work."""
    count, name = site.by_size(200, 2_000), site.new_topic(1)
    folder, outside = site.folder(), site.folder()
    (outside / "canary.csv").write_text(f"{MARK}\n1\n")
    publish(site.broker.access, name, map(bundle, range(count)))
    words = ("run", *options(site.broker.access), "--topic", name, "--org-id", "acme", "--page")
    with started(*words, folder=folder, LMDP_MARK=MARK) as run:
        home, said = folder / ".lmdp", folder / "stderr"
        until(lambda: re.search(r"the page is at http://127\.0\.0\.1:(\d+)", said.read_text()), 120)
        found = re.search(r"the page is at http://127\.0\.0\.1:(\d+)", said.read_text())
        assert found is not None
        port = int(found[1])
        until(lambda: rows(home, "select count(*) as n from row_events")[0]["n"] == count, 120)
        tried, faults = knocked(port, run.pid, outside, home)
        there = rows(home, "select count(*) as n from row_events")[0]["n"]
        run.terminate()
        faults += broken({"it did not end with 0": run.wait(60) == 0})
    faults += broken({"the file was changed": [one.name for one in outside.iterdir()] == ["canary.csv"]})
    return Outcome(tried, count, count, there, 0, 0, broken=tuple(faults))


def knocked(port: int, process: int, outside: Path, home: Path) -> tuple[int, list[str]]:
    """Return the number of attempts, and the results that should not have been."""
    here = f"127.0.0.1:{port}"
    token = (home / "page.token").read_text().strip()
    monitor = {"Host": here, "Authorization": f"Bearer {(home / 'metrics.token').read_text().strip()}"}
    right = {"Host": here, "Authorization": f"Bearer {token}"}
    until(lambda: asked(port, "/api/status", right)[0] == 200, 60)  # it answers 503 until it has seen the run
    cookie = {"Host": here, "Cookie": f"lmdp-{port}={token}"}
    let_in = {
        "/": asked(port, "/", cookie)[0],
        "websocket": websocket(port, {**cookie, "Origin": f"http://{here}"}),
        "/?token=": asked(port, f"/?token={token}", {"Host": here})[0],
        "a monitor": asked(port, "/metrics", monitor)[0],
    }
    wanted = {"/": 200, "websocket": 101, "/?token=": 303, "a monitor": 200}
    faults = broken({f"who may is not let in: {let_in}": let_in == wanted})
    faults += broken({"a monitor sees rows": asked(port, "/api/status", monitor)[0] == 403})
    strange = [{**right, "Host": name.format(port=port)} for name in NAMES]
    strange += [{"Host": here}, {"Host": here, "Authorization": f"Bearer {token[:-1]}"}]
    strange += [{**right, "Origin": origin.format(port=port)} for origin in EVIL]
    strange += [{**right, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}]
    questions = [sql.replace("{outside}", str(outside)) for sql in REFUSED]
    found = list(faults)
    for headers in strange:
        codes = {asked(port, path, headers)[0] for path in ("/", "/api/status", "/metrics")}
        codes |= {asked(port, "/api/query", headers, b'{"sql": "select 1"}')[0], websocket(port, headers)}
        found += [] if codes <= {400, 403} else [f"{headers}: {sorted(codes)}"]
    for sql in questions:
        code, content = asked(port, "/api/query", right, json.dumps({"sql": sql}).encode())
        found += [] if code == 400 and MARK.encode() not in content else [f"{sql!r}: {code} {content[:200]!r}"]
    listening = {
        connection.laddr.ip
        for one in (psutil.Process(process), *psutil.Process(process).children(recursive=True))
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    found += broken({f"it listens on {sorted(listening)}": listening == {"127.0.0.1"}})
    if os.geteuid() == 0:
        stranger = subprocess.run(
            [sys.executable, "-c", STRANGER, str(port), str(home)], capture_output=True, text=True, check=True
        )
        found += broken({f"another user got {stranger.stdout.strip()}": stranger.stdout.strip() == "403"})
    assert FILE.format(outside=outside) in questions[0]
    return 5 * len(strange) + len(questions) + 22, found


SCENARIOS = (Scenario("page", "The page answers who has its token, from its own address, and reads rows only.", page),)

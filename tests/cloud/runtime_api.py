"""Lambda's Runtime API, as far as one function needs it: gives events, takes answers.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

# AWS's runtime client and what it needs: in Lambda they are part of the runtime, not of the zip.
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")


@dataclass(slots=True)
class Runtime:
    """A function that runs, seen from Lambda. `init_seconds` is the time from the process's start to its first call."""

    events: queue.Queue[tuple[str, bytes, float, str] | None] = field(default_factory=queue.Queue)
    answers: queue.Queue[tuple[str, Any]] = field(default_factory=queue.Queue)
    started: float = 0.0
    init_seconds: float = 0.0
    log: Path = Path()

    def invoke(self, event: object, seconds: float = 30, trace: str = "") -> tuple[str, Any]:
        """Hand over an event; gives `response` or `error`, and what the function said."""
        number = f"00000000-0000-0000-0000-{time.monotonic_ns() % 10**12:012d}"
        self.events.put((number, json.dumps(event).encode(), seconds, trace))
        return self.answers.get(timeout=60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        runtime: Runtime = self.server.runtime
        runtime.init_seconds = runtime.init_seconds or time.monotonic() - runtime.started
        given = runtime.events.get()
        if given is None:
            self.close_connection = True
            return
        number, body, seconds, trace = given
        headers = {
            "Lambda-Runtime-Aws-Request-Id": number,
            "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + seconds))),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:lmdp",
            "Content-Type": "application/json",
            **({"Lambda-Runtime-Trace-Id": trace} if trace else {}),
        }
        self._send(200, headers, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.runtime.answers.put((self.path.rsplit("/", 1)[-1], json.loads(body)))
        self._send(202, {}, b"{}")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The function's process is ended while it waits for an event: that is no error."""


@contextmanager
def runtime(task: Path, folder: Path, env: dict[str, str]) -> Iterator[Runtime]:
    """Run the function that is unpacked in `task` under AWS's runtime client, with nothing else on its path."""
    server = _Server(("127.0.0.1", 0), _Handler)
    running = Runtime(log=folder / "log.txt")
    server.runtime = running  # type: ignore[attr-defined]  # how http.server's handlers know of anything
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{task}{os.pathsep}{client_folder(folder)}",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "LAMBDA_TASK_ROOT": str(task),
        "AWS_LAMBDA_FUNCTION_NAME": "lmdp",
        **env,
    }
    # -S: without this environment's own packages.
    command = [sys.executable, "-S", "-B", "-m", "awslambdaric", "lmdp.cloud.handler.handler"]
    with running.log.open("wb") as log:
        running.started = time.monotonic()
        process = subprocess.Popen(command, cwd=task, env=environment, stdout=log, stderr=log)
        try:
            yield running
        finally:
            running.events.put(None)
            process.kill()
            process.wait()
            server.shutdown()
            server.server_close()


def client_folder(folder: Path) -> Path:
    """A folder with the runtime client alone."""
    client = folder / "client"
    client.mkdir(exist_ok=True)
    for name in CLIENT:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if ".dist-info" not in file.parts[0]}:
            if not (client / top).exists() and top not in ("__pycache__", ".."):
                (client / top).symlink_to(Path(str(found.locate_file(top))))
    return client

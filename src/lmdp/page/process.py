"""The page's process, as `lmdp run` starts and ends it. What becomes of it never stops the pipeline."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from lmdp.support.child_processes import environment

PORT = 8088
LISTENING = "listening "
_STOP_S = 5.0
_AGAIN_S = 5.0
_STARTS = 5


@contextlib.contextmanager
def page(home: Path, say: Callable[[str], None], *, port: int | None = None) -> Iterator[Callable[[], str]]:
    """Serve the page of `home` beside the block, on `port` or on a free one near 8088; say its address, or why not.

    What it gives tells the address; nothing before it listens.
    """
    server = _Page(home, port, say)
    thread = threading.Thread(target=server.keep, name="page", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(_STOP_S)


class _Page:
    def __init__(self, home: Path, port: int | None, say: Callable[[str], None]) -> None:
        self._home, self._port, self._say = home, port, say
        self._ending = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def keep(self) -> None:
        """Start the page, and again when it ends by itself, a few times."""
        for _ in range(_STARTS):
            last = self._serve()
            if self._ending.is_set():
                return
            if not self._url:
                self._say(f"no page: {last or 'it did not start'}. The pipeline runs without it")
                return
            self._say(f"the page has ended ({last or 'without a word'}); starting it again. The pipeline runs on")
            if self._ending.wait(_AGAIN_S):
                return
        self._say("the page ends again and again, so it is left off. The pipeline runs on")

    def url(self) -> str:
        """Where it listens, or last did."""
        return self._url

    def stop(self) -> None:
        """End the page."""
        self._ending.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _serve(self) -> str:
        """One life of the page; returns the last line that it printed otherwise than to tell its address."""
        last = ""
        try:
            with self._started() as process:
                self._process = process
                if self._ending.is_set():
                    process.terminate()
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith(LISTENING):
                        self._tell(line.removeprefix(LISTENING).strip())
                    elif line.strip():
                        last = line.strip()
        except OSError as error:
            return str(error)
        return last

    def _started(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "lmdp.page", "--home", str(self._home)]
        if self._port is not None:
            words += ["--port", str(self._port)]
        # Its own session: Ctrl-C is for the run, which ends the page in its turn. The closing of its standard input
        # tells it that the run is gone, however it went.
        return subprocess.Popen(  # noqa: S603 - this program's own module
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env=environment(os.environ) | {"PYTHONUNBUFFERED": "1"},
        )

    def _tell(self, url: str) -> None:
        if url != self._url:
            wanted = self._port or PORT
            other = "" if url.endswith(f":{wanted}") else f" (port {wanted} is taken)"
            self._say(f"the page is at {url}{other}")
        self._url = url
